//! The updates of a topic that a session lacks: by the version that it has seen, from the
//! beginning, or by the position where its client stopped.

use market_core::protocol::Filter;

use super::TopicState;
use super::newest::Newest;
use super::series::{Lacking, ResumePosition, Seam};
use crate::encode::payload::Payload;

/// The updates of one topic for a session.
#[derive(Clone, Debug, Default)]
pub(crate) struct Delta {
    /// Publications, oldest first.
    pub updates: Vec<Payload>,
    /// Closed bars before them that are no longer held.
    pub skipped: u64,
}

/// The updates up to version `upto` for a session that has seen all versions up to `seen`.
#[must_use]
pub(crate) fn delta(
    state: &TopicState,
    newest: Option<&Newest>,
    seen: u64,
    upto: u64,
    filter: Filter,
) -> Delta {
    let mut delta = Delta::default();
    if let TopicState::Series(series) = state {
        delta.skipped = series.since(seen, upto, filter, &mut delta.updates);
    }
    if let Some(newest) = newest
        && newest.version > seen
        && newest.passes(filter)
    {
        delta.updates.push(newest.payload.clone());
    }
    delta
}

/// The newest state, for a new subscriber.
#[must_use]
pub(crate) fn snapshot(
    state: &TopicState,
    newest: Option<&Newest>,
    upto: u64,
    filter: Filter,
) -> Option<Payload> {
    match (newest.filter(|newest| newest.passes(filter)), state) {
        (Some(newest), _) => Some(newest.payload.clone()),
        (None, TopicState::Series(series)) => series.last_closed(upto, filter),
        (None, TopicState::Unknown | TopicState::Latest(_)) => None,
    }
}

/// The updates for a client that stopped at `place`, and whether these are all. For a topic without
/// bars, it is the newest value: there is nothing to resume.
#[must_use]
pub(crate) fn resume(
    state: &TopicState,
    newest: Option<&Newest>,
    upto: u64,
    filter: Filter,
    place: ResumePosition,
) -> (Delta, bool) {
    let mut delta = Delta::default();
    let lacking = match state {
        TopicState::Series(series) => {
            series.lacking(newest, upto, filter, place, &mut delta.updates)
        }
        TopicState::Unknown | TopicState::Latest(_) => Lacking {
            skipped: 0,
            is_whole: false,
            lacks_forming: true,
        },
    };
    delta.skipped = lacking.skipped;
    if let Some(newest) = newest
        && newest.passes(filter)
        && lacking.lacks_forming
    {
        delta.updates.push(newest.payload.clone());
    }
    (delta, lacking.is_whole)
}

/// What is held beside the past of a client that has all closed bars which end at `after_ms` or
/// before. A topic without bars has nothing.
#[must_use]
pub(crate) fn seam(
    state: &TopicState,
    newest: Option<&Newest>,
    upto: u64,
    filter: Filter,
    after_ms: Option<i64>,
) -> Seam {
    match state {
        TopicState::Series(series) => series.seam(newest, upto, filter, after_ms),
        TopicState::Unknown | TopicState::Latest(_) => Seam::default(),
    }
}
