//! The updates of a topic that a session lacks: by the version that it has seen, from the
//! beginning, or by the position where its client stopped.

use market_core::protocol::Filter;

use super::TopicState;
use super::bar::StreamPosition;
use super::newest::Newest;
use super::progress::{Progress, Room};
use super::resume_position::ResumePosition;
use super::series::Lacking;
use client_frames::encode::payload::Payload;

/// The updates of one topic for a session.
#[derive(Clone, Debug, Default)]
pub(crate) struct Delta {
    /// Publications, oldest first.
    pub updates: Vec<Payload>,
    /// Closed bars before them that are no longer held; of a log, all entries that are not sent.
    pub skipped: u64,
}

/// As [`delta_within`] for a session that had the topic from the start, with room for all entries of
/// a log.
#[cfg(test)]
pub(crate) fn delta(
    state: &TopicState,
    newest: Option<&Newest>,
    seen: u64,
    upto: u64,
    filter: Filter,
) -> Delta {
    let progress = Progress::from_the_start(seen);
    let mut room = Room {
        log: usize::MAX,
        earlier: usize::MAX,
    };
    delta_within(state, newest, progress, upto, filter, &mut room)
}

/// The updates up to version `upto` for a session. Of a log, it has the newest entries that fit
/// `room`, and of the bars that were here before it began those that do; `room` falls by their bytes.
#[must_use]
pub(crate) fn delta_within(
    state: &TopicState,
    newest: Option<&Newest>,
    progress: Progress,
    upto: u64,
    filter: Filter,
    room: &mut Room,
) -> Delta {
    let mut delta = Delta::default();
    let seen = progress.seen;
    match state {
        TopicState::Series(series) => {
            let room = &mut room.earlier;
            delta.skipped = series.since(progress, upto, filter, room, &mut delta.updates);
        }
        TopicState::Log(log) => {
            delta.skipped = log.since(seen, upto, &mut room.log, &mut delta.updates);
        }
        TopicState::Unknown
        | TopicState::Latest(_)
        | TopicState::Books(_)
        | TopicState::Stream(_) => {}
    }
    if let Some(newest) = newest
        && newest.version > seen
        && newest.passes(filter)
    {
        let payload = match (state, &newest.book, &newest.stream) {
            (TopicState::Books(books), Some(book), _) => books.since(book, seen, filter.book),
            (_, _, Some(stream)) => stream.since(seen),
            _ => newest.payload.clone(),
        };
        delta.updates.push(payload);
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
        (Some(newest), _) => Some(newest.whole(filter)),
        (None, TopicState::Series(series)) => series.last_closed(upto, filter),
        (None, TopicState::Log(log)) => log.last(upto),
        (
            None,
            TopicState::Unknown
            | TopicState::Latest(_)
            | TopicState::Books(_)
            | TopicState::Stream(_),
        ) => None,
    }
}

/// As [`resume_within`], with room for all entries of a log.
#[cfg(test)]
pub(crate) fn resume(
    state: &TopicState,
    newest: Option<&Newest>,
    upto: u64,
    filter: Filter,
    place: ResumePosition,
) -> (Delta, bool) {
    resume_within(state, newest, upto, filter, place, &mut { usize::MAX })
}

/// The updates for a client that stopped at `place`, and whether these are all. For a topic of the
/// class `latest`, it is the newest value, if the client lacks it. Of a log, it is the newest
/// entries that fit `room`.
#[must_use]
pub(crate) fn resume_within(
    state: &TopicState,
    newest: Option<&Newest>,
    upto: u64,
    filter: Filter,
    place: ResumePosition,
    room: &mut usize,
) -> (Delta, bool) {
    let mut delta = Delta::default();
    let last = StreamPosition {
        epoch: place.epoch,
        seq: place.seq,
    };
    let lacking = match state {
        TopicState::Series(series) => {
            series.lacking(newest, upto, filter, place, &mut delta.updates)
        }
        TopicState::Log(log) => {
            let (skipped, is_whole) = log.after(place, upto, room, &mut delta.updates);
            Lacking {
                skipped,
                is_whole,
                lacks_forming: false,
            }
        }
        // A value without a position cannot be resumed.
        TopicState::Latest(latest) => Lacking {
            skipped: 0,
            is_whole: latest.has_position(),
            lacks_forming: latest.is_after(last),
        },
        TopicState::Books(books) => Lacking {
            skipped: 0,
            is_whole: true,
            lacks_forming: books.is_after(last, filter.book),
        },
        // An event has no position, and what nobody published cannot be resumed.
        TopicState::Unknown | TopicState::Stream(_) => Lacking {
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
        delta.updates.push(newest.whole(filter));
    }
    (delta, lacking.is_whole)
}
