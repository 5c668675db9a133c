//! What a session lacks of a topic: by the version that it has seen, from the beginning, or by the
//! place where its client stopped.

use market_core::protocol::Filter;

use super::{SlotState, Stamp, Update};
use crate::payload::Payload;

/// What a session is to be sent of one topic.
#[derive(Clone, Debug, Default)]
pub(crate) struct Delta {
    /// Publications, oldest first.
    pub updates: Vec<Payload>,
    /// Closed bars before them that it can no longer have.
    pub skipped: u64,
}

/// The newest forming bar or status of a topic, frozen for a flush.
#[derive(Clone, Debug)]
pub(crate) struct Forming {
    /// See [`Update::version`].
    pub version: u64,
    /// See [`Update::payload`].
    pub payload: Payload,
    stamp: Stamp,
    filled: bool,
}

/// Where a client stopped in a topic.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Place {
    /// The epoch in which its number counts.
    pub epoch: u64,
    /// The last number that it saw.
    pub seq: u64,
    /// End of the last closed bar that it has, unix ms, if it says so.
    pub closed_ms: Option<i64>,
}

impl Forming {
    fn passes(&self, filter: Filter) -> bool {
        !(filter.closed_only || filter.no_fill && self.filled)
    }
}

impl SlotState {
    /// The newest forming bar or status, as a shard freezes it for a flush.
    #[must_use]
    pub(crate) fn forming(&self) -> Option<Forming> {
        self.forming.as_ref().map(|update| Forming {
            version: update.version,
            payload: update.payload.clone(),
            stamp: update.stamp,
            filled: update.filled,
        })
    }

    /// Appends the closed bars of versions above `seen` and up to `upto`, oldest first, and
    /// returns how many more there were.
    pub(crate) fn closed_since(
        &self,
        seen: u64,
        upto: u64,
        filter: Filter,
        updates: &mut Vec<Payload>,
    ) -> u64 {
        let is_wanted = |version: u64, filled: bool| {
            version > seen && version <= upto && !(filter.no_fill && filled)
        };
        let before = updates.len();
        // Closed bars are few and the newest are at the back.
        let from = self.closed.partition_point(|update| update.version <= seen);
        for update in self.closed.range(from..) {
            if is_wanted(update.version, update.filled) {
                updates.push(update.payload.clone());
            }
        }
        let sent = (updates.len() - before) as u64;
        let mut existed = 0;
        for logged in self.log.iter().rev() {
            if logged.version <= seen {
                break;
            }
            if logged.version <= upto {
                existed += u64::from(logged.missed);
            }
            existed += u64::from(is_wanted(logged.version, logged.filled));
        }
        existed - sent
    }

    /// The newest closed bar up to `upto` that passes the filter.
    fn newest_closed(&self, upto: u64, filter: Filter) -> Option<&Update> {
        self.closed
            .iter()
            .rev()
            .find(|update| update.version <= upto && !(filter.no_fill && update.filled))
    }
}

/// What a session that has seen everything up to version `seen` lacks, up to version `upto`.
#[must_use]
pub(crate) fn delta(
    state: &SlotState,
    forming: Option<&Forming>,
    seen: u64,
    upto: u64,
    filter: Filter,
) -> Delta {
    let mut delta = Delta::default();
    delta.skipped = state.closed_since(seen, upto, filter, &mut delta.updates);
    if let Some(forming) = forming
        && forming.version > seen
        && forming.passes(filter)
    {
        delta.updates.push(forming.payload.clone());
    }
    delta
}

/// The newest state: what a new subscriber starts from.
#[must_use]
pub(crate) fn snapshot(
    state: &SlotState,
    forming: Option<&Forming>,
    upto: u64,
    filter: Filter,
) -> Option<Payload> {
    match forming.filter(|forming| forming.passes(filter)) {
        Some(forming) => Some(forming.payload.clone()),
        None => state
            .newest_closed(upto, filter)
            .map(|update| update.payload.clone()),
    }
}

/// What a client that stopped at `place` lacks, and whether that is all of it. In another epoch
/// the numbers say nothing: it gets every closed bar that is held.
///
/// A closed bar is lacking if its number is newer, or if it ends after the last one that the
/// client has: one that its gateway got late has an older number than what it saw.
#[must_use]
pub(crate) fn resume(
    state: &SlotState,
    forming: Option<&Forming>,
    upto: u64,
    filter: Filter,
    place: Place,
) -> (Delta, bool) {
    let Place { epoch, seq, .. } = place;
    let last = Stamp { epoch, seq };
    let mut delta = Delta::default();
    let is_known_epoch = state.newest.epoch == epoch && seq <= state.newest.seq;
    let is_lacking = |stamp: Stamp, end_ms: i64| {
        !is_known_epoch || stamp > last || place.closed_ms.is_some_and(|ms| end_ms > ms)
    };
    for update in &state.closed {
        if update.version <= upto
            && is_lacking(update.stamp, update.end_ms)
            && !(filter.no_fill && update.filled)
        {
            delta.updates.push(update.payload.clone());
        }
    }
    let mut is_whole = is_known_epoch;
    if is_known_epoch {
        let mut existed = 0;
        for logged in &state.log {
            if logged.version <= upto && is_lacking(logged.stamp, logged.end_ms) {
                existed += u64::from(logged.missed);
                existed += u64::from(!(filter.no_fill && logged.filled));
            }
        }
        delta.skipped = existed.saturating_sub(delta.updates.len() as u64);
        is_whole = state
            .forgotten
            .is_none_or(|forgotten| !is_lacking(forgotten.stamp, forgotten.end_ms));
    }
    if let Some(forming) = forming
        && forming.passes(filter)
        && (!is_known_epoch || forming.stamp > last)
    {
        delta.updates.push(forming.payload.clone());
    }
    (delta, is_whole)
}
