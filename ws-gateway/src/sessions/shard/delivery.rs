//! Sends updates: encoded once for all sessions with the same set and version, in portions, so that
//! other tasks get their turn.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::debug;

use super::beginnings::{Begun, Groups};
use super::config::ShardConfig;
use super::members::Members;
use super::subscriptions::Subscriptions;
use super::topic_updates::push_delta;
use crate::metrics::Counts;
use crate::sessions::flush_schedule::{FlushSchedule, Pace};
use crate::sessions::outlet::{Outlet, Sent};
use crate::sessions::session_id::SessionId;
use crate::sessions::set_id::SetId;
use crate::sessions::topic_set::Entry;
use crate::topics::slot_id::SlotId;
use crate::topics::state::{self, Progress, Room};
use client_frames::encode::batch::{Batch, Encoded, Prepared};
use client_frames::encode::deflate::{Compression, Deflater};
use client_frames::encode::encoding::Encoding;
use client_frames::encode::frame_budget::FrameBudget;

/// How long a session that is behind waits while slow clients use too many bytes.
const OVERLOAD_REST: Duration = Duration::from_millis(100);
/// From this number of sessions on, a set's frames are compressed as a whole, in half the bytes.
pub(super) const SHARED_MEMBERS_MIN: usize = 8;
/// Most frames after late bars for sessions whose topics began at different times.
const MIXED_MAX: usize = 8;

/// The due sets and sessions, and the progress of the current flush.
#[derive(Debug)]
pub(super) struct Delivery {
    /// Sets with changes to send.
    schedule: FlushSchedule,
    /// Sessions that are due separately: they could not take updates before.
    due: Vec<SessionId>,
    /// When these may get a frame.
    due_at: Instant,
    /// Sessions that wait because of their `max_rate`.
    delayed: BinaryHeap<Reverse<(Instant, SessionId)>>,
    cursor: Cursor,
    deflater: Deflater,
    /// The budget that counts frames for few sessions.
    budget: Arc<FrameBudget>,
}

/// The progress of a flush.
#[derive(Debug, Default)]
struct Cursor {
    sets: Vec<SetId>,
    member: usize,
    /// Frames of the current set, by what a session had got.
    prepared: Vec<Frames>,
    loose: Vec<SessionId>,
    /// When the oldest change of this flush came.
    since: Option<Instant>,
}

/// The frames for sessions that have got the same.
#[derive(Debug)]
struct Frames {
    seen: u64,
    begun: Begun,
    data: Prepared,
    /// The topics in which a bar came late; nearly always none.
    late: Vec<SlotId>,
    /// Those of sessions that lack bars after these.
    groups: Groups,
}

impl Cursor {
    /// The place of the frames for sessions that have got this, which `make` makes if there are none.
    fn frames_at(
        &mut self,
        seen: u64,
        begun: Begun,
        make: impl FnOnce(u64, Begun) -> Frames,
    ) -> usize {
        let is_for = |frames: &Frames| frames.seen == seen && frames.begun == begun;
        self.prepared.iter().position(is_for).unwrap_or_else(|| {
            self.prepared.push(make(seen, begun));
            self.prepared.len() - 1
        })
    }

    /// The group of a session after late bars, by where its topics began; `at` is the place of the
    /// frames for sessions that lack none after them.
    fn group_at(&self, at: usize, begun: Begun) -> Begun {
        let is_mixed = |frames: &&Frames| frames.begun.is_mixed() && frames.begun != begun;
        match begun.is_mixed() && self.prepared.iter().filter(is_mixed).count() < MIXED_MAX {
            true => begun,
            false => Begun::all_at(self.prepared[at].groups.of(begun.all)),
        }
    }
}

impl Delivery {
    /// Nothing is due.
    pub(super) fn new(compression: Compression, budget: Arc<FrameBudget>, now: Instant) -> Self {
        Self {
            schedule: FlushSchedule::default(),
            due: Vec::new(),
            due_at: now,
            delayed: BinaryHeap::new(),
            cursor: Cursor::default(),
            deflater: Deflater::new(compression),
            budget,
        }
    }

    /// These sets have changes from now on.
    pub(super) fn note(&mut self, fresh: Vec<SetId>, subscriptions: &Subscriptions, pace: Pace) {
        for id in fresh {
            if let Some((changes, sent_at)) = subscriptions.changes(id) {
                self.schedule.add(pace.due_at(changes, sent_at), id);
            }
        }
    }

    /// A session must get the updates that it lacks.
    pub(super) fn add(&mut self, id: SessionId) {
        self.due.push(id);
    }

    /// When the next flush is due; `None` while there are no changes.
    pub(super) fn flush_at(&self) -> Option<Instant> {
        let sets = self.schedule.next_at();
        let sessions = (!self.due.is_empty()).then_some(self.due_at);
        sets.into_iter().chain(sessions).min()
    }

    /// When the oldest change of the flush in progress came to the hub.
    pub(super) fn flushing_since(&self) -> Option<Instant> {
        self.cursor.since
    }

    /// When the next session has waited long enough.
    pub(super) fn next_at(&self) -> Option<Instant> {
        self.delayed.peek().map(|Reverse((at, _))| *at)
    }

    /// Makes the sessions due that have waited long enough.
    pub(super) fn tick<O: Outlet>(&mut self, members: &mut Members<O>, now: Instant) {
        while let Some(Reverse((at, id))) = self.delayed.peek().copied()
            && at <= now
        {
            self.delayed.pop();
            if members.get(id).is_some() {
                members.live_mut(id.index).is_delayed = false;
                self.due.push(id);
            }
        }
    }

    /// Frames in an encoding: see [`Prepared::encoded`].
    pub(super) fn encoded<'a>(
        &mut self,
        data: &'a Prepared,
        encoding: Encoding,
        is_shared: bool,
        counts: &mut Counts,
    ) -> &'a Encoded {
        data.encoded(encoding, is_shared, &mut self.deflater, &mut counts.encoded)
    }

    /// Bytes that were compressed since the last call, before and after.
    pub(super) fn take_work(&mut self) -> (u64, u64) {
        self.deflater.take_work()
    }

    /// Begins a flush of the due sets.
    fn begin_flush(&mut self, subscriptions: &mut Subscriptions, pace: Pace, now: Instant) {
        self.cursor.since = None;
        while let Some(ids) = self.schedule.take(now) {
            for id in ids {
                // Since it was due, a set may have been removed, and another may have its index.
                let Some(set) = subscriptions.sets.try_get_mut(id) else {
                    continue;
                };
                let Some(changes) = set.changes else {
                    continue;
                };
                // More may have changed since it was noted.
                let due_at = pace.due_at(changes, set.sent_at);
                if due_at > now {
                    self.schedule.add(due_at, id);
                    continue;
                }
                set.changes = None;
                set.sent_at = Some(now);
                let since = &mut self.cursor.since;
                *since = Some(since.map_or(changes.first, |at| at.min(changes.first)));
                self.cursor.sets.push(id);
            }
        }
        if self.due_at <= now {
            self.cursor.loose = std::mem::take(&mut self.due);
            self.due_at = now + pace.interval;
        }
    }

    /// Sends sessions the updates that they lack, to at most `portion` sessions; true when all are
    /// served. Call nothing else between the portions of one flush.
    pub(super) fn flush_some<O: Outlet>(
        &mut self,
        members: &mut Members<O>,
        subscriptions: &mut Subscriptions,
        config: &ShardConfig,
        counts: &mut Counts,
        now: Instant,
        mut portion: usize,
    ) -> bool {
        if self.cursor.sets.is_empty() && self.cursor.loose.is_empty() {
            self.begin_flush(subscriptions, config.pace, now);
        }
        while portion > 0 {
            if let Some(&id) = self.cursor.sets.last() {
                let next = subscriptions
                    .sets
                    .try_get(id)
                    .and_then(|set| set.members.get(self.cursor.member).copied());
                if let Some(index) = next {
                    self.deliver(index, members, subscriptions, config, counts, now);
                    self.cursor.member += 1;
                    portion -= 1;
                } else {
                    if let Some(set) = subscriptions.sets.try_get_mut(id) {
                        set.recent.begin_anew(set.newest);
                    }
                    self.cursor.sets.pop();
                    self.cursor.member = 0;
                    self.cursor.prepared.clear();
                }
            } else if let Some(id) = self.cursor.loose.pop() {
                if members.get(id).is_some() {
                    self.cursor.prepared.clear();
                    self.deliver(id.index, members, subscriptions, config, counts, now);
                    portion -= 1;
                }
            } else {
                self.cursor.prepared.clear();
                return true;
            }
        }
        false
    }

    fn deliver<O: Outlet>(
        &mut self,
        index: u32,
        members: &mut Members<O>,
        subscriptions: &Subscriptions,
        config: &ShardConfig,
        counts: &mut Counts,
        now: Instant,
    ) {
        let id = members.id_of(index);
        let session = members.live_mut(index);
        let set = subscriptions.sets.get(session.set);
        if session.seen >= set.newest {
            return;
        }
        if session.min_frame_interval.is_some() && now < session.next_at {
            if !session.is_delayed {
                session.is_delayed = true;
                self.delayed.push(Reverse((session.next_at, id)));
            }
            return;
        }
        let is_alone = self.cursor.sets.is_empty();
        if is_alone && self.budget.is_spent() {
            counts.overloaded += 1;
            session.is_delayed = true;
            self.delayed.push(Reverse((now + OVERLOAD_REST, id)));
            return;
        }
        let budget = &self.budget;
        let mut make = |seen: u64, begun: Begun| {
            let recent = set.entries_above(seen);
            let entries = recent.as_deref().unwrap_or(&set.entries);
            let mut frames = lacking(subscriptions, entries, seen, begun, config);
            if is_alone {
                frames.data = frames.data.counted(budget);
            }
            counts.looked_at += entries.len() as u64;
            frames
        };
        let seen = session.seen;
        let usual = Begun::default();
        let mut at = self.cursor.frames_at(seen, usual, &mut make);
        let late = &self.cursor.prepared[at].late;
        if !late.is_empty() {
            let called = |slot: SlotId| subscriptions.views[slot.index()].called();
            let of = |slot| session.begun.of(&set.spec, called(slot));
            let begun = self.cursor.group_at(at, session.begun.among(late, of));
            at = self.cursor.frames_at(seen, begun, &mut make);
        }
        let data = &self.cursor.prepared[at].data;
        if data.updates() == 0 {
            session.seen = set.newest;
            return;
        }
        // A session that is served alone shares only the compressed form of each object.
        let is_shared = !is_alone && set.members.len() >= SHARED_MEMBERS_MIN;
        let encoded = data.encoded(
            session.outlet.encoding(),
            is_shared,
            &mut self.deflater,
            &mut counts.encoded,
        );
        match session.outlet.send(&encoded.frames) {
            Sent::Written | Sent::Pending => {
                session.seen = set.newest;
                if let Some(interval) = session.min_frame_interval {
                    session.next_at = now + interval;
                }
                counts.sent(data, encoded);
                if data.skipped > 0 || data.skipped_entries > 0 {
                    debug!(
                        session_id = session.outlet.number(),
                        skipped = data.skipped,
                        skipped_entries = data.skipped_entries,
                        "session is told what it missed"
                    );
                }
            }
            Sent::Refused => counts.refused += 1,
            Sent::Closed => {}
        }
    }
}

/// The updates that sessions lack of these entries that have seen the same, and began there.
fn lacking(
    subscriptions: &Subscriptions,
    entries: &[Entry],
    seen: u64,
    begun: Begun,
    config: &ShardConfig,
) -> Frames {
    let (mut after_late, mut late) = (Vec::new(), Vec::new());
    let mut batch = Batch::new(config.frame_bytes_max);
    let mut room = Room {
        log: config.log_bytes_max,
        earlier: config.resume_bytes_max,
    };
    let (mut skipped, mut marks) = (0, Vec::new());
    for entry in entries {
        let view = &subscriptions.views[entry.slot.index()];
        if view.newest_for(entry.filter) <= seen {
            continue;
        }
        let state = view.slot.state();
        let progress = Progress {
            seen,
            begun: begun.of(entry.slot),
        };
        let delta = state::delta_within(
            &state,
            view.newest.as_ref(),
            progress,
            subscriptions.version,
            entry.filter,
            &mut room,
        );
        if begun.all == 0 {
            let before = after_late.len();
            state.after_late(seen, subscriptions.version, &mut after_late);
            if after_late.len() > before {
                late.push(entry.slot);
            }
        }
        drop(state);
        if view.is_mark {
            marks.extend(delta.updates);
        } else {
            skipped += push_delta(&mut batch, view, delta);
        }
    }
    for mark in marks {
        batch.push(mark, 0);
    }
    Frames {
        seen,
        begun,
        data: batch.finish(skipped),
        late,
        groups: Groups::new(after_late),
    }
}
