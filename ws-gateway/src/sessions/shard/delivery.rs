//! Sends updates: encoded once for all sessions with the same set and version, in portions, so that
//! other tasks get their turn.

use std::cmp::Reverse;
use std::time::{Duration, Instant};

use bytes::Bytes;
use market_core::Topic;
use market_core::protocol::encode_skipped;

use super::{SHARED_MEMBERS_MIN, Shard, View};
use crate::encode::batch::{Batch, Prepared};
use crate::encode::payload::Payload;
use crate::sessions::outlet::{Outlet, Sent};
use crate::sessions::session_id::SessionId;
use crate::sessions::set_id::SetId;
use crate::sessions::topic_set::Entry;
use crate::topics::state;

/// The progress of a flush: it is done in portions, so that other tasks get their turn.
#[derive(Debug, Default)]
pub(super) struct Cursor {
    pub(super) sets: Vec<SetId>,
    pub(super) member: usize,
    /// Frames of the current set, by the version that a session had seen.
    pub(super) prepared: Vec<(u64, Prepared)>,
    pub(super) loose: Vec<SessionId>,
    /// When the oldest change of this flush came.
    pub(super) since: Option<Instant>,
}

/// How long a session that is behind waits while slow clients use too many bytes.
const OVERLOAD_REST: Duration = Duration::from_millis(100);

impl<O: Outlet> Shard<O> {
    /// When the next flush is due; `None` while there are no changes.
    #[must_use]
    pub(crate) fn flush_at(&self) -> Option<Instant> {
        let sets = self.agenda.next_at();
        let members = (!self.due_members.is_empty()).then_some(self.members_at);
        sets.into_iter().chain(members).min()
    }

    /// When the oldest change of the flush in progress came to the hub.
    #[must_use]
    pub(crate) fn flushing_since(&self) -> Option<Instant> {
        self.cursor.since
    }

    /// Begins a flush of the due sets.
    fn begin_flush(&mut self, now: Instant) {
        self.cursor.since = None;
        while let Some(ids) = self.agenda.take(now) {
            for id in ids {
                // Since it was due, a set may have been removed, and another may have its index.
                let Some(set) = self.sets.try_get_mut(id) else {
                    continue;
                };
                let Some(changes) = set.changes else {
                    continue;
                };
                // More may have changed since it was noted.
                let due_at = self.config.pace.due_at(changes, set.sent_at);
                if due_at > now {
                    self.agenda.add(due_at, id);
                    continue;
                }
                set.changes = None;
                set.sent_at = Some(now);
                let since = &mut self.cursor.since;
                *since = Some(since.map_or(changes.first, |at| at.min(changes.first)));
                self.cursor.sets.push(id);
            }
        }
        if self.members_at <= now {
            self.cursor.loose = std::mem::take(&mut self.due_members);
            self.members_at = now + self.config.pace.interval;
        }
    }

    /// Sends sessions the updates that they lack, to at most `budget` sessions; true when all are
    /// served. Call nothing else between the portions of one flush.
    pub(crate) fn flush_some(&mut self, now: Instant, mut budget: usize) -> bool {
        if self.cursor.sets.is_empty() && self.cursor.loose.is_empty() {
            self.begin_flush(now);
        }
        while budget > 0 {
            if let Some(&id) = self.cursor.sets.last() {
                let next = self
                    .sets
                    .try_get_mut(id)
                    .and_then(|set| set.members.get(self.cursor.member).copied());
                if let Some(index) = next {
                    self.deliver(index, now);
                    self.cursor.member += 1;
                    budget -= 1;
                } else {
                    if let Some(set) = self.sets.try_get_mut(id) {
                        set.recent.begin_anew(set.newest);
                    }
                    self.cursor.sets.pop();
                    self.cursor.member = 0;
                    self.cursor.prepared.clear();
                }
            } else if let Some(id) = self.cursor.loose.pop() {
                if self.member(id).is_some() {
                    self.cursor.prepared.clear();
                    self.deliver(id.index, now);
                    budget -= 1;
                }
            } else {
                self.cursor.prepared.clear();
                return true;
            }
        }
        false
    }

    fn deliver(&mut self, index: u32, now: Instant) {
        let member = self.members[index as usize]
            .as_mut()
            .expect("members of a set are live");
        let set = self.sets.get(member.set);
        if member.seen >= set.newest {
            return;
        }
        if member.gap.is_some() && now < member.next_at {
            if !member.is_delayed {
                member.is_delayed = true;
                let id = SessionId {
                    index,
                    generation: member.generation,
                };
                self.delayed.push(Reverse((member.next_at, id)));
            }
            return;
        }
        let seen = member.seen;
        let is_alone = self.cursor.sets.is_empty();
        if is_alone && self.hub.budget.is_spent() {
            self.counts.overloaded += 1;
            member.is_delayed = true;
            let id = SessionId {
                index,
                generation: member.generation,
            };
            self.delayed.push(Reverse((now + OVERLOAD_REST, id)));
            return;
        }
        let at = self
            .cursor
            .prepared
            .iter()
            .position(|(version, _)| *version == seen);
        let at = at.unwrap_or_else(|| {
            let recent = set.entries_above(seen);
            let entries = recent.as_deref().unwrap_or(&set.entries);
            let mut prepared = lacking(
                &self.views,
                entries,
                seen,
                self.version,
                self.config.frame_bytes_max,
            );
            if is_alone {
                prepared = prepared.counted(&self.hub.budget);
            }
            self.counts.looked_at += entries.len() as u64;
            self.cursor.prepared.push((seen, prepared));
            self.cursor.prepared.len() - 1
        });
        let data = &self.cursor.prepared[at].1;
        if data.updates() == 0 {
            member.seen = set.newest;
            return;
        }
        // A session that is served alone shares only the compressed objects.
        let is_shared = !is_alone && set.members.len() >= SHARED_MEMBERS_MIN;
        let encoded = data.encoded(
            member.outlet.encoding(),
            is_shared,
            &mut self.deflater,
            &mut self.counts.encoded,
        );
        match member.outlet.send(&encoded.frames) {
            Sent::Written | Sent::Pending => {
                member.seen = set.newest;
                if let Some(gap) = member.gap {
                    member.next_at = now + gap;
                }
                self.counts.sent(data, encoded);
            }
            Sent::Refused => self.counts.refused += 1,
            Sent::Closed => {}
        }
    }
}

pub(super) fn push_delta(batch: &mut Batch, topic: &Topic, delta: state::Delta) {
    let mut skipped = delta.skipped;
    if delta.updates.is_empty() && skipped > 0 {
        // All bars that remain of the topic are declined, so no message can carry the number.
        let said = Bytes::from(encode_skipped(topic, skipped));
        batch.push(Payload::from(said), 0);
    }
    for update in delta.updates {
        batch.push(update, skipped);
        skipped = 0;
    }
}

/// The updates that a session with these entries lacks after it has seen all versions up to `seen`.
fn lacking(
    views: &[View],
    entries: &[Entry],
    seen: u64,
    upto: u64,
    frame_bytes_max: usize,
) -> Prepared {
    let mut batch = Batch::new(frame_bytes_max);
    let (mut skipped, mut marks) = (0, Vec::new());
    for entry in entries {
        let view = &views[entry.slot.index()];
        if view.newest_for(entry.filter) <= seen {
            continue;
        }
        let delta = state::delta(
            &view.slot.state(),
            view.forming.as_ref(),
            seen,
            upto,
            entry.filter,
        );
        if view.is_mark {
            marks.extend(delta.updates);
        } else {
            skipped += delta.skipped;
            push_delta(&mut batch, &view.slot.topic, delta);
        }
    }
    for mark in marks {
        batch.push(mark, 0);
    }
    batch.finish(skipped)
}
