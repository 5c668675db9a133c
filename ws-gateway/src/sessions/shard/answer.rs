//! A shard's answers to requests.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use market_core::TopicPattern;
use market_core::protocol::{
    Ack, ErrorCode, List, MaxRate, Op, Reply, Request, RequestError, Selection, Subscribe,
};

use super::Shard;
use super::delivery::SHARED_MEMBERS_MIN;
use super::effect::{Echo, Effect};
use super::snapshots::{self, Joined, StartBounds};
use super::spec::{merge, name_bytes, wildcards_in, without_duplicates};
use super::subscriptions::Overflow;
use crate::limits::Sharer;
use crate::sessions::outlet::Outlet;
use crate::sessions::session_id::SessionId;
use crate::sessions::set_id::SetId;
use crate::sessions::topic_set::Spec;

impl<O: Outlet> Shard<O> {
    /// Answers a request, or reports its error.
    pub(crate) fn request(
        &mut self,
        id: SessionId,
        request: Result<Request, RequestError>,
        now: Instant,
    ) {
        if self.members.get(id).is_none() {
            return;
        }
        self.members.live_mut(id.index).has_asked = true;
        let Request { id: echo, op } = match request {
            Ok(request) => request,
            Err(mut error) => {
                // The message names them, too: they are left out while there is no room.
                if self.hub.budget.is_spent() {
                    error.topics.clear();
                }
                self.counts.errors += 1;
                self.reply(id, Reply::Error(error));
                return;
            }
        };
        let lacks_token = self.tokens.lacks(id, self.config.auth.as_ref());
        if lacks_token && !matches!(op, Op::Ping | Op::Auth(_)) {
            let message =
                "this gateway wants a token first: send {\"op\":\"auth\",\"token\":\"...\"}";
            self.refuse(id, echo, ErrorCode::AuthRequired, message);
            return;
        }
        match op {
            Op::Sub(subscribe) => self.subscribe(id, echo, subscribe, now),
            Op::Unsub(selections) => self.unsubscribe(id, echo, &selections, now),
            Op::Rate(max_rate) => {
                self.set_rate(id, max_rate, now);
                let ack = Ack {
                    id: echo,
                    ..Ack::default()
                };
                self.reply(id, Reply::Ack(ack));
            }
            Op::List => self.list(id, echo),
            Op::Ping => self.reply(id, Reply::Pong { id: echo }),
            Op::Auth(_) => self.refuse(
                id,
                echo,
                ErrorCode::AuthNotRequired,
                "this gateway asks for no authentication: subscribe at once",
            ),
        }
    }

    pub(super) fn reply(&mut self, id: SessionId, reply: Reply) {
        self.effects.push(Effect::Reply(id, reply));
    }

    pub(super) fn refuse(&mut self, id: SessionId, echo: Echo, code: ErrorCode, message: &str) {
        self.refuse_topics(id, echo, code, message, Vec::new());
    }

    fn refuse_topics(
        &mut self,
        id: SessionId,
        echo: Echo,
        code: ErrorCode,
        message: &str,
        topics: Vec<String>,
    ) {
        self.counts.errors += 1;
        let error = RequestError {
            id: echo,
            code,
            message: message.to_owned(),
            topics,
        };
        self.reply(id, Reply::Error(error));
    }

    /// Refuses long answers now, if slow clients use all the memory.
    fn is_overloaded(&mut self, id: SessionId, echo: &Echo) -> bool {
        let is_spent = self.hub.budget.is_spent();
        if is_spent {
            self.counts.overloaded += 1;
            let message = "slow clients hold all the memory that this gateway has for answers: ask again in a few seconds";
            self.refuse(id, echo.clone(), ErrorCode::Overloaded, message);
        }
        is_spent
    }

    fn subscribe(&mut self, id: SessionId, echo: Echo, wanted: Subscribe, now: Instant) {
        let Subscribe {
            selections,
            filter,
            max_rate,
            since,
            past,
            mut malformed,
        } = wanted;
        if self.is_overloaded(id, &echo) {
            return;
        }
        let dialect = self.members.live(id.index).outlet.encoding().dialect;
        let refused = self.counts.errors;
        let selections = self
            .subscriptions
            .named(dialect, selections, &mut malformed);
        if let Some(first) = malformed.first() {
            let message = first.message.clone();
            let topics = malformed.into_iter().map(|bad| bad.topic).collect();
            self.refuse_topics(id, echo.clone(), ErrorCode::BadTopic, &message, topics);
        }
        if selections.is_empty() {
            return;
        }
        let patterns = self.permitted(id, &echo, selections);
        let patterns = self.with_folds(id, &echo, patterns, now);
        self.hub.demand.want(&patterns);
        if patterns.is_empty() {
            return;
        }
        let whole_spec = self.whole_spec(id);
        let new_spec = merge(&whole_spec, &patterns, filter);
        if let Err(message) = self.check_bounds(id, &whole_spec, &new_spec) {
            self.refuse(id, echo, ErrorCode::TooManySubscriptions, &message);
            return;
        }
        if let Some(past) = past {
            if let Some(max_rate) = max_rate {
                self.set_rate(id, max_rate, now);
            }
            self.subscribe_past(id, echo, patterns, filter, *past, now);
            return;
        }
        if let Some((wildcard, topic)) = self.read_covered_by(id, &patterns) {
            let message = format!(
                "{wildcard} brings {topic}, and its past is being read: wait for its live message, or unsubscribe it"
            );
            self.refuse(id, echo, ErrorCode::BadOption, &message);
            return;
        }
        // Without its past, as the client now wants it.
        self.cancel_reads(id, |pattern| patterns.contains(pattern), now);
        let session = self.members.live(id.index);
        let (old_set, seen) = (session.set, session.seen);
        let old_spec = Arc::clone(&self.subscriptions.sets.get(old_set).spec);
        let spec = merge(&old_spec, &patterns, filter);
        let topics_max = self.config.topics_max;
        let set = self.subscriptions.intern(
            &spec,
            Overflow::Refuse,
            old_set,
            topics_max,
            &mut self.counts,
        );
        let set = match set {
            Ok(set) => set,
            Err(count) => {
                let message = format!(
                    "the subscriptions match {count} topics, {topics_max} are allowed a session"
                );
                self.refuse(id, echo, ErrorCode::TooManyTopics, &message);
                return;
            }
        };
        if let Some(max_rate) = max_rate {
            self.set_rate(id, max_rate, now);
        }
        // A request of Binance's has one answer: an error, if a part of it was refused.
        let has_answer = dialect.is_binance() && self.counts.errors > refused;
        let mut ack = Ack {
            id: echo.filter(|_| !has_answer),
            ..Ack::default()
        };
        let bounds = StartBounds {
            frame_bytes_max: self.config.frame_bytes_max,
            resume_bytes_max: self.config.resume_bytes_max,
            log_bytes_max: self.config.log_bytes_max,
            budget: &self.hub.budget,
        };
        // Whether the session has all that is held of the topics from where its client stopped.
        let mut continues = false;
        let (start, is_shared);
        if old_set == SetId::EMPTY && since.is_none() {
            let snapshot = snapshots::whole(&mut self.subscriptions, set, bounds);
            start = Arc::clone(&snapshot.prepared);
            ack.pending = snapshot.pending.clone();
            is_shared = self.subscriptions.sets.get(set).members.len() >= SHARED_MEMBERS_MIN;
        } else {
            // A client of Binance's gets nothing again for what it already has.
            let is_held = |pattern: &TopicPattern| {
                let at = old_spec.binary_search_by(|(held, _)| held.cmp(pattern));
                at.is_ok()
            };
            let again = dialect.is_binance() && since.is_none();
            let wanted: Vec<TopicPattern> = patterns
                .iter()
                .filter(|pattern| !(again && is_held(pattern)))
                .cloned()
                .collect();
            let requested = self.subscriptions.expand_all(&wanted);
            let joined = Joined {
                from: old_set,
                to: set,
                seen,
                begun: &self.members.live(id.index).begun,
                requested: &requested.slots,
                since: since.as_deref(),
            };
            let (prepared, not_resumed) = snapshots::joined(&self.subscriptions, joined, bounds);
            continues = not_resumed.is_empty() && joined.has_places(&self.subscriptions);
            start = Arc::new(prepared);
            ack.pending = requested.without_data;
            ack.not_resumed = not_resumed;
            is_shared = false;
        }
        ack.topics = without_duplicates(patterns);
        self.subscriptions.move_to(&mut self.members, id.index, set);
        let newest = self.subscriptions.sets.get(set).newest;
        let version = self.subscriptions.version;
        let session = self.members.live_mut(id.index);
        session.seen = newest;
        let begun = if continues { 0 } else { version };
        session.begun.add(&old_spec, &ack.topics, begun);
        if let Some(interval) = session.min_frame_interval {
            session.next_at = now + interval;
        }
        self.effects.push(Effect::Subscribed {
            to: id,
            ack,
            start,
            is_shared,
        });
    }

    /// Whether a session may have these subscriptions: at most the limit, or as many as it already
    /// has.
    fn check_bounds(&self, id: SessionId, old: &Spec, new: &Spec) -> Result<(), String> {
        let subscriptions_max = self
            .config
            .subscriptions_max
            .min(self.tokens.subscriptions_max(id));
        if new.len() > subscriptions_max.max(old.len()) {
            return Err(format!(
                "{} subscriptions, {subscriptions_max} are allowed: use wildcards such as kline:1m:*, or unsubscribe",
                new.len(),
            ));
        }
        let (wildcards, wildcards_max) = (wildcards_in(new), self.config.wildcards_max);
        if wildcards > wildcards_max.max(wildcards_in(old)) {
            return Err(format!(
                "{wildcards} subscriptions with wildcards, {wildcards_max} are allowed: name topics, or unsubscribe"
            ));
        }
        let (bytes, bytes_max) = (name_bytes(new), self.config.name_bytes_max);
        if bytes > bytes_max.max(name_bytes(old)) {
            return Err(format!(
                "the names of the subscriptions are {bytes} bytes, {bytes_max} are allowed: use wildcards such as kline:1m:*, or unsubscribe"
            ));
        }
        Ok(())
    }

    /// The patterns of selections; those that are not permitted are refused and left out.
    fn permitted(
        &mut self,
        id: SessionId,
        echo: &Echo,
        selections: Vec<Selection>,
    ) -> Vec<TopicPattern> {
        let rules = self.config.auth.as_ref();
        let permissions = self.tokens.permissions(id, rules).cloned();
        let (patterns, forbidden) = self
            .subscriptions
            .permitted(permissions.as_deref(), selections);
        if let Some(permissions) = permissions.filter(|_| !forbidden.is_empty()) {
            self.counts.forbidden += forbidden.len() as u64;
            let message = format!(
                "not permitted; the session may have {}, and each topic or pattern has to be covered by one of them",
                permissions.describe()
            );
            let topics = forbidden.iter().map(TopicPattern::to_string).collect();
            self.refuse_topics(id, echo.clone(), ErrorCode::Forbidden, &message, topics);
        }
        patterns
    }

    /// Whose share is used by what a session asks for.
    pub(super) fn sharer(&self, id: SessionId) -> Sharer {
        Sharer {
            session: (self.index, id.number()),
            ip: self.members.live(id.index).outlet.client_ip(),
        }
    }

    /// The patterns whose bars are published, or are folded from now on; the others are refused.
    fn with_folds(
        &mut self,
        id: SessionId,
        echo: &Echo,
        patterns: Vec<TopicPattern>,
        now: Instant,
    ) -> Vec<TopicPattern> {
        let (mut kept, mut refused) = (Vec::with_capacity(patterns.len()), Vec::new());
        let (mut why, mut is_any) = (String::new(), false);
        let mut has_pulled = false;
        let sharer = self.sharer(id);
        for pattern in patterns {
            let topic = pattern.as_topic();
            let made = topic.and_then(|topic| self.subscriptions.made(&topic));
            let wanted = if let Some(made) = made {
                is_any = true;
                self.folds.want(&made, Some(sharer), now)
            } else if let Some(topic) = pattern.as_topic()
                && let Some(stream) = self.subscriptions.made_stream(&topic)
            {
                is_any = true;
                self.hub.demand.want(std::slice::from_ref(&stream.source));
                let mut is_known = self.subscriptions.is_known(&stream);
                if !is_known && !has_pulled && self.streams.tells_inventions() {
                    // Its bars may have been loaded just now.
                    has_pulled = true;
                    self.pull();
                    is_known = self.subscriptions.is_known(&stream);
                }
                let streams = &self.streams;
                streams.want(&topic, stream, is_known, Some(sharer), now)
            } else {
                Ok(())
            };
            match wanted {
                Ok(()) => kept.push(pattern),
                Err(message) => {
                    refused.push(pattern.to_string());
                    why = message;
                }
            }
        }
        if is_any {
            self.pull();
        }
        if !refused.is_empty() {
            self.refuse_topics(id, echo.clone(), ErrorCode::TooManyTopics, &why, refused);
        }
        kept
    }

    /// Changes how often a session may get a frame; held-back updates come at the new rate.
    fn set_rate(&mut self, id: SessionId, max_rate: MaxRate, now: Instant) {
        let session = self.members.live_mut(id.index);
        session.min_frame_interval = match max_rate {
            MaxRate::Unlimited => None,
            MaxRate::PerSecond(rate) => Some(Duration::from_secs_f64(1.0 / rate)),
        };
        let interval = session.min_frame_interval.unwrap_or_default();
        session.next_at = session.next_at.min(now + interval);
        // The entry among the delayed sessions is for the old rate.
        session.is_delayed = false;
        self.delivery.add(id);
    }

    fn unsubscribe(&mut self, id: SessionId, echo: Echo, selections: &[Selection], now: Instant) {
        let old_set = self.members.live(id.index).set;
        let old_spec = Arc::clone(&self.subscriptions.sets.get(old_set).spec);
        let whole_spec = self.whole_spec(id);
        let holds = |wanted: &TopicPattern| {
            let at = whole_spec.binary_search_by(|(pattern, _)| pattern.cmp(wanted));
            at.is_ok()
        };
        let mut removed: HashSet<&TopicPattern> = HashSet::new();
        let mut ack = Ack {
            id: echo,
            ..Ack::default()
        };
        for selection in selections {
            let pattern = match selection {
                Selection::Pattern(pattern) => pattern,
                Selection::OfExchange {
                    exchange, plain, ..
                } if holds(plain) && self.subscriptions.is_of(plain, exchange) => plain,
                Selection::OfExchange { prefixed, .. } => prefixed,
            };
            if !holds(pattern) {
                ack.not_subscribed.push(pattern.clone());
            } else if removed.insert(pattern) {
                ack.topics.push(pattern.clone());
            }
        }
        let spec: Spec = old_spec
            .iter()
            .filter(|(pattern, _)| !removed.contains(pattern))
            .cloned()
            .collect();
        self.cancel_reads(id, |pattern| removed.contains(pattern), now);
        self.narrow(id, &spec);
        self.reply(id, Reply::Ack(ack));
    }

    fn list(&mut self, id: SessionId, echo: Echo) {
        if self.is_overloaded(id, &echo) {
            return;
        }
        let spec = self.whole_spec(id);
        let rules = self.config.auth.as_ref();
        let permissions = self.tokens.permissions(id, rules).cloned();
        let list_max = self.config.list_max;
        let (topics, is_truncated) =
            self.subscriptions
                .list(permissions, list_max, &mut self.counts);
        let list = List {
            id: echo,
            subscriptions: spec.iter().map(|(pattern, _)| pattern.clone()).collect(),
            topics,
            is_truncated,
        };
        self.reply(id, Reply::List(list));
    }
}
