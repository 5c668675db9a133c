//! What a session lacks of a topic: by the version that it has seen, from the beginning, or by the
//! place where its client stopped.

use market_core::protocol::Filter;

use super::SlotState;
use super::update::Stamp;
use crate::encode::payload::Payload;

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
    /// End of the last closed bar that it has, unix ms, if it says so.
    pub closed_ms: Option<i64>,
}

impl Forming {
    fn passes(&self, filter: Filter) -> bool {
        // A mark or a status is no bar, so nobody declines it.
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
    delta.skipped = state.closed.since(seen, upto, filter, &mut delta.updates);
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
        None => state.closed.last_first(upto, filter).next(),
    }
}

/// What a client that stopped at `place` lacks, and whether that is all of it. In another epoch
/// the numbers say nothing: it gets every closed bar that is held. A number of this epoch that has
/// not come here yet was given by a gateway that is ahead: what lies between comes as it does to
/// all others.
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
    let is_known_epoch = state.newest.epoch == epoch;
    let is_lacking = |stamp: Stamp, end_ms: i64| {
        !is_known_epoch || stamp > last || place.closed_ms.is_some_and(|ms| end_ms > ms)
    };
    // A revision of a bar that the client has says nothing of a hole before the bar.
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
