//! A share of the sessions: the subscriptions of each, the version that it has seen, and the
//! updates that it lacks.
//!
//! A shard is a state machine without clock, task or socket: time is an argument, updates go to an
//! [`Outlet`], and every other output is an [`Effect`]. One task owns it (`flush`). `members` are
//! the sessions, `subscriptions` their topics and sets, `delivery` the due updates, and `tokens`
//! the permissions.

mod answer;
mod authenticate;
mod beginnings;
mod config;
mod delivery;
mod effect;
mod expansion;
mod members;
mod membership;
mod narrow;
mod pasts;
mod read;
mod reads;
mod replay;
mod replays;
mod scheduled_closes;
mod seams;
mod session;
mod snapshots;
mod spec;
mod subscriptions;
mod tokens;
mod topic_list;
mod topic_updates;
mod view;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use market_core::Topic;
use market_core::protocol::Reply;

pub(crate) use self::config::ShardConfig;
use self::delivery::Delivery;
pub(crate) use self::effect::Effect;
use self::effect::Seam;
use self::members::Members;
use self::reads::Reads;
use self::subscriptions::Subscriptions;
use self::tokens::Tokens;
use crate::metrics::Counts;
use crate::sessions::outlet::{Outlet, Sent};
use crate::sessions::session_id::SessionId;
use crate::sessions::set_id::SetId;
use crate::topics::folds::Folds;
use crate::topics::hub::Hub;
use crate::topics::streams::Streams;
use crate::topics::traced::Traced;

/// Shorter replies do not count against the budget: a session has only one.
const COUNTED_BYTES_MIN: usize = 1_024;

/// Time between two renewals of the folds that sessions want.
const RENEW_INTERVAL: Duration = Duration::from_secs(10);

/// A share of the sessions.
#[derive(Debug)]
pub(crate) struct Shard<O> {
    config: ShardConfig,
    hub: Arc<Hub>,
    folds: Arc<Folds>,
    streams: Arc<Streams>,
    /// Its number in the hub.
    index: usize,
    members: Members<O>,
    subscriptions: Subscriptions,
    delivery: Delivery,
    tokens: Tokens,
    reads: Reads,
    /// When the folds that sessions want were last renewed.
    renewed_at: Instant,
    /// The effects since the last call.
    effects: Vec<Effect>,
    /// See [`Counts`].
    pub counts: Counts,
}

impl<O: Outlet> Shard<O> {
    /// A shard without sessions. `index` is its number in the hub.
    #[must_use]
    pub(crate) fn new(
        config: ShardConfig,
        hub: Arc<Hub>,
        folds: Arc<Folds>,
        streams: Arc<Streams>,
        index: usize,
        seed: u64,
        now: Instant,
    ) -> Self {
        Self {
            members: Members::new(seed, now),
            subscriptions: Subscriptions::new(Arc::clone(&hub), index),
            delivery: Delivery::new(config.compression, Arc::clone(&hub.budget), now),
            tokens: Tokens::new(now),
            reads: Reads::default(),
            renewed_at: now,
            effects: Vec::new(),
            counts: Counts::default(),
            config,
            hub,
            folds,
            streams,
            index,
        }
    }

    /// How many different sets of topics the sessions have.
    #[must_use]
    pub(crate) fn set_count(&self) -> usize {
        self.subscriptions.sets.count()
    }

    /// Sessions that are not chosen to move to another gateway.
    #[must_use]
    pub(crate) fn staying(&self) -> usize {
        self.members.staying()
    }

    /// The counts since the last call.
    pub(crate) fn take_counts(&mut self) -> Counts {
        let mut counts = std::mem::take(&mut self.counts);
        (counts.deflate_in_bytes, counts.deflate_out_bytes) = self.delivery.take_work();
        counts.pattern_lookups = self.subscriptions.sets.take_lookups();
        counts
    }

    /// The effects since the last call, in this order: see [`Shard::perform`].
    pub(crate) fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// Performs an effect of the shard on the session's connection.
    pub(crate) fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Reply(to, reply) => self.send_reply(to, &reply),
            Effect::Subscribed {
                to,
                ack,
                start,
                is_shared,
            } => {
                let Some(session) = self.members.get(to) else {
                    return;
                };
                let encoding = session.outlet.encoding();
                let encoded = self
                    .delivery
                    .encoded(&start, encoding, is_shared, &mut self.counts);
                let mut frames = Vec::with_capacity(1 + encoded.frames.len());
                let answer = encoding.reply(&Reply::Ack(ack));
                let answer_bytes = answer.as_ref().map_or(0, Bytes::len);
                frames.extend(answer);
                frames.extend(encoded.frames.iter().cloned());
                if session.outlet.reply(&frames) != Sent::Closed {
                    self.counts.snapshots += 1;
                    self.counts.answer_bytes += answer_bytes as u64;
                    self.counts.sent(&start, encoded);
                }
            }
            Effect::Gained { to, start } => {
                let Some(session) = self.members.get(to) else {
                    return;
                };
                let encoding = session.outlet.encoding();
                let encoded = self
                    .delivery
                    .encoded(&start, encoding, false, &mut self.counts);
                if session.outlet.reply(&encoded.frames) != Sent::Closed {
                    self.counts.sent(&start, encoded);
                }
            }
            // The task that owns the shard does this.
            Effect::ReadHistory(..) => {}
            Effect::Live { to, seam } => self.send_seam(to, &seam),
            Effect::Ping(to) => {
                if let Some(session) = self.members.get(to) {
                    session.outlet.ping();
                }
            }
            Effect::Close(to, code) => {
                if let Some(session) = self.members.get(to) {
                    session.outlet.close(code);
                }
            }
        }
    }

    fn send_seam(&mut self, to: SessionId, seam: &Seam) {
        let Some(session) = self.members.get(to) else {
            return;
        };
        let encoding = session.outlet.encoding();
        let mut frames = Vec::new();
        for (index, part) in [&seam.past, &seam.start, &seam.others]
            .into_iter()
            .enumerate()
        {
            if index == 1 {
                frames.extend(encoding.reply(&Reply::Live(seam.live.clone())));
            }
            let encoded = self
                .delivery
                .encoded(part, encoding, false, &mut self.counts);
            frames.extend(encoded.frames.iter().cloned());
            self.counts.sent(part, encoded);
        }
        let _ = session.outlet.reply(&frames);
    }

    fn send_reply(&mut self, to: SessionId, reply: &Reply) {
        let Some(session) = self.members.get(to) else {
            return;
        };
        let Some(mut frame) = session.outlet.encoding().reply(reply) else {
            return;
        };
        if frame.len() >= COUNTED_BYTES_MIN {
            frame = self.hub.budget.count(frame);
        }
        let frame_bytes = frame.len() as u64;
        if session.outlet.reply(&[frame]) != Sent::Closed {
            self.counts.answer_bytes += frame_bytes;
        }
    }

    /// Takes the changes from the hub.
    pub(crate) fn pull(&mut self) {
        let fresh = self.subscriptions.pull(&self.config, &mut self.counts);
        self.delivery
            .note(fresh, &self.subscriptions, self.config.pace);
    }

    /// A session begins. It has no subscriptions.
    pub(crate) fn join(&mut self, outlet: Arc<O>, now: Instant) -> SessionId {
        let id = self.members.join(outlet, &self.config, now);
        self.subscriptions
            .enter(&mut self.members, id.index, SetId::EMPTY);
        id
    }

    /// A session ends.
    pub(crate) fn leave(&mut self, id: SessionId) {
        if self.members.get(id).is_some() {
            self.subscriptions.exit(&mut self.members, id.index);
            self.members.leave(id);
            self.tokens.remove(id);
            self.reads.remove_all(id);
        }
    }

    /// A session whose socket was full has written all its bytes.
    pub(crate) fn writable(&mut self, id: SessionId, now: Instant) {
        if self.members.get(id).is_some() {
            self.write_pages(id, now);
            self.delivery.add(id);
        }
    }

    /// The folds that sessions have or read go on. Ended folds begin again.
    fn renew_folds(&mut self, now: Instant) {
        for topic in self.subscriptions.take_bereft() {
            // A refusal is counted; the sessions get the topic once another makes it.
            if let Some(made) = self.subscriptions.made(&topic) {
                let _ = self.folds.want(&made, None, now);
            } else {
                self.want_stream(&topic, now);
            }
        }
        // Their sources may have come under another name.
        self.subscriptions.has_named_source = false;
        for topic in self.streams.silent() {
            if self.subscriptions.has_sessions(&topic) {
                self.want_stream(&topic, now);
            }
        }
        let mut topics = self.folds.topics();
        if !topics.is_empty() {
            let read = self.reads.topics();
            topics.retain(|topic| self.subscriptions.has_sessions(topic) || read.contains(topic));
            self.folds.renew(&topics, now);
        }
        let mut topics = self.streams.topics();
        topics.retain(|topic| self.subscriptions.has_sessions(topic));
        if !topics.is_empty() {
            self.streams.renew(&topics, now);
        }
        self.renewed_at = now;
    }

    /// A stream of Binance that sessions have goes on. A refusal is counted.
    fn want_stream(&self, topic: &Topic, now: Instant) {
        if let Some(stream) = self.subscriptions.made_stream(topic) {
            let is_known = self.subscriptions.is_known(&stream);
            let _ = self.streams.want(topic, stream, is_known, None, now);
        }
    }

    /// When the folds are renewed next.
    fn renew_at(&self) -> Instant {
        let subscriptions = &self.subscriptions;
        match subscriptions.has_bereft() || subscriptions.has_named_source {
            true => self.renewed_at,
            false => self.renewed_at + RENEW_INTERVAL,
        }
    }

    /// Reads of the past that sessions wait for.
    #[must_use]
    pub(crate) fn read_count(&self) -> usize {
        self.reads.len()
    }

    /// Closes every session, each at a random time within `window`.
    pub(crate) fn drain(&mut self, now: Instant, window: Duration) {
        self.members.drain(now, window);
    }

    /// Closes about `count` sessions that have lasted for `age_min`, each at a random time within
    /// `window`; none if the shard drains.
    pub(crate) fn shed(&mut self, count: usize, age_min: Duration, now: Instant, window: Duration) {
        self.members.shed(count, age_min, now, window);
    }

    /// The time of the next timer.
    #[must_use]
    pub(crate) fn next_at(&self) -> Instant {
        let timers = self.members.next_at().min(self.tokens.next_at());
        self.delivery
            .next_at()
            .into_iter()
            .chain(self.reads.next_at())
            .chain([self.renew_at()])
            .fold(timers, Instant::min)
    }

    /// Sends pings, closes idle sessions and those that are due to close, and makes sessions due
    /// whose `max_rate` allows it.
    pub(crate) fn tick(&mut self, now: Instant) {
        self.delivery.tick(&mut self.members, now);
        self.tick_reads(now);
        if self.renew_at() <= now {
            self.renew_folds(now);
        }
        self.counts.sheds += self.members.close_due(now, &mut self.effects);
        let due = self.members.due_checks(now);
        for &id in &due {
            let lacks_token = self.tokens.lacks(id, self.config.auth.as_ref());
            let effect = self.members.check(id, lacks_token, &self.config, now);
            self.counts.pings += u64::from(matches!(effect, Some(Effect::Ping(_))));
            self.effects.extend(effect);
        }
        self.members.checked(due);
        self.tokens.tick(now, &mut self.effects);
    }

    /// When the next flush is due; `None` while there are no changes.
    #[must_use]
    pub(crate) fn flush_at(&self) -> Option<Instant> {
        self.delivery.flush_at()
    }

    /// When the oldest change of the flush in progress came to the hub.
    #[must_use]
    pub(crate) fn flushing_since(&self) -> Option<Instant> {
        self.delivery.flushing_since()
    }

    /// The traced changes that the flush has sent.
    pub(crate) fn take_traced(&mut self) -> Vec<Traced> {
        self.subscriptions.take_sent()
    }

    /// Sends sessions the updates that they lack, to at most `portion` sessions; true when all are
    /// served. Call nothing else between the portions of one flush.
    pub(crate) fn flush_some(&mut self, now: Instant, portion: usize) -> bool {
        self.delivery.flush_some(
            &mut self.members,
            &mut self.subscriptions,
            &self.config,
            &mut self.counts,
            now,
            portion,
        )
    }
}

#[cfg(test)]
mod tests;
