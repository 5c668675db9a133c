//! The snapshot of a session that has subscribed.

use std::collections::HashSet;
use std::sync::Arc;

use market_core::Topic;
use market_core::protocol::Since;

use super::beginnings::Beginnings;
use super::subscriptions::Subscriptions;
use super::topic_updates::push_delta;
use crate::sessions::set_id::SetId;
use crate::sessions::topic_set::Snapshot;
use crate::topics::slot_id::SlotId;
use crate::topics::state::{self, Progress, ResumePosition, Room};
use client_frames::encode::batch::{Batch, Prepared};
use client_frames::encode::frame_budget::FrameBudget;

/// A subscription of a session that already had others.
#[derive(Clone, Copy, Debug)]
pub(super) struct Joined<'a> {
    /// The set that it was in.
    pub(super) from: SetId,
    /// The set that it gets.
    pub(super) to: SetId,
    /// All versions of the former set up to this one have been sent.
    pub(super) seen: u64,
    /// Where the former subscriptions began.
    pub(super) begun: &'a Beginnings,
    /// What the request names.
    pub(super) requested: &'a HashSet<SlotId>,
    /// Where the client stopped before.
    pub(super) since: Option<&'a Since>,
}

impl Joined<'_> {
    /// Whether the client says where it stopped in each topic that the request names.
    pub(super) fn has_places(&self, subscriptions: &Subscriptions) -> bool {
        let topic = |slot: &SlotId| &subscriptions.views[slot.index()].slot.topic;
        let has_place = |slot| {
            self.since
                .is_some_and(|since| since.seq.contains_key(topic(slot).as_str()))
        };
        self.requested.iter().all(has_place)
    }
}

/// The limits of a snapshot.
#[derive(Clone, Copy, Debug)]
pub(super) struct StartBounds<'a> {
    /// Most payload of a frame, bytes.
    pub(super) frame_bytes_max: usize,
    /// Most bytes of closed bars for a session that resumes.
    pub(super) resume_bytes_max: usize,
    /// Most bytes of entries of logs.
    pub(super) log_bytes_max: usize,
    /// Where the frames count.
    pub(super) budget: &'a Arc<FrameBudget>,
}

/// The newest state of a whole set; shared by all sessions that ask between two updates.
pub(super) fn whole(
    subscriptions: &mut Subscriptions,
    id: SetId,
    bounds: StartBounds<'_>,
) -> Arc<Snapshot> {
    let set = subscriptions.sets.get(id);
    let kept = set
        .snapshot
        .as_ref()
        .filter(|snapshot| snapshot.newest == set.newest && snapshot.entries == set.entries.len());
    if let Some(snapshot) = kept {
        return Arc::clone(snapshot);
    }
    let mut batch = Batch::new(bounds.frame_bytes_max);
    let mut marks = Vec::new();
    for entry in &set.entries {
        let view = &subscriptions.views[entry.slot.index()];
        let newest = state::snapshot(
            &view.slot.state(),
            view.newest.as_ref(),
            subscriptions.version,
            entry.filter,
        );
        match newest {
            Some(payload) if view.is_mark => marks.push(payload),
            Some(payload) => batch.push(payload, 0),
            None => {}
        }
    }
    for mark in marks {
        batch.push(mark, 0);
    }
    let patterns: Vec<_> = set
        .spec
        .iter()
        .map(|(pattern, _)| pattern.clone())
        .collect();
    let snapshot = Arc::new(Snapshot {
        newest: set.newest,
        entries: set.entries.len(),
        prepared: Arc::new(batch.finish(0).counted(bounds.budget)),
        pending: subscriptions.expand_all(&patterns).without_data,
    });
    let set = subscriptions.sets.get_mut(id);
    // A set without members shares its snapshot with nobody, so it is not kept.
    if !set.members.is_empty() {
        set.snapshot = Some(Arc::clone(&snapshot));
    }
    snapshot
}

/// The messages after the ack for a session that already had subscriptions: the newest state of the
/// requested topics, and the updates that it lacks of the others. The second value is the topics
/// that could not be resumed.
pub(super) fn joined(
    subscriptions: &Subscriptions,
    joined: Joined<'_>,
    bounds: StartBounds<'_>,
) -> (Prepared, Vec<Topic>) {
    let mut batch = Batch::new(bounds.frame_bytes_max);
    let (mut skipped, mut not_resumed, mut marks) = (0, Vec::new(), Vec::new());
    let (seen, upto) = (joined.seen, subscriptions.version);
    let mut room = Room {
        log: bounds.log_bytes_max,
        earlier: bounds.resume_bytes_max,
    };
    let from = subscriptions.sets.get(joined.from);
    let old = &from.entries;
    for entry in &subscriptions.sets.get(joined.to).entries {
        let view = &subscriptions.views[entry.slot.index()];
        let (state, newest) = (view.slot.state(), view.newest.as_ref());
        let is_requested = joined.requested.contains(&entry.slot);
        if view.is_mark {
            // It has no position to resume from, and comes after the bars.
            if is_requested || view.newest_version > seen {
                marks.extend(state::snapshot(&state, newest, upto, entry.filter));
            }
            continue;
        }
        let topic = &view.slot.topic;
        let place = joined
            .since
            .filter(|_| is_requested)
            .and_then(|since| Some((since, *since.seq.get(topic.as_str())?)));
        let has_room = batch.bytes() < bounds.resume_bytes_max;
        if place.is_some() && !has_room {
            // It starts again, like a topic with too few held bars.
            not_resumed.push(topic.clone());
        } else if let Some((since, seq)) = place {
            let place = ResumePosition {
                epoch: since.epoch,
                seq,
                closed_ms: since.closed_ms.get(topic.as_str()).copied(),
            };
            let (delta, is_whole) =
                state::resume_within(&state, newest, upto, entry.filter, place, &mut room.log);
            if !is_whole {
                not_resumed.push(topic.clone());
            }
            skipped += push_delta(&mut batch, view, delta);
            continue;
        }
        let had = old
            .binary_search_by_key(&entry.slot, |entry| entry.slot)
            .ok()
            .map(|at| old[at].filter);
        let mut is_sent = false;
        // Who asks for a book again may have lost it, so what has changed is not enough.
        let asks_again = is_requested && had.is_some_and(|filter| filter.book.changes);
        if let Some(filter) = had.filter(|_| !asks_again)
            && view.newest_version > seen
        {
            let begun = joined.begun.of(&from.spec, view.called());
            let progress = Progress { seen, begun };
            let delta = state::delta_within(&state, newest, progress, upto, filter, &mut room);
            is_sent = !delta.updates.is_empty();
            skipped += push_delta(&mut batch, view, delta);
        }
        if is_requested
            && (!is_sent || had != Some(entry.filter))
            && let Some(payload) = state::snapshot(&state, newest, upto, entry.filter)
        {
            batch.push(payload, 0);
        }
    }
    for mark in marks {
        batch.push(mark, 0);
    }
    let prepared = batch.finish(skipped).counted(bounds.budget);
    (prepared, not_resumed)
}
