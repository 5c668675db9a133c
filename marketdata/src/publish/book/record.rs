//! What programs read of the record.

use market_core::clock::EPOCH_AHEAD_MAX_MS;
use market_core::{Bar, Quality, UnixMillis};
use serde::Deserialize;

/// What of a bar decides which of two is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) rev: u32,
    pub(crate) count: u64,
    pub(crate) is_whole: bool,
}

/// A published bar as another program reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct RecordHead {
    pub(crate) epoch: u64,
    pub(crate) start_ms: UnixMillis,
    pub(crate) rev: u32,
    pub(crate) count: u64,
    pub(crate) quality: Quality,
}

/// What a record has when its topic is taken over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Newest {
    /// Its newest message.
    Last(Option<RecordHead>),
    /// Everything that it got since a position, in its order. What was heard before `after_ms` is
    /// stored before that position.
    Since {
        stored: Vec<RecordHead>,
        after_ms: UnixMillis,
    },
}

impl RecordHead {
    /// Reads a bar of the record; `None` if it is none, or if its numbers cannot be true at `now`: a
    /// bar of the far future, or of an epoch above all others, would hide every true one.
    pub(crate) fn read(payload: &[u8], now: UnixMillis) -> Option<Self> {
        let read: Self = serde_json::from_slice(payload).ok()?;
        let latest_ms = now.saturating_add_unsigned(EPOCH_AHEAD_MAX_MS);
        let is_time = (0..=latest_ms).contains(&read.start_ms);
        let is_epoch = i64::try_from(read.epoch).is_ok_and(|epoch| epoch <= latest_ms);
        (is_time && is_epoch).then_some(read)
    }

    pub(super) fn content(&self) -> Content {
        Content {
            rev: self.rev,
            count: self.count,
            is_whole: is_whole(self.quality),
        }
    }
}

impl Content {
    pub(crate) fn of(bar: &Bar) -> Self {
        Self {
            rev: bar.rev,
            count: bar.fold.map_or(0, |fold| fold.count),
            is_whole: is_whole(bar.quality),
        }
    }

    /// Whether it says more than `other`. Trades are facts: of two bars that are both whole or both
    /// not, the one with more trades knows more.
    pub(super) fn is_better_than(&self, other: &Self) -> bool {
        (self.is_whole, self.count) > (other.is_whole, other.count)
    }

    pub(super) fn is_as(&self, other: &Self) -> bool {
        (self.is_whole, self.count) == (other.is_whole, other.count)
    }
}

fn is_whole(quality: Quality) -> bool {
    match quality {
        Quality::Complete | Quality::Filled | Quality::Backfilled => true,
        Quality::Gap | Quality::Partial => false,
    }
}
