//! The symbols of a connection: which ones the venue carries, which ones it refused, and what to
//! ask next.
//!
//! One unknown symbol must not stop the others. If a refusal names symbols, only these are left
//! out. If it names none, or if nobody answers a frame, the symbols of the frame are asked for
//! again in halves until single symbols are left. Refused symbols are asked for again later: the
//! refusal may have been temporary, and a symbol may be listed later.

use std::collections::{BTreeMap, HashMap, VecDeque};

use market_core::UnixMillis;

use crate::exchange::{Exchange, RefusalScope, SubscribeFrame, Wanted};
use crate::instrument::InstrumentId;

/// Longest wait before a refused symbol is asked for again, ms.
const RETRY_MAX_MS: i64 = 3_600_000;

/// The venue refused to subscribe a symbol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// How often in a row.
    pub times: u32,
    /// When it is asked for again.
    pub retry_at_ms: UnixMillis,
}

impl Refusal {
    /// The refusal after `before`: each one waits twice as long as the last.
    #[must_use]
    pub fn after(before: Option<Refusal>, retry_base_ms: i64, now: UnixMillis) -> Self {
        let times = before.map_or(0, |before| before.times);
        let wait_ms = retry_base_ms.saturating_mul(1 << times.min(30));
        Self {
            times: times.saturating_add(1),
            retry_at_ms: now.saturating_add(wait_ms.clamp(1, RETRY_MAX_MS)),
        }
    }
}

/// A symbol of a connection.
#[derive(Clone, Debug)]
pub struct Subscription {
    /// Which.
    pub instrument: InstrumentId,
    /// The venue's name of it.
    pub native: String,
    /// An earlier refusal by the venue: the symbol is asked for when its wait is over.
    pub refusal: Option<Refusal>,
}

#[derive(Debug)]
struct Slot {
    native: String,
    is_up: bool,
    /// It is in a frame that waits or that has no answer yet.
    is_asked: bool,
    refusal: Option<Refusal>,
}

#[derive(Debug)]
struct Unanswered {
    indexes: Vec<usize>,
    sent_ms: UnixMillis,
}

/// See the module. Symbols are known by their index in the given list.
pub(crate) struct Subscriptions {
    exchange: &'static dyn Exchange,
    wanted: Wanted,
    retry_base_ms: i64,
    slots: Vec<Slot>,
    by_native: HashMap<String, usize>,
    outbox: VecDeque<SubscribeFrame>,
    /// By frame number, so that the oldest is first: venues answer in order.
    unanswered: BTreeMap<u64, Unanswered>,
    next_id: u64,
    send_after_ms: UnixMillis,
    /// Symbols that are neither up nor refused.
    unsettled: usize,
    was_answered: bool,
}

impl Subscriptions {
    /// Asks for the trades of all of `symbols`, and for what else is `wanted` of them, except those whose refusal still lasts, at most `frame_max` in a
    /// frame.
    pub(crate) fn new(
        exchange: &'static dyn Exchange,
        symbols: &[Subscription],
        wanted: Wanted,
        frame_max: usize,
        retry_base_ms: i64,
        now: UnixMillis,
    ) -> Self {
        let slot = |symbol: &Subscription| Slot {
            native: symbol.native.clone(),
            is_up: false,
            is_asked: false,
            refusal: symbol.refusal,
        };
        let slots: Vec<Slot> = symbols.iter().map(slot).collect();
        let mut by_native: HashMap<String, usize> = HashMap::new();
        for (index, slot) in slots.iter().enumerate() {
            by_native.insert(slot.native.clone(), index);
        }
        for (index, slot) in slots.iter().enumerate() {
            if let Some(alias) = exchange.answers_as(&slot.native) {
                by_native.entry(alias).or_insert(index);
            }
        }
        let mut this = Self {
            exchange,
            wanted,
            retry_base_ms,
            unsettled: slots.iter().filter(|slot| slot.refusal.is_none()).count(),
            slots,
            by_native,
            outbox: VecDeque::new(),
            unanswered: BTreeMap::new(),
            next_id: 1,
            send_after_ms: now,
            was_answered: false,
        };
        let asked: Vec<usize> = (0..this.slots.len())
            .filter(|&index| this.slots[index].refusal.is_none())
            .collect();
        for part in asked.chunks(frame_max.max(1)) {
            this.ask(part);
        }
        this.ask_again(now);
        this
    }

    /// The symbol with that name.
    #[inline]
    pub(crate) fn find(&self, native: &str) -> Option<usize> {
        self.by_native.get(native).copied()
    }

    /// Whether every symbol is up or refused.
    pub(crate) fn is_settled(&self) -> bool {
        self.unsettled == 0
    }

    /// Whether the venue answered any request of this connection.
    pub(crate) fn was_answered(&self) -> bool {
        self.was_answered
    }

    fn ask(&mut self, indexes: &[usize]) {
        let natives: Vec<&str> = indexes
            .iter()
            .map(|&index| self.slots[index].native.as_str())
            .collect();
        let frames = self.exchange.subscribe(&natives, self.wanted, self.next_id);
        self.next_id += frames.len() as u64;
        self.outbox.extend(frames);
        for &index in indexes {
            self.slots[index].is_asked = true;
        }
    }

    /// Asks for the refused symbols whose wait is over.
    fn ask_again(&mut self, now: UnixMillis) {
        let is_due = |slot: &Slot| {
            !slot.is_asked
                && slot
                    .refusal
                    .is_some_and(|refusal| refusal.retry_at_ms <= now)
        };
        let due: Vec<usize> = (0..self.slots.len())
            .filter(|&index| is_due(&self.slots[index]))
            .collect();
        if !due.is_empty() {
            self.ask(&due);
        }
    }

    /// The frame to send now, if one is due.
    pub(crate) fn next_frame(&mut self, now: UnixMillis) -> Option<String> {
        self.ask_again(now);
        if now < self.send_after_ms {
            return None;
        }
        let frame = self.outbox.pop_front()?;
        let indexes = frame
            .natives
            .iter()
            .filter_map(|native| self.find(native))
            .collect();
        let sent = Unanswered {
            indexes,
            sent_ms: now,
        };
        self.unanswered.insert(frame.id, sent);
        self.send_after_ms = now + self.exchange.limits().send_interval_ms;
        Some(frame.text)
    }

    /// The venue carries the symbol. True if this is new.
    pub(crate) fn up(&mut self, index: usize) -> bool {
        self.was_answered = true;
        let slot = &mut self.slots[index];
        slot.is_asked = false;
        if slot.is_up {
            return false;
        }
        slot.is_up = true;
        if slot.refusal.take().is_none() {
            self.unsettled -= 1;
        }
        true
    }

    /// The symbols of a frame that was acknowledged as a whole.
    pub(crate) fn acknowledged(&mut self, id: u64) -> Vec<usize> {
        self.was_answered |= self.unanswered.contains_key(&id);
        self.unanswered
            .remove(&id)
            .map_or(Vec::new(), |frame| frame.indexes)
    }

    /// The venue refused a frame, or symbols of one. Returns the symbols that count as refused now.
    pub(crate) fn refused(
        &mut self,
        id: Option<u64>,
        message: &str,
        now: UnixMillis,
    ) -> Vec<(usize, Refusal)> {
        self.forget_answered();
        let mut named = self.named_in(message);
        named.retain(|&index| self.slots[index].is_asked);
        let of_named = || {
            let mut frames = self.unanswered.iter();
            frames
                .find(|(_, frame)| frame.indexes.iter().any(|index| named.contains(index)))
                .map(|(&id, _)| id)
        };
        let oldest = || self.unanswered.keys().next().copied();
        let id = match id {
            Some(id) => Some(id),
            None if named.is_empty() => oldest(),
            None => of_named(),
        };
        let Some(id) = id.filter(|id| self.unanswered.contains_key(id)) else {
            return Vec::new();
        };
        self.was_answered = true;
        if !named.is_empty() && self.exchange.refusal_scope() == RefusalScope::Symbol {
            if let Some(frame) = self.unanswered.get_mut(&id) {
                frame.indexes.retain(|index| !named.contains(index));
            }
            return self.refuse(&named, now);
        }
        let Some(frame) = self.unanswered.remove(&id) else {
            return Vec::new();
        };
        self.split(&frame.indexes, &named, now)
    }

    /// Frames that were not answered in time. Returns the symbols that count as refused by this.
    pub(crate) fn overdue(
        &mut self,
        now: UnixMillis,
        ack_timeout_ms: i64,
    ) -> Option<Vec<(usize, Refusal)>> {
        let is_overdue = |frame: &Unanswered| now.saturating_sub(frame.sent_ms) >= ack_timeout_ms;
        if !self.unanswered.values().any(is_overdue) {
            return None;
        }
        self.forget_answered();
        let mut overdue = Vec::new();
        self.unanswered.retain(|_, frame| {
            let is_overdue = is_overdue(frame);
            if is_overdue {
                overdue.push(std::mem::take(&mut frame.indexes));
            }
            !is_overdue
        });
        if overdue.is_empty() {
            return None;
        }
        let mut refused = Vec::new();
        for indexes in overdue {
            refused.append(&mut self.split(&indexes, &[], now));
        }
        Some(refused)
    }

    /// Removes carried symbols from the frames that wait for an answer.
    fn forget_answered(&mut self) {
        let slots = &self.slots;
        self.unanswered.retain(|_, frame| {
            frame.indexes.retain(|&index| slots[index].is_asked);
            !frame.indexes.is_empty()
        });
    }

    /// A frame was refused as a whole: the named symbols are refused, the others are asked for
    /// again.
    fn split(
        &mut self,
        indexes: &[usize],
        guilty: &[usize],
        now: UnixMillis,
    ) -> Vec<(usize, Refusal)> {
        let asked = indexes.iter().copied();
        let asked = asked.filter(|&index| self.slots[index].is_asked);
        let (guilty, rest): (Vec<usize>, Vec<usize>) =
            asked.partition(|index| guilty.contains(index));
        match (guilty.is_empty(), rest.len()) {
            (_, 0) | (false, _) => {
                if !rest.is_empty() {
                    self.ask(&rest);
                }
                self.refuse(&guilty, now)
            }
            (true, 1) => self.refuse(&rest, now),
            (true, len) => {
                let (former, latter) = rest.split_at(len / 2);
                self.ask(former);
                self.ask(latter);
                Vec::new()
            }
        }
    }

    fn refuse(&mut self, indexes: &[usize], now: UnixMillis) -> Vec<(usize, Refusal)> {
        let mut refused = Vec::new();
        for &index in indexes {
            let slot = &mut self.slots[index];
            if slot.refusal.is_none() {
                self.unsettled -= 1;
            }
            let refusal = Refusal::after(slot.refusal, self.retry_base_ms, now);
            slot.refusal = Some(refusal);
            slot.is_asked = false;
            refused.push((index, refusal));
        }
        refused
    }

    /// Our symbols in the text of a message.
    fn named_in(&self, message: &str) -> Vec<usize> {
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let mut named: Vec<usize> = message
            .split(|c| !is_part(c))
            .filter_map(|word| self.find(word))
            .collect();
        named.sort_unstable();
        named.dedup();
        named
    }
}

#[cfg(test)]
mod tests;
