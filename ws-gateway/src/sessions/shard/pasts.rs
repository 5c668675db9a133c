//! From the past into the present: pages of history for a session, then the bars that the gateway
//! holds beside them, then `live`.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use market_core::TopicPattern;
use market_core::protocol::{Ack, ErrorCode, Filter, Live, Past, Reply, Unrecovered};
use serde::Deserialize;

use super::Shard;
use super::answer::{Echo, merge, without_duplicates};
use super::delivery::push_delta;
use super::effect::{Effect, Seam};
use super::reads::{Next, Read, Step};
use super::snapshots::{self, Joined, StartBounds};
use super::subscriptions::Overflow;
use crate::encode::batch::{Batch, Prepared};
use crate::encode::payload::Payload;
use crate::sessions::outlet::{Outlet, Sent};
use crate::sessions::past::{PastAnswer, PastBar, ReadId};
use crate::sessions::session_id::SessionId;
use crate::sessions::topic_set::Spec;
use crate::topics::publication::width_of;
use crate::topics::state::{self as topics_state, Delta, Reach};

/// Most looks at a topic whose bars are revised just now.
const PULLS_MAX: usize = 16;
/// How long a read waits while slow clients use too many bytes.
const OVERLOAD_REST: Duration = Duration::from_millis(100);

/// A read that has ended.
struct Finished {
    read: Read,
    unrecovered: Option<Unrecovered>,
    seam: topics_state::Seam,
}

impl<O: Outlet> Shard<O> {
    /// A session subscribes topics with their past.
    pub(super) fn subscribe_past(
        &mut self,
        id: SessionId,
        echo: Echo,
        patterns: Vec<TopicPattern>,
        filter: Filter,
        past: Past,
        now: Instant,
    ) {
        let patterns = without_duplicates(patterns);
        let bars_max = self.config.history_bars_max;
        if let Past::Last(wanted) = past
            && wanted > bars_max
        {
            let message = format!(
                "from.last is {wanted} bars, {bars_max} are allowed: ask for fewer, or read pages over REST"
            );
            self.refuse(id, echo, ErrorCode::BadOption, &message);
            return;
        }
        let set = self.members.live(id.index).set;
        let old_spec = Arc::clone(&self.subscriptions.sets.get(set).spec);
        if let Some((wildcard, pattern)) = covered(&old_spec, &patterns) {
            let message = format!(
                "the session has {wildcard}, which brings {pattern} without its past: unsubscribe {wildcard} first"
            );
            self.refuse(id, echo, ErrorCode::BadOption, &message);
            return;
        }
        // The past comes first: the live bars of a topic that the session already has wait, too.
        let kept: Spec = old_spec
            .iter()
            .filter(|(pattern, _)| !patterns.contains(pattern))
            .cloned()
            .collect();
        if kept.len() < old_spec.len() {
            self.narrow(id, &kept);
        }
        self.cancel_reads(id, |pattern| patterns.contains(pattern), now);
        let requested = self.subscriptions.expand_all(&patterns);
        for pattern in &patterns {
            let Some(topic) = pattern.as_topic() else {
                continue;
            };
            let (topic, exchange) = self.subscriptions.asked_of_history(topic);
            let Some(width) = width_of(&topic) else {
                continue;
            };
            self.reads.add(Read::new(
                id,
                pattern.clone(),
                topic,
                exchange,
                width,
                filter,
                past,
                self.subscriptions.version,
                bars_max,
                now,
            ));
        }
        self.effects.push(Effect::Reply(
            id,
            Reply::Ack(Ack {
                id: echo,
                topics: patterns,
                pending: requested.without_data,
                ..Ack::default()
            }),
        ));
        self.begin_reads(id, now);
    }

    /// Begins the reads of a session whose turn it is. Those that the held bars complete end
    /// together: each change of the session's set costs as much as the set is long.
    fn begin_reads(&mut self, id: SessionId, now: Instant) {
        let (queued, under_way) = self.reads.queued(id);
        if queued.is_empty() {
            return;
        }
        // All of them are completed at one version.
        self.pull();
        let room = self.config.history_reads_per_session.max(1);
        let mut room = room.saturating_sub(under_way);
        let mut finished = Vec::new();
        for next in queued {
            if room == 0 {
                break;
            }
            let position = self.subscriptions.version;
            let Some(read) = self.reads.get_mut(next) else {
                continue;
            };
            read.begin(position, now);
            if read.may_join_at_once() {
                let seam = self.seam_at(next);
                if !seam.is_torn && seam.reach == Reach::Whole {
                    finished.extend(self.finished(next, None, seam));
                    continue;
                }
            }
            self.ask_history(next, now);
            room -= 1;
        }
        self.join_finished(id, finished, now);
    }

    /// History has not answered for too long: the topics of a session that have waited for their
    /// turn for as long go live, too.
    fn end_queued(&mut self, id: SessionId, now: Instant) {
        let wait = self.config.history_wait;
        let queued = self.reads.queued_for(id, wait, now);
        if queued.is_empty() {
            return;
        }
        self.pull();
        let position = self.subscriptions.version;
        let mut finished = Vec::new();
        for next in queued {
            let Some(read) = self.reads.get_mut(next) else {
                continue;
            };
            read.begin(position, now);
            let is_known = read.may_join_at_once();
            let seam = self.seam_at(next);
            let is_whole = is_known && !seam.is_torn && seam.reach == Reach::Whole;
            let unrecovered = (!is_whole).then_some(Unrecovered::History);
            finished.extend(self.finished(next, unrecovered, seam));
        }
        self.join_finished(id, finished, now);
    }

    /// Ends the reads of a session that `is_meant` holds for, and returns their patterns.
    pub(super) fn cancel_reads(
        &mut self,
        id: SessionId,
        is_meant: impl Fn(&TopicPattern) -> bool,
        now: Instant,
    ) -> Vec<TopicPattern> {
        let ids: Vec<ReadId> = self
            .reads
            .of(id)
            .filter(|(_, read)| is_meant(&read.pattern))
            .map(|(read_id, _)| read_id)
            .collect();
        let removed = ids.into_iter().filter_map(|id| self.reads.remove(id));
        let patterns: Vec<TopicPattern> = removed.map(|read| read.pattern).collect();
        if !patterns.is_empty() {
            self.begin_reads(id, now);
        }
        patterns
    }

    /// A pattern with wildcards that brings a topic whose past is being read, and the topic.
    pub(super) fn read_covered_by(
        &self,
        id: SessionId,
        patterns: &[TopicPattern],
    ) -> Option<(TopicPattern, TopicPattern)> {
        let wanted: Spec = patterns
            .iter()
            .map(|pattern| (pattern.clone(), Filter::default()))
            .collect();
        let reading: Vec<TopicPattern> = self
            .reads
            .of(id)
            .map(|(_, read)| read.pattern.clone())
            .collect();
        covered(&wanted, &reading).map(|(wildcard, topic)| (wildcard.clone(), topic.clone()))
    }

    /// The subscriptions of a session, with those whose past is being read.
    pub(super) fn whole_spec(&self, id: SessionId) -> Spec {
        let set = self.members.live(id.index).set;
        let mut spec = Arc::clone(&self.subscriptions.sets.get(set).spec);
        for (_, read) in self.reads.of(id) {
            spec = merge(&spec, std::slice::from_ref(&read.pattern), read.filter);
        }
        spec
    }

    fn ask_history(&mut self, read_id: ReadId, now: Instant) {
        let is_spent = self.hub.budget.is_spent();
        let Some(read) = self.reads.get_mut(read_id) else {
            return;
        };
        if is_spent {
            // Slow clients hold all the memory for pages.
            self.counts.overloaded += 1;
            read.step = Step::Resting;
            self.reads.rest(read_id, now + OVERLOAD_REST);
            return;
        }
        let query = Box::new(read.query());
        self.effects.push(Effect::ReadHistory(read_id, query));
    }

    /// History has answered a question.
    pub(crate) fn history(&mut self, read_id: ReadId, answer: PastAnswer, now: Instant) {
        let wait = self.config.history_wait;
        let Some(read) = self.reads.get_mut(read_id) else {
            // Its session has ended, or given it up.
            return;
        };
        let Ok(page) = answer else {
            match read.rest(wait, now) {
                Some(rest) => self.reads.rest(read_id, now + rest),
                None => {
                    let session = read.session;
                    let seam = self.seam_now(read_id);
                    let unrecovered = Some(Unrecovered::History);
                    let finished = self.finished(read_id, unrecovered, seam);
                    self.join_finished(session, finished.into_iter().collect(), now);
                    self.end_queued(session, now);
                    self.begin_reads(session, now);
                }
            }
            return;
        };
        read.answered(page.asked_ms);
        let bars = read.take(page.bars, page.next, now);
        self.send_page(read_id, bars, now);
    }

    fn send_page(&mut self, read_id: ReadId, bars: Vec<PastBar>, now: Instant) {
        let Some(read) = self.reads.get_mut(read_id) else {
            return;
        };
        let mut batch = Batch::new(self.config.frame_bytes_max);
        for bar in bars {
            if !(read.filter.no_fill && bar.filled) {
                batch.push(Payload::from(bar.json), 0);
            }
        }
        let page = batch.finish(0).counted(&self.hub.budget);
        if page.updates() == 0 {
            self.go_on(read_id, now);
        } else {
            self.give_page(read_id, Box::new(page), now);
        }
    }

    /// Passes a page to the socket, which takes it now or once it is writable.
    fn give_page(&mut self, read_id: ReadId, page: Box<Prepared>, now: Instant) {
        let Some(read) = self.reads.get_mut(read_id) else {
            return;
        };
        let Some(session) = self.members.get(read.session) else {
            return;
        };
        let encoding = session.outlet.encoding();
        let encoded = self
            .delivery
            .encoded(&page, encoding, false, &mut self.counts);
        match session.outlet.send(&encoded.frames) {
            Sent::Written => {
                self.counts.sent(&page, encoded);
                self.counts.past_bars += page.updates();
                self.go_on(read_id, now);
            }
            Sent::Pending => {
                self.counts.sent(&page, encoded);
                self.counts.past_bars += page.updates();
                read.step = Step::Writing;
            }
            Sent::Refused => read.step = Step::Held(page),
            Sent::Closed => {}
        }
    }

    /// A page has been taken.
    fn go_on(&mut self, read_id: ReadId, now: Instant) {
        let Some(read) = self.reads.get_mut(read_id) else {
            return;
        };
        match read.next {
            Next::Ask if read.is_beyond_bound() => {
                let seam = self.seam_now(read_id);
                self.end_read(read_id, Some(Unrecovered::TooMany), seam, now);
            }
            Next::Ask => self.ask_history(read_id, now),
            Next::Join | Next::Finish => self.join_ring(read_id, now),
        }
    }

    /// A session's socket has written all its bytes.
    pub(super) fn write_pages(&mut self, id: SessionId, now: Instant) {
        let ids: Vec<ReadId> = self.reads.of(id).map(|(read_id, _)| read_id).collect();
        for read_id in ids {
            let Some(read) = self.reads.get_mut(read_id) else {
                continue;
            };
            match std::mem::replace(&mut read.step, Step::Writing) {
                Step::Held(page) => self.give_page(read_id, page, now),
                Step::Writing => self.go_on(read_id, now),
                other => read.step = other,
            }
        }
    }

    /// Reads that have rested go on.
    pub(super) fn tick_reads(&mut self, now: Instant) {
        for read_id in self.reads.rested(now) {
            self.ask_history(read_id, now);
        }
    }

    /// What the gateway holds now beside the past of a read.
    fn seam_now(&mut self, read_id: ReadId) -> topics_state::Seam {
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
    fn seam_at(&mut self, read_id: ReadId) -> topics_state::Seam {
        let read = self.reads.get_mut(read_id);
        let Some((read, view)) = read.and_then(|read| {
            let view = self.subscriptions.view_of_pattern(&read.pattern)?;
            Some((read, view))
        }) else {
            // No bar has come here.
            return topics_state::Seam::default();
        };
        let seam = topics_state::seam(
            &view.slot.state(),
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
    fn join_ring(&mut self, read_id: ReadId, now: Instant) {
        let wait = self.config.history_wait;
        let seam = self.seam_now(read_id);
        let Some(read) = self.reads.get_mut(read_id) else {
            return;
        };
        let is_whole = match seam.reach {
            Reach::Whole => true,
            Reach::Short => false,
            // No bar has come here. By the clock, none has closed since, or there is none at all.
            Reach::Unknown => !seam.is_torn && read.is_whole_by_the_clock(),
        };
        if is_whole {
            match read.look_for_revisions(now) {
                true => self.ask_history(read_id, now),
                false => self.end_read(read_id, None, seam, now),
            }
            return;
        }
        read.look_for_bars();
        match read.rest(wait, now) {
            Some(rest) => self.reads.rest(read_id, now + rest),
            None => self.end_read(read_id, Some(Unrecovered::Gap), seam, now),
        }
    }

    /// Ends a read.
    fn finished(
        &mut self,
        read_id: ReadId,
        unrecovered: Option<Unrecovered>,
        seam: topics_state::Seam,
    ) -> Option<Finished> {
        let read = self.reads.remove(read_id)?;
        Some(Finished {
            read,
            unrecovered,
            seam,
        })
    }

    /// A session gets, of each of these topics, the bars that are held beside the past, `live`, and
    /// from now on what is newer. The seams are those of the shard's version.
    fn join_finished(&mut self, id: SessionId, finished: Vec<Finished>, now: Instant) {
        let Some(session) = self.members.get(id) else {
            return;
        };
        if finished.is_empty() {
            return;
        }
        let (old_set, seen) = (session.set, session.seen);
        let mut spec = Arc::clone(&self.subscriptions.sets.get(old_set).spec);
        for alike in finished.chunk_by(|one, other| one.read.filter == other.read.filter) {
            let patterns: Vec<TopicPattern> =
                alike.iter().map(|one| one.read.pattern.clone()).collect();
            spec = merge(&spec, &patterns, alike[0].read.filter);
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
            budget: &self.hub.budget,
        };
        let joined = Joined {
            from: old_set,
            to: set,
            seen,
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
    fn end_read(
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
            let mut newest_ms = read.after_ms;
            for bar in seam.held {
                let known_ms = || known_ms(&bar.payload);
                if read.lacks(bar.version, (bar.start_ms, bar.end_ms, bar.rev), known_ms) {
                    read.known_ms = read.known_ms.max(known_ms());
                    newest_ms = newest_ms.max(Some(bar.end_ms));
                    delta.updates.push(bar.payload.clone());
                }
            }
            read.after_ms = newest_ms;
            push_delta(&mut past, &view.slot.topic, delta);
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

/// A pattern with wildcards that brings one of these topics, and the topic.
fn covered<'a>(
    spec: &'a Spec,
    patterns: &'a [TopicPattern],
) -> Option<(&'a TopicPattern, &'a TopicPattern)> {
    let wildcards = spec.iter().map(|(pattern, _)| pattern);
    wildcards
        .filter(|pattern| pattern.as_topic().is_none())
        .find_map(|wildcard| {
            let is_covered = |pattern: &&TopicPattern| {
                pattern
                    .as_topic()
                    .is_some_and(|topic| wildcard.matches(&topic))
            };
            Some((wildcard, patterns.iter().find(is_covered)?))
        })
}
