//! From the past into the present: pages of history for a session, then the bars that the gateway
//! holds beside them, then `live`.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use market_core::TopicPattern;
use market_core::protocol::{Ack, ErrorCode, Filter, Past, Reply, Unrecovered};

use super::Shard;
use super::effect::{Echo, Effect};
use super::read::{Next, Read, Step};
use super::replay::{Replay, ReplayClock};
use super::spec::{merge, without_duplicates};
use crate::sessions::outlet::{Outlet, Sent};
use crate::sessions::past::{PastAnswer, PastBar, ReadId};
use crate::sessions::session_id::SessionId;
use crate::sessions::topic_set::Spec;
use crate::topics::publication::width_of;
use crate::topics::state::Reach;
use client_frames::encode::batch::{Batch, Prepared};
use client_frames::encode::payload::Payload;

/// How long a read waits while slow clients use too many bytes.
const OVERLOAD_REST: Duration = Duration::from_millis(100);

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
        let (mut places, mut clock, mut replays) = (Vec::new(), None, Vec::new());
        if let Past::Replay { start_ms, speed } = past {
            match self.replay_places(id, &echo, &patterns) {
                Some(taken) => places = taken,
                None => return,
            }
            clock = Some(ReplayClock::new(now, start_ms, speed));
        }
        let wanted: HashSet<&TopicPattern> = patterns.iter().collect();
        // The past comes first: the live bars of a topic that the session already has wait, too.
        let kept: Spec = old_spec
            .iter()
            .filter(|(pattern, _)| !wanted.contains(pattern))
            .cloned()
            .collect();
        if kept.len() < old_spec.len() {
            self.narrow(id, &kept);
        }
        self.cancel_reads(id, |pattern| wanted.contains(pattern), now);
        let requested = self.subscriptions.expand_all(&patterns);
        for pattern in &patterns {
            let Some(topic) = pattern.as_topic() else {
                continue;
            };
            let (topic, exchange) = self.subscriptions.asked_of_history(topic);
            let Some(width) = width_of(&topic) else {
                continue;
            };
            let read = Read::new(
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
            );
            let place = clock.as_ref().zip(places.pop());
            let replay = place.map(|(clock, place)| Replay::new(clock.clone(), place));
            let is_replay = replay.is_some();
            let read_id = self.reads.add(read.played(replay));
            if is_replay {
                replays.push(read_id);
            }
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
        for read_id in replays {
            // They wait for no turn.
            self.begin_replay(read_id, now);
        }
        self.begin_reads(id, now);
    }

    /// Begins the reads of a session whose turn it is. Those that the held bars complete end
    /// together: each change of the session's set costs as much as the set is long.
    pub(super) fn begin_reads(&mut self, id: SessionId, now: Instant) {
        if !self.reads.has_queued(id) {
            return;
        }
        // All of them are completed at one version.
        self.pull();
        let room = self.config.history_reads_per_session.max(1);
        let mut finished = Vec::new();
        while let Some(next) = self.reads.begin_next(id, room) {
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
        let reads: Vec<&Read> = self.reads.of(id).map(|(_, read)| read).collect();
        // Each merge costs as much as the list is long, and most reads have one filter.
        for alike in reads.chunk_by(|one, other| one.filter == other.filter) {
            let patterns: Vec<TopicPattern> =
                alike.iter().map(|read| read.pattern.clone()).collect();
            spec = merge(&spec, &patterns, alike[0].filter);
        }
        spec
    }

    pub(super) fn ask_history(&mut self, read_id: ReadId, now: Instant) {
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
        let Some(read) = self.reads.get_mut(read_id) else {
            // Its session has ended, or given it up.
            return;
        };
        let Ok(page) = answer else {
            self.ask_later(read_id, now);
            return;
        };
        read.answered(page.asked_ms);
        let bars = read.take(page.bars, page.next, now);
        match read.plays_pages() {
            true => self.play_page(read_id, bars, now),
            false => self.send_page(read_id, bars, now),
        }
    }

    /// Asks history again after a rest. If there was no progress for too long, the topic goes live
    /// without the rest of its past.
    fn ask_later(&mut self, read_id: ReadId, now: Instant) {
        let wait = self.config.history_wait;
        let Some(read) = self.reads.get_mut(read_id) else {
            return;
        };
        if let Some(rest) = read.rest(wait, now) {
            self.reads.rest(read_id, now + rest);
            return;
        }
        let session = read.session;
        let seam = self.seam_now(read_id);
        let finished = self.finished(read_id, Some(Unrecovered::History), seam);
        self.join_finished(session, finished.into_iter().collect(), now);
        self.end_queued(session, now);
        self.begin_reads(session, now);
    }

    pub(super) fn send_page(&mut self, read_id: ReadId, bars: Vec<PastBar>, now: Instant) {
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
        if self.plays_on(read_id, now) {
            return;
        }
        let Some(read) = self.reads.get_mut(read_id) else {
            return;
        };
        match read.next {
            Next::Ask if read.is_beyond_bound() => {
                let seam = self.seam_now(read_id);
                self.end_read(read_id, Some(Unrecovered::TooMany), seam, now);
            }
            Next::Ask => self.ask_history(read_id, now),
            Next::AskLater => self.ask_later(read_id, now),
            Next::Join | Next::Finish => self.join_ring(read_id, now),
        }
    }

    /// A session's socket has written all its bytes.
    pub(super) fn write_pages(&mut self, id: SessionId, now: Instant) {
        for read_id in self.reads.under_way(id) {
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

    /// Reads that have rested go on, and those that are complete go live.
    pub(super) fn tick_reads(&mut self, now: Instant) {
        for read_id in self.reads.rested(now) {
            let read = self.reads.get_mut(read_id);
            let replay = read.and_then(|read| read.replay.as_ref());
            match replay.is_some_and(|replay| replay.has_waiting()) {
                true => self.play(read_id, now),
                false => self.ask_history(read_id, now),
            }
        }
        for session in self.reads.due_joins(now) {
            self.join_complete(session, now);
        }
    }
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
