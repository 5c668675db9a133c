//! The updates of a topic that a session lacks: by the version that it has seen, from the
//! beginning, or by the position where its client stopped.

use market_core::protocol::Filter;

use super::SlotState;
use super::update::Stamp;
use crate::encode::payload::Payload;

/// The updates of one topic for a session.
#[derive(Clone, Debug, Default)]
pub(crate) struct Delta {
    /// Publications, oldest first.
    pub updates: Vec<Payload>,
    /// Closed bars before them that it can no longer get.
    pub skipped: u64,
}

/// The newest forming bar or status of a topic, frozen for a flush.
#[derive(Clone, Debug)]
pub(crate) struct Forming {
    /// See [`super::update::Update::version`].
    pub version: u64,
    /// See [`super::update::Update::payload`].
    pub payload: Payload,
    is_status: bool,
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
    /// End of the client's last closed bar, unix ms, if the client names it.
    pub closed_ms: Option<i64>,
}

impl Forming {
    fn passes(&self, filter: Filter) -> bool {
        // A mark or a status is not a bar, so no option declines it.
        self.is_status || !(filter.closed_only || filter.no_fill && self.filled)
    }
}

impl SlotState {
    /// The newest forming bar or status, as a shard freezes it for a flush.
    #[must_use]
    pub(crate) fn forming(&self) -> Option<Forming> {
        self.forming.as_ref().map(|update| Forming {
            version: update.version,
            payload: update.payload.clone(),
            is_status: update.is_status,
            stamp: update.stamp,
            filled: update.filled,
        })
    }
}

/// The updates up to version `upto` for a session that has seen all versions up to `seen`.
#[must_use]
pub(crate) fn delta(
    state: &SlotState,
    forming: Option<&Forming>,
    seen: u64,
    upto: u64,
    filter: Filter,
) -> Delta {
    let mut delta = Delta::default();
    delta.skipped = state.closed.since(seen, upto, filter, &mut delta.updates);
    if let Some(forming) = forming
        && forming.version > seen
        && forming.passes(filter)
    {
        delta.updates.push(forming.payload.clone());
    }
    delta
}

/// The newest state, for a new subscriber.
#[must_use]
pub(crate) fn snapshot(
    state: &SlotState,
    forming: Option<&Forming>,
    upto: u64,
    filter: Filter,
) -> Option<Payload> {
    match forming.filter(|forming| forming.passes(filter)) {
        Some(forming) => Some(forming.payload.clone()),
        None => state.closed.last_first(upto, filter).next(),
    }
}

/// The updates for a client that stopped at `place`, and whether these are all. In another epoch
/// the numbers mean nothing: the client gets every held closed bar. A number of this epoch that has
/// not come here yet is from a gateway that is ahead: the bars in between come as they come to all
/// other clients.
///
/// A client lacks a closed bar if the bar's number is newer, or if the bar ends after the client's
/// last one: a bar that its gateway got late has an older number than the client has seen.
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
    let is_known_epoch = state.newest.epoch == epoch;
    let is_lacking = |stamp: Stamp, end_ms: i64| {
        !is_known_epoch || stamp > last || place.closed_ms.is_some_and(|ms| end_ms > ms)
    };
    // A revision of a bar that the client has says nothing about a hole before the bar.
    let is_hole_lacking = |stamp: Stamp, end_ms: i64| match place.closed_ms {
        Some(ms) => end_ms > ms,
        None => stamp > last,
    };
    let skipped = state.closed.lacking(
        upto,
        filter,
        is_lacking,
        is_hole_lacking,
        &mut delta.updates,
    );
    let mut is_whole = is_known_epoch;
    if is_known_epoch {
        delta.skipped = skipped;
        is_whole = state
            .closed
            .forgotten()
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
