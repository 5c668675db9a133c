//! The books of one connection, as a pure state machine: frames, snapshots and time in; books,
//! messages and requests out.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use market_core::book::Applied;
use market_core::{BookFault, BookLimits, BookUpdate, UnixMicros, UnixMillis};

use self::followed::Followed;
use super::meters::BookMeters;
use super::pace::Pace;
use crate::budget::WindowBudget;
use crate::exchange::{
    BookEvent, Exchange, RefusalScope, RestRequest, SnapshotRequest, SubscribeFrame,
};
use crate::feed::silence::{Silence, Verdict};
use crate::instrument::InstrumentId;
use crate::publish::values::PublishedBook;

mod followed;

/// Most subscriptions an hour that are repeated for a snapshot, on one connection. Each takes two
/// requests, and OKX ends a connection with more than 480 an hour.
const RESUBSCRIPTIONS_PER_HOUR: u32 = 200;
const HOUR_MS: i64 = 3_600_000;
/// Shortest time between two log lines about refusals, ms.
const REFUSALS_TOLD_EVERY_MS: i64 = 10_000;
/// Longest text of a venue in a log line, characters.
const REFUSAL_CHARS_MAX: usize = 200;

/// The settings of every book.
#[derive(Clone, Copy, Debug)]
pub struct DeskSettings {
    /// Most levels of each side that are published.
    pub depth: usize,
    /// Bounds of a book.
    pub limits: BookLimits,
    /// Time from the first snapshot of a book to its second, ms; doubles.
    pub resync_base_ms: i64,
    /// The part of the venue's REST budget beyond which no snapshot is asked for, percent.
    pub rest_percent: u32,
}

/// An action for the edge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Send this text frame.
    Send(String),
    /// Ask for this snapshot, and give the answer to [`Desk::snapshot`]. There is one request at a
    /// time.
    Fetch(usize, RestRequest),
    /// Close the connection, for this reason.
    Close(&'static str),
}

/// See the module.
pub(super) struct Desk {
    exchange: &'static dyn Exchange,
    settings: DeskSettings,
    meters: BookMeters,
    /// Whether snapshots come over REST. Otherwise each subscription begins with one.
    is_rest: bool,
    followed: Vec<Followed>,
    by_native: HashMap<String, usize>,
    outbox: VecDeque<SubscribeFrame>,
    /// The books of frames without an answer, by the number of the frame: venues answer in order. Only
    /// of venues that refuse whole frames.
    sent: BTreeMap<u64, Vec<usize>>,
    next_id: u64,
    send_after_ms: UnixMillis,
    resubscriptions: WindowBudget,
    refusal_told_ms: Option<UnixMillis>,
    /// The book whose snapshot is asked for over REST.
    fetching: Option<Fetching>,
    silence: Silence,
    is_closing_soon: bool,
    /// Books to publish, in the order in which they changed.
    changed: Vec<usize>,
}

struct Fetching {
    index: usize,
    /// A change of the book was lost after the request: the answer may lack it.
    is_outdated: bool,
}

impl Desk {
    /// Subscribes to the books of `symbols`, with the venue's names.
    pub(super) fn new(
        exchange: &'static dyn Exchange,
        symbols: &[(InstrumentId, String)],
        settings: DeskSettings,
        meters: BookMeters,
        now: UnixMillis,
    ) -> Self {
        let natives: Vec<&str> = symbols.iter().map(|(_, native)| native.as_str()).collect();
        let outbox: VecDeque<SubscribeFrame> = exchange.subscribe_books(&natives, 1).into();
        let is_rest = natives.first().is_some_and(|native| {
            matches!(exchange.book_snapshot(native, 0), SnapshotRequest::Rest(_))
        });
        let followed = |(instrument, native): &(InstrumentId, String)| {
            let mut pace = Pace::new(settings.resync_base_ms);
            if !is_rest {
                // The subscription brings the first one.
                pace.asked(now);
            }
            Followed::new(*instrument, native, settings.limits, pace)
        };
        let mut by_native = HashMap::new();
        for (index, (_, native)) in symbols.iter().enumerate() {
            if let Some(alias) = exchange.answers_as(native) {
                by_native.entry(alias).or_insert(index);
            }
            by_native.insert(native.clone(), index);
        }
        Self {
            exchange,
            settings,
            meters,
            is_rest,
            followed: symbols.iter().map(followed).collect(),
            by_native,
            next_id: 1 + outbox.len() as u64,
            outbox,
            sent: BTreeMap::new(),
            send_after_ms: now,
            resubscriptions: WindowBudget::new(RESUBSCRIPTIONS_PER_HOUR, HOUR_MS),
            refusal_told_ms: None,
            fetching: None,
            silence: Silence::since(now),
            is_closing_soon: false,
            changed: Vec::new(),
        }
    }

    /// The newest state of the books that changed since the last call.
    pub(super) fn take_published(&mut self) -> impl Iterator<Item = (InstrumentId, PublishedBook)> {
        let depth = self.settings.depth;
        let followed = &mut self.followed;
        self.changed.drain(..).map(move |index| {
            let book = &mut followed[index];
            book.is_changed = false;
            let top = book.sync.top(depth).map(Arc::new);
            (book.instrument, top.ok_or(book.fault))
        })
    }

    /// A book is to be published. One frame may have very many changes of a book.
    fn publish(&mut self, index: usize) {
        let book = &mut self.followed[index];
        if !std::mem::replace(&mut book.is_changed, true) {
            self.changed.push(index);
        }
        self.count_levels(index);
    }

    fn count_levels(&mut self, index: usize) {
        let book = &mut self.followed[index];
        let levels = book.sync.levels();
        let before = std::mem::replace(&mut book.levels, levels);
        self.meters.levels(before, levels);
    }

    /// A message came that is not a text frame, for example a ping.
    pub(super) fn heard(&mut self, now: UnixMillis) {
        self.silence.broken(now);
    }

    /// Takes a text frame.
    pub(super) fn frame(&mut self, text: &str, received_us: UnixMicros) {
        let now = received_us.div_euclid(1_000);
        self.heard(now);
        self.meters.frames.increment(1);
        let exchange = self.exchange;
        let decoded = exchange.decode_books(text, received_us, &mut |event| {
            self.event(event, now);
        });
        if let Err(error) = decoded {
            self.meters.malformed.increment(1);
            tracing::debug!(exchange = exchange.name(), error = %error, "malformed frame of books");
            self.lose_after_malformed(text, now);
        }
    }

    /// A frame that cannot be read may be a change, so the book that it names is wrong. If it names
    /// none, every book may be.
    fn lose_after_malformed(&mut self, text: &str, now: UnixMillis) {
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let named = text
            .split(|c| !is_part(c))
            .find_map(|word| self.by_native.get(word).copied());
        let all = 0..self.followed.len();
        let lost = named.map_or(all, |index| index..index + 1);
        for index in lost {
            self.lose(index, BookFault::Hole, now);
        }
    }

    fn event(&mut self, event: BookEvent<'_>, now: UnixMillis) {
        match event {
            BookEvent::Update { native, update } => {
                match self.by_native.get(native).copied() {
                    Some(index) => {
                        self.followed[index].is_subscribed = true;
                        if update.is_snapshot {
                            self.meters.snapshot("streamed");
                        }
                        self.update(index, update, now);
                    }
                    None => self.meters.unsubscribed.increment(1),
                };
            }
            BookEvent::Subscribed { id } => {
                for index in self.answered(id) {
                    self.followed[index].is_subscribed = true;
                }
            }
            BookEvent::Refused { id, message } => {
                self.meters.refused.increment(1);
                self.tell_refusal(message, now);
                // Where a refusal concerns one symbol, the others of its frame are subscribed.
                if self.exchange.refusal_scope() == RefusalScope::Frame {
                    let refused = self.answered(id);
                    self.ask_apart(&refused, now);
                }
            }
            BookEvent::ClosingSoon => self.is_closing_soon = true,
            BookEvent::Ignored => {}
            BookEvent::Unknown => self.meters.unknown.increment(1),
        }
    }

    /// Logs a refusal, if none was logged just now.
    fn tell_refusal(&mut self, message: &str, now: UnixMillis) {
        let told_ms = self.refusal_told_ms;
        if told_ms.is_some_and(|told_ms| now.saturating_sub(told_ms) < REFUSALS_TOLD_EVERY_MS) {
            return;
        }
        self.refusal_told_ms = Some(now);
        let exchange = self.exchange.name();
        let message: String = message.chars().take(REFUSAL_CHARS_MAX).collect();
        tracing::warn!(exchange, message, "the venue refused a request for books");
    }

    /// The books of the frame that is answered. Some venues do not name it: then it is the oldest.
    fn answered(&mut self, id: Option<u64>) -> Vec<usize> {
        let oldest = self.sent.keys().next().copied();
        let id = id.or(oldest);
        let answered = id.and_then(|id| self.sent.remove(&id));
        answered.unwrap_or_default()
    }

    /// A frame was refused as a whole: each of its books is asked for in a frame of its own. A book
    /// that was alone is asked for again later.
    fn ask_apart(&mut self, refused: &[usize], now: UnixMillis) {
        if let &[alone] = refused {
            let book = &mut self.followed[alone];
            book.is_asked = false;
            book.pace.asked(now);
            return;
        }
        for &index in refused {
            self.ask_for(index);
        }
    }

    fn ask_for(&mut self, index: usize) {
        let book = &mut self.followed[index];
        book.is_asked = true;
        let frames = self.exchange.subscribe_books(&[&book.native], self.next_id);
        self.next_id += frames.len() as u64;
        self.outbox.extend(frames);
    }

    fn update(&mut self, index: usize, update: BookUpdate, now: UnixMillis) {
        let book = &mut self.followed[index];
        let was_valid = book.sync.is_valid();
        let applied = book.sync.apply(update);
        self.meters.dropped.increment(book.sync.take_dropped());
        match applied {
            Applied::Changed => {
                self.meters.changed.increment(1);
                book.pace.valid(now);
                if !was_valid {
                    self.meters.valid.increment(1.0);
                }
                self.publish(index);
            }
            Applied::Repeated => self.meters.repeated.increment(1),
            Applied::Waiting => {
                self.meters.waiting.increment(1);
                self.count_levels(index);
            }
            Applied::TooOld => {
                self.meters.snapshot("too_old");
                self.count_levels(index);
            }
            Applied::Invalid(fault) => {
                book.pace.invalid(now);
                book.fault = fault;
                self.meters.fault(fault);
                if was_valid {
                    self.meters.valid.decrement(1.0);
                }
                self.publish(index);
            }
        }
    }

    /// A book is wrong from now on, if there was one.
    fn lose(&mut self, index: usize, fault: BookFault, now: UnixMillis) {
        let book = &mut self.followed[index];
        let was_valid = book.sync.is_valid();
        book.sync.lose();
        if let Some(fetching) = &mut self.fetching {
            fetching.is_outdated |= fetching.index == index;
        }
        if was_valid {
            book.pace.invalid(now);
            book.fault = fault;
            self.meters.fault(fault);
            self.meters.valid.decrement(1.0);
            self.publish(index);
        } else {
            self.count_levels(index);
        }
    }

    /// The answer to a request for a snapshot: its body, or `None` if there is none.
    pub(super) fn snapshot(&mut self, index: usize, body: Option<&[u8]>, received_us: UnixMicros) {
        let fetching = self.fetching.take();
        if fetching.is_some_and(|fetching| fetching.is_outdated) {
            self.meters.snapshot("too_old");
            return;
        }
        let parsed = body.map(|body| self.exchange.parse_book_snapshot(body, received_us));
        match parsed {
            Some(Ok(update)) => {
                self.meters.snapshot("fetched");
                self.update(index, update, received_us.div_euclid(1_000));
            }
            Some(Err(error)) => {
                let exchange = self.exchange.name();
                tracing::warn!(exchange, error = %error, "a snapshot of a book cannot be read");
                self.meters.snapshot("unreadable");
            }
            None => self.meters.snapshot("failed"),
        }
    }

    /// The connection has ended: there is no book any more.
    pub(super) fn end(&mut self, now: UnixMillis) {
        for index in 0..self.followed.len() {
            self.lose(index, BookFault::Lost, now);
        }
    }

    /// Moves the clock: sends due messages, asks for due snapshots and judges silences. Call it a few
    /// times a second.
    pub(super) fn tick(&mut self, now: UnixMillis, actions: &mut Vec<Action>) {
        if self.is_closing_soon {
            actions.push(Action::Close("closing_soon"));
            return;
        }
        match self.silence.judge(self.exchange.limits().keepalive, now) {
            Verdict::Wait => {}
            Verdict::Ask(text) => actions.push(Action::Send(text.to_owned())),
            Verdict::Dead => {
                actions.push(Action::Close("silent"));
                return;
            }
        }
        self.ask(now, actions);
        if now >= self.send_after_ms
            && let Some(frame) = self.outbox.pop_front()
        {
            // Elsewhere, each symbol has an answer of its own.
            if self.exchange.refusal_scope() == RefusalScope::Frame {
                let find = |native: &String| self.by_native.get(native).copied();
                let indexes = frame.natives.iter().filter_map(find).collect();
                self.sent.insert(frame.id, indexes);
            }
            let interval_ms = self.exchange.limits().send_interval_ms;
            self.send_after_ms = now.saturating_add(interval_ms);
            actions.push(Action::Send(frame.text));
        }
    }

    /// Asks for the snapshots that have been due for longest: a book that always breaks must not take
    /// the turns of the others.
    fn ask(&mut self, now: UnixMillis, actions: &mut Vec<Action>) {
        if !self.is_rest {
            // Books that wait for the outbox are not asked for again.
            if self.outbox.is_empty()
                && let Some(index) = self.longest_due(now, |_| true)
                && self.resubscriptions.take(now, 1).is_ok()
            {
                self.ask_for_snapshot(index, now, actions);
            }
            return;
        }
        if self.outbox.is_empty()
            && let Some(index) = self.longest_due(now, |book| !book.is_asked)
        {
            self.ask_for(index);
        }
        // A snapshot from before the first change is of no use.
        if self.fetching.is_none()
            && let Some(index) = self.longest_due(now, |book| book.is_asked && book.is_subscribed)
        {
            self.ask_for_snapshot(index, now, actions);
        }
    }

    /// The book among some that has needed a snapshot for longest.
    fn longest_due(&self, now: UnixMillis, is_one: impl Fn(&Followed) -> bool) -> Option<usize> {
        let due = self.followed.iter().enumerate().filter(|(_, book)| {
            is_one(book) && !book.sync.is_valid() && book.pace.next_at_ms() <= now
        });
        let longest = due.min_by_key(|(_, book)| book.pace.next_at_ms());
        longest.map(|(index, _)| index)
    }

    fn ask_for_snapshot(&mut self, index: usize, now: UnixMillis, actions: &mut Vec<Action>) {
        let book = &mut self.followed[index];
        book.pace.asked(now);
        match self.exchange.book_snapshot(&book.native, self.next_id) {
            SnapshotRequest::Rest(request) => {
                self.fetching = Some(Fetching {
                    index,
                    is_outdated: false,
                });
                actions.push(Action::Fetch(index, request));
            }
            SnapshotRequest::Frames(frames) => {
                self.next_id += frames.len() as u64;
                self.outbox.extend(frames);
            }
        }
    }
}

#[cfg(test)]
mod tests;
