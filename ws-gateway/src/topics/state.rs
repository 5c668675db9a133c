//! The state of one topic: the newest forming bar, the last closed bars, and the number of older
//! ones.
//!
//! There is no queue here: a session that falls behind takes the newest state, and is told how many
//! closed bars it can no longer have.

mod closed;
mod delta;
mod depth;
mod update;

use bytes::Bytes;
use market_core::wire::BarHead;

use self::closed::{ClosedBars, Taken};
pub(crate) use self::delta::{Delta, Forming, Place, delta, resume, snapshot};
pub(crate) use self::depth::{Depth, Keep};
use self::update::{Stamp, Update};
use crate::encode::payload::Payload;

/// The result of offering a publication.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Offered {
    /// It is new; `missed` closed bars should have come before it.
    New {
        /// Closed bars that never reached this gateway.
        missed: u32,
        /// Whether it is a bar that was counted as missed before.
        late: bool,
        /// Whether it replaced a forming bar that some session may not have seen.
        conflated: bool,
    },
    /// It was here before.
    Duplicate,
    /// It is older than what is held.
    Stale,
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
    /// Takes a message of a topic without bars: each one replaces the one before.
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

    /// Takes a bar. `version` must be above every version before. `early` rises by the closed bars
    /// that are released early.
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

    /// The hold time of a closed bar's version is over. True if the bar is no longer held.
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
