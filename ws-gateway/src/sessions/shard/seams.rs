//! The end of a read: the bars that the gateway holds beside the past, `live`, and what is newer.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use market_core::TopicPattern;
use market_core::protocol::{Live, Unrecovered};
use serde::Deserialize;

use super::Shard;
use super::effect::{Effect, Seam};
use super::read::Read;
use super::snapshots::{self, Joined, StartBounds};
use super::spec::merge;
use super::subscriptions::Overflow;
use super::topic_updates::push_delta;
use crate::sessions::outlet::Outlet;
use crate::sessions::past::ReadId;
use crate::sessions::session_id::SessionId;
use crate::topics::state::{self as topics_state, Delta, Reach};
use client_frames::encode::batch::{Batch, Prepared};
use client_frames::encode::payload::Payload;

/// How long a topic whose past is complete waits for others of its session.
const JOIN_WAIT: Duration = Duration::from_millis(20);

/// Most looks at a topic whose bars are revised just now.
const PULLS_MAX: usize = 16;

/// A read that has ended.
pub(super) struct Finished {
    read: Read,
    unrecovered: Option<Unrecovered>,
    seam: topics_state::Seam,
}

impl<O: Outlet> Shard<O> {
    /// What the gateway holds now beside the past of a read.
    pub(super) fn seam_now(&mut self, read_id: ReadId) -> topics_state::Seam {
        for _ in 0..PULLS_MAX {
            self.pull();
            let seam = self.seam_at(read_id);
            if !seam.is_torn {
                return seam;
            }
        }
        // Its bars are revised faster than they can be read.
        topics_state::Seam {
            is_torn: true,
            ..topics_state::Seam::default()
        }
    }

    /// What the gateway holds at the shard's version beside the past of a read.
    pub(super) fn seam_at(&mut self, read_id: ReadId) -> topics_state::Seam {
        let read = self.reads.get_mut(read_id);
        let Some((read, view)) = read.and_then(|read| {
            let view = self.subscriptions.view_of_pattern(&read.pattern)?;
            Some((read, view))
        }) else {
            // No bar has come here.
            return topics_state::Seam::default();
        };
        let seam = view.slot.state().seam(
            view.newest.as_ref(),
            self.subscriptions.version,
            read.filter,
            read.after_ms,
        );
        match seam.is_torn {
            true => topics_state::Seam {
                is_torn: true,
                ..topics_state::Seam::default()
            },
            false => seam,
        }
    }

    /// History has nothing more: joins what is held, or asks again if there is a hole.
    pub(super) fn join_ring(&mut self, read_id: ReadId, now: Instant) {
        let wait = self.config.history_wait;
        let seam = self.seam_now(read_id);
        let Some(read) = self.reads.get_mut(read_id) else {
            return;
        };
        if is_whole(&seam, read.is_whole_by_the_clock()) {
            match read.look_for_revisions(now) {
                true => self.ask_history(read_id, now),
                false => self.complete(read_id, seam, now),
            }
            return;
        }
        read.look_for_bars();
        match read.rest(wait, now) {
            Some(rest) => self.reads.rest(read_id, now + rest),
            None => self.end_read(read_id, Some(Unrecovered::Gap), seam, now),
        }
    }

    /// A read is complete. Those of one session go live together, within a short time: each change
    /// of its set costs as much as the set is long.
    fn complete(&mut self, read_id: ReadId, seam: topics_state::Seam, now: Instant) {
        let Some(session) = self.reads.get_mut(read_id).map(|read| read.session) else {
            return;
        };
        if self.reads.is_alone(read_id) {
            self.end_read(read_id, None, seam, now);
            return;
        }
        self.reads.join(read_id, now + JOIN_WAIT);
        match self.reads.has_incomplete(session) {
            true => self.begin_reads(session, now),
            false => self.join_complete(session, now),
        }
    }

    /// A session goes live with the topics whose past is complete.
    pub(super) fn join_complete(&mut self, session: SessionId, now: Instant) {
        let complete = self.reads.take_complete(session);
        if complete.is_empty() {
            return;
        }
        self.pull();
        let (mut finished, mut again) = (Vec::new(), Vec::new());
        for read_id in complete {
            let seam = self.seam_at(read_id);
            let read = self.reads.get_mut(read_id);
            let by_clock = read.is_some_and(|read| read.is_whole_by_the_clock());
            if is_whole(&seam, by_clock) {
                finished.extend(self.finished(read_id, None, seam));
            } else {
                again.push(read_id);
            }
        }
        self.join_finished(session, finished, now);
        for read_id in again {
            self.join_ring(read_id, now);
        }
        self.begin_reads(session, now);
    }

    /// Ends a read.
    pub(super) fn finished(
        &mut self,
        read_id: ReadId,
        unrecovered: Option<Unrecovered>,
        seam: topics_state::Seam,
    ) -> Option<Finished> {
        let read = self.reads.remove(read_id)?;
        let is_cut = read.lacks_revisions();
        let unrecovered = unrecovered.or(is_cut.then_some(Unrecovered::TooMany));
        Some(Finished {
            read,
            unrecovered,
            seam,
        })
    }

    /// A session gets, of each of these topics, the bars that are held beside the past, `live`, and
    /// from now on what is newer. The seams are those of the shard's version.
    pub(super) fn join_finished(&mut self, id: SessionId, finished: Vec<Finished>, now: Instant) {
        let Some(session) = self.members.get(id) else {
            return;
        };
        if finished.is_empty() {
            return;
        }
        let (old_set, seen) = (session.set, session.seen);
        let old_spec = Arc::clone(&self.subscriptions.sets.get(old_set).spec);
        let (mut spec, mut added) = (Arc::clone(&old_spec), Vec::new());
        for alike in finished.chunk_by(|one, other| one.read.filter == other.read.filter) {
            let patterns: Vec<TopicPattern> =
                alike.iter().map(|one| one.read.pattern.clone()).collect();
            spec = merge(&spec, &patterns, alike[0].read.filter);
            added.extend(patterns);
        }
        let interned = self.subscriptions.intern(
            &spec,
            Overflow::Cut,
            old_set,
            self.config.topics_max,
            &mut self.counts,
        );
        let set = interned.expect("what is too much is cut");
        let mut seams: Vec<Seam> = finished
            .into_iter()
            .map(|finished| self.seam_of(finished))
            .collect();
        let bounds = StartBounds {
            frame_bytes_max: self.config.frame_bytes_max,
            resume_bytes_max: self.config.resume_bytes_max,
            log_bytes_max: self.config.log_bytes_max,
            budget: &self.hub.budget,
        };
        let joined = Joined {
            from: old_set,
            to: set,
            seen,
            begun: &self.members.live(id.index).begun,
            requested: &HashSet::new(),
            since: None,
        };
        let (others, _) = snapshots::joined(&self.subscriptions, joined, bounds);
        if let Some(last) = seams.last_mut() {
            last.others = others;
        }
        self.subscriptions.move_to(&mut self.members, id.index, set);
        let newest = self.subscriptions.sets.get(set).newest;
        let session = self.members.live_mut(id.index);
        session.seen = newest;
        // With the past, its client has the bars from before.
        session.begun.add(&old_spec, &added, 0);
        if let Some(interval) = session.min_frame_interval {
            session.next_at = now + interval;
        }
        let lives = seams.into_iter().map(|seam| Effect::Live {
            to: id,
            seam: Box::new(seam),
        });
        self.effects.extend(lives);
    }

    /// Ends a read, and begins the next one of its session.
    pub(super) fn end_read(
        &mut self,
        read_id: ReadId,
        unrecovered: Option<Unrecovered>,
        seam: topics_state::Seam,
        now: Instant,
    ) {
        if let Some(finished) = self.finished(read_id, unrecovered, seam) {
            let session = finished.read.session;
            self.join_finished(session, vec![finished], now);
            self.begin_reads(session, now);
        }
    }

    /// What a session gets at the end of a topic's past.
    fn seam_of(&mut self, finished: Finished) -> Seam {
        let Finished {
            mut read,
            unrecovered,
            seam,
        } = finished;
        match unrecovered {
            None => self.counts.recovered += 1,
            Some(Unrecovered::History) => self.counts.unrecovered_history += 1,
            Some(Unrecovered::Gap) => self.counts.unrecovered_gap += 1,
            Some(Unrecovered::TooMany) => self.counts.unrecovered_too_many += 1,
        }
        let (past, start) = self.bars_of(&mut read, unrecovered, seam);
        Seam {
            past,
            live: Live {
                token: read.token(),
                missing: read.missing(),
                topic: read.topic,
                unrecovered,
            },
            start,
            others: Batch::new(self.config.frame_bytes_max).finish(0),
        }
    }

    /// The held bars that a read lacks, and the forming bar.
    fn bars_of(
        &self,
        read: &mut Read,
        unrecovered: Option<Unrecovered>,
        seam: topics_state::Seam,
    ) -> (Prepared, Prepared) {
        let mut past = Batch::new(self.config.frame_bytes_max);
        let mut start = Batch::new(self.config.frame_bytes_max);
        let is_held = |start_ms: i64, rev: u32| {
            let at = seam
                .held
                .binary_search_by_key(&start_ms, |held| held.start_ms);
            at.is_ok_and(|at| seam.held[at].rev >= rev)
        };
        for bar in read.take_revisions(is_held) {
            past.push(Payload::from(bar.json), 0);
        }
        let mut skipped = 0;
        if let Some(view) = self.subscriptions.view_of_pattern(&read.pattern) {
            let mut delta = Delta {
                skipped: if unrecovered.is_some() {
                    seam.skipped
                } else {
                    0
                },
                ..Delta::default()
            };
            skipped = delta.skipped;
            for bar in seam.held {
                let known_ms = || known_ms(&bar.payload);
                if read.lacks(bar.version, (bar.start_ms, bar.end_ms, bar.rev), known_ms) {
                    read.known_ms = read.known_ms.max(known_ms());
                    if unrecovered.is_none() {
                        read.follow(bar.start_ms);
                    }
                    read.after_ms = read.after_ms.max(Some(bar.end_ms));
                    delta.updates.push(bar.payload.clone());
                }
            }
            let _ = push_delta(&mut past, view, delta);
            if let Some(newest) = &view.newest
                && newest.passes(read.filter)
            {
                start.push(newest.payload.clone(), 0);
            }
        }
        let budget = &self.hub.budget;
        (
            past.finish(skipped).counted(budget),
            start.finish(0).counted(budget),
        )
    }
}

/// Whether nothing is missing between a client's past and what is held. `by_clock` says so where no
/// bar has come here: by the clock, none has closed since, or there is none at all.
fn is_whole(seam: &topics_state::Seam, by_clock: bool) -> bool {
    !seam.is_torn
        && match seam.reach {
            Reach::Whole => true,
            Reach::Short => false,
            Reach::Unknown => by_clock,
        }
}

/// When the publication became known, unix ms; 0 if it does not say.
fn known_ms(payload: &Payload) -> i64 {
    #[derive(Deserialize)]
    struct Published {
        published_us: i64,
    }

    serde_json::from_slice(payload.json()).map_or(0, |published: Published| {
        published.published_us.div_euclid(1_000)
    })
}
