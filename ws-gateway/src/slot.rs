//! What is known of one topic: the newest forming bar, the last closed bars, and how many there were.
//!
//! Nothing in here is a queue: a session that falls behind takes the newest state and is told how
//! many closed bars it can no longer have.

mod closed;
mod delta;

use std::time::Duration;

use bytes::Bytes;
use market_core::wire::BarHead;

use self::closed::{ClosedBars, Taken};
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
    /// Whether it is a message of a topic that has no bars.
    is_status: bool,
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

/// What became of an offered publication.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Offered {
    /// It is new; `missed` closed bars should have come before it.
    New {
        /// Closed bars that never reached this gateway.
        missed: u32,
        /// Whether it is one of those that were said to be missed before.
        late: bool,
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
    /// Closed bars held whole, those that start last.
    pub closed_bars: usize,
    /// Closed bars of which it is known that they were, however old they are.
    pub closed_log: usize,
    /// How long it is known of any other: no session falls further behind and lives.
    pub lag_max: Duration,
    /// How long a closed bar is held whole, whatever has come since.
    pub hold: Duration,
    /// Closed bars of a topic held whole at most.
    pub burst_max: usize,
    /// Bytes of the closed bars of all topics whose time is not over, at most.
    pub hold_bytes_max: usize,
}

impl Default for Depth {
    fn default() -> Self {
        Self {
            closed_bars: 32,
            closed_log: 256,
            lag_max: Duration::from_secs(75),
            hold: Duration::from_secs(30),
            burst_max: 4_096,
            hold_bytes_max: 256 << 20,
        }
    }
}

/// What a slot keeps at this time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Keep {
    /// How much.
    pub depth: Depth,
    /// Versions up to here have had their time.
    pub old_upto: u64,
    /// Every session has been sent what it wanted of the versions up to here, or was told.
    pub told_upto: u64,
}

/// The state of one topic.
#[derive(Debug, Default)]
pub(crate) struct SlotState {
    /// The newest forming bar, or the newest message of a topic that has no bars.
    forming: Option<Update>,
    closed: ClosedBars,
    /// The newest publication taken, forming or closed.
    newest: Stamp,
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
            is_status: true,
            stamp: Stamp::default(),
            start_ms: 0,
            end_ms: 0,
            rev: 0,
            filled: false,
        });
        Offered::New {
            missed: 0,
            late: false,
            conflated,
        }
    }

    /// Takes a bar. `version` has to be above every version given before. `early` is raised by the
    /// closed bars that are let go before their time.
    pub(crate) fn offer_bar(
        &mut self,
        head: &BarHead<'_>,
        payload: Bytes,
        version: u64,
        keep: Keep,
        early: &mut u64,
    ) -> Offered {
        let update = Update {
            version,
            payload: Payload::from(payload),
            is_status: false,
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
            self.offer_closed(update, keep, early)
        } else {
            self.offer_forming(update)
        }
    }

    fn offer_forming(&mut self, update: Update) -> Offered {
        if update.stamp == self.newest {
            return Offered::Duplicate;
        }
        let is_closed = self
            .closed
            .last_ms()
            .is_some_and(|(start_ms, _)| update.start_ms <= start_ms);
        if update.stamp < self.newest || (is_closed && update.stamp.epoch == self.newest.epoch) {
            return Offered::Stale;
        }
        self.newest = update.stamp;
        let conflated = self.forming.is_some();
        self.forming = Some(update);
        Offered::New {
            missed: 0,
            late: false,
            conflated,
        }
    }

    fn offer_closed(&mut self, update: Update, keep: Keep, early: &mut u64) -> Offered {
        let (start_ms, stamp) = (update.start_ms, update.stamp);
        let Taken::New { missed, late } = self.closed.offer(update, keep, early) else {
            return Offered::Duplicate;
        };
        if self
            .forming
            .as_ref()
            .is_some_and(|forming| forming.start_ms <= start_ms)
        {
            self.forming = None;
        }
        self.newest = self.newest.max(stamp);
        Offered::New {
            missed,
            late,
            conflated: false,
        }
    }

    /// The time of a closed bar's version is over. True if the bar is no longer held.
    pub(crate) fn let_go(&mut self, start_ms: i64, version: u64, keep: Keep) -> bool {
        self.closed.let_go(start_ms, version, keep)
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
