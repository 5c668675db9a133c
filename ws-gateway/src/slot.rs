//! What is known of one topic: the newest forming bar, the last closed bars, and how many there were.
//!
//! Nothing in here is a queue: a session that falls behind takes the newest state and is told how
//! many closed bars it can no longer have.

mod delta;

use std::collections::VecDeque;

use bytes::Bytes;
use market_core::wire::BarHead;

pub(crate) use self::delta::{Delta, Forming, Place, delta, resume, snapshot};
use crate::payload::Payload;

/// A publication of a topic, as the hub holds it.
#[derive(Clone, Debug)]
pub(crate) struct Update {
    /// Its place in the order of everything that the hub took: rises over all topics.
    pub version: u64,
    /// What is sent of it.
    pub payload: Payload,
    /// Its sequence number and epoch, if it is a bar.
    stamp: Stamp,
    start_ms: i64,
    end_ms: i64,
    rev: u32,
    filled: bool,
}

/// Where the publisher says that a publication stands: ordered by epoch, then by number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
struct Stamp {
    epoch: u64,
    seq: u64,
}

/// A closed bar that was, whether or not the bar itself is still held.
#[derive(Clone, Copy, Debug)]
struct Logged {
    version: u64,
    stamp: Stamp,
    end_ms: i64,
    filled: bool,
    /// Closed bars that should have come before it and never reached this gateway.
    missed: u32,
}

/// What became of an offered publication.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Offered {
    /// It is new; `missed` closed bars should have come before it.
    New {
        /// Closed bars that never reached this gateway.
        missed: u32,
        /// Whether it replaced a forming bar that some session may not have seen.
        conflated: bool,
    },
    /// It was here before.
    Duplicate,
    /// It is older than what is held.
    Stale,
}

/// How much a slot keeps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Depth {
    /// Closed bars held whole.
    pub closed_bars: usize,
    /// Closed bars of which it is known that they were.
    pub closed_log: usize,
}

impl Default for Depth {
    fn default() -> Self {
        Self {
            closed_bars: 32,
            closed_log: 256,
        }
    }
}

/// The state of one topic.
#[derive(Debug, Default)]
pub(crate) struct SlotState {
    /// The newest forming bar, or the newest message of a topic that has no bars.
    forming: Option<Update>,
    /// The last closed bars, ascending by version.
    closed: VecDeque<Update>,
    /// The last closed bars' versions, ascending; holds at least those of `closed`.
    log: VecDeque<Logged>,
    /// The newest entry that was dropped from the log.
    forgotten: Option<Logged>,
    /// The newest publication taken, forming or closed.
    newest: Stamp,
    /// The newest closed bar by the publisher's order.
    newest_closed: Stamp,
    /// Start and end of the closed bar that starts last, ms.
    last_closed_ms: Option<(i64, i64)>,
}

impl SlotState {
    /// Takes a message of a topic without bars: each replaces the one before.
    pub(crate) fn offer_status(&mut self, payload: Bytes, version: u64) -> Offered {
        if let Some(held) = &self.forming
            && held.payload == payload
        {
            return Offered::Duplicate;
        }
        let conflated = self.forming.is_some();
        self.forming = Some(Update {
            version,
            payload: Payload::from(payload),
            stamp: Stamp::default(),
            start_ms: 0,
            end_ms: 0,
            rev: 0,
            filled: false,
        });
        Offered::New {
            missed: 0,
            conflated,
        }
    }

    /// Takes a bar. `version` has to be above every version given before.
    pub(crate) fn offer_bar(
        &mut self,
        head: &BarHead<'_>,
        payload: Bytes,
        version: u64,
        depth: Depth,
    ) -> Offered {
        let update = Update {
            version,
            payload: Payload::from(payload),
            stamp: Stamp {
                epoch: head.epoch,
                seq: head.seq,
            },
            start_ms: head.start_ms,
            end_ms: head.end_ms,
            rev: head.rev,
            filled: head.filled,
        };
        if head.closed {
            self.offer_closed(head, update, depth)
        } else {
            self.offer_forming(update)
        }
    }

    fn offer_forming(&mut self, update: Update) -> Offered {
        if update.stamp == self.newest {
            return Offered::Duplicate;
        }
        let is_closed = self
            .last_closed_ms
            .is_some_and(|(start_ms, _)| update.start_ms <= start_ms);
        if update.stamp < self.newest || (is_closed && update.stamp.epoch == self.newest.epoch) {
            return Offered::Stale;
        }
        self.newest = update.stamp;
        let conflated = self.forming.is_some();
        self.forming = Some(update);
        Offered::New {
            missed: 0,
            conflated,
        }
    }

    fn offer_closed(&mut self, head: &BarHead<'_>, update: Update, depth: Depth) -> Offered {
        let held = self.closed.iter().rev().find(|held| {
            held.start_ms == update.start_ms
                && held.rev >= update.rev
                && held.stamp.epoch >= update.stamp.epoch
        });
        if held.is_some() {
            return Offered::Duplicate;
        }
        // What starts before all that is held was held once, unless it is newer than all of it.
        let is_before_all = self.closed.len() >= depth.closed_bars
            && self
                .closed
                .iter()
                .all(|held| update.start_ms < held.start_ms);
        if is_before_all && update.stamp <= self.newest_closed {
            return Offered::Duplicate;
        }
        let missed = self.missed_before(head);
        if self
            .last_closed_ms
            .is_none_or(|(start_ms, _)| head.start_ms > start_ms)
        {
            self.last_closed_ms = Some((head.start_ms, head.end_ms));
        } else if head.rev == 0 {
            self.no_longer_missed(head);
        }
        if self
            .forming
            .as_ref()
            .is_some_and(|forming| forming.start_ms <= head.start_ms)
        {
            self.forming = None;
        }
        self.newest = self.newest.max(update.stamp);
        self.newest_closed = self.newest_closed.max(update.stamp);
        self.log.push_back(Logged {
            version: update.version,
            stamp: update.stamp,
            end_ms: head.end_ms,
            filled: update.filled,
            missed,
        });
        while self.log.len() > depth.closed_log.max(depth.closed_bars) {
            self.forgotten = self.log.pop_front();
        }
        self.closed.push_back(update);
        while self.closed.len() > depth.closed_bars {
            self.closed.pop_front();
        }
        Offered::New {
            missed,
            conflated: false,
        }
    }

    /// How many bars lie between the last closed one and this one, by their times.
    fn missed_before(&self, head: &BarHead<'_>) -> u32 {
        let width_ms = head.end_ms - head.start_ms;
        match self.last_closed_ms {
            Some((_, end_ms)) if head.rev == 0 && head.start_ms > end_ms && width_ms > 0 => {
                // Months differ in width; rounding up never makes a hole vanish.
                let bars = (head.start_ms - end_ms + width_ms - 1) / width_ms;
                u32::try_from(bars).unwrap_or(u32::MAX)
            }
            _ => 0,
        }
    }

    /// A bar has come late: the one after its hole no longer says that it was missed.
    fn no_longer_missed(&mut self, head: &BarHead<'_>) {
        let after = self
            .log
            .iter_mut()
            .filter(|logged| logged.missed > 0 && logged.end_ms > head.end_ms)
            .min_by_key(|logged| logged.end_ms);
        if let Some(logged) = after {
            logged.missed -= 1;
        }
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// A bar's head and payload: 1 s bars, numbered by `index`.
    pub(crate) fn bar(index: i64, seq: u64, epoch: u64, closed: bool) -> (BarHead<'static>, Bytes) {
        let head = BarHead {
            seq,
            epoch,
            start_ms: index * 1_000,
            end_ms: (index + 1) * 1_000,
            closed,
            rev: 0,
            filled: false,
            exchange: "binance",
        };
        let state = if closed { "closed" } else { "forming" };
        let payload = format!(
            r#"{{"topic":"kline:1s:A-B","seq":{seq},"epoch":{epoch},"start_ms":{},"end_ms":{},"state":"{state}","rev":0,"quality":"complete"}}"#,
            head.start_ms, head.end_ms,
        );
        (head, Bytes::from(payload))
    }
}

#[cfg(test)]
mod tests;
