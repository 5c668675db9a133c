//! A shard's answers to `sub`, `unsub` and `rate`.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use market_core::protocol::{
    Ack, ErrorCode, Filter, MaxRate, Selection, Since, Subscribe, encode_error, encode_list,
};
use market_core::{Topic, TopicPattern};

use super::delivery::push_delta;
use super::interest::Overflow;
use super::{SHARED_MEMBERS_MIN, Shard};
use crate::encode::batch::{Batch, Prepared};
use crate::sessions::outlet::{Outlet, Sent};
use crate::sessions::session_id::SessionId;
use crate::sessions::set_id::SetId;
use crate::sessions::topic_set::{Snapshot, Spec};
use crate::topics::slot::SlotId;
use crate::topics::state::{self, Place};

impl<O: Outlet> Shard<O> {
    pub(super) fn subscribe(
        &mut self,
        id: SessionId,
        echo: Option<&str>,
        wanted: Subscribe,
        now: Instant,
    ) {
        let Subscribe {
            selections,
            filter,
            max_rate,
            since,
            mut malformed,
        } = wanted;
        if self.is_overloaded(id, echo) {
            return;
        }
        let selections = self.named(selections, &mut malformed);
        if let Some(first) = malformed.first() {
            self.counts.errors += 1;
            let topics: Vec<_> = malformed.iter().map(|bad| bad.topic.as_str()).collect();
            let json = encode_error(echo, ErrorCode::BadTopic, &first.message, &topics);
            self.reply_text(id, &json);
        }
        if selections.is_empty() {
            return;
        }
        let patterns = self.permitted(id, echo, selections);
        if patterns.is_empty() {
            return;
        }
        let old_set = self.member(id).expect("the caller checked").set;
        let old_spec = Arc::clone(&self.sets.get(old_set).spec);
        let spec = merge(&old_spec, &patterns, filter);
        let subscriptions_max = self.subscriptions_max(id);
        if spec.len() > subscriptions_max.max(old_spec.len()) {
            let message = format!(
                "{} subscriptions, {subscriptions_max} are allowed: use wildcards such as kline:1m:*, or unsubscribe",
                spec.len(),
            );
            self.refuse(id, echo, ErrorCode::TooManySubscriptions, &message);
            return;
        }
        let wildcards = wildcards_in(&spec);
        if wildcards > self.config.wildcards_max.max(wildcards_in(&old_spec)) {
            let message = format!(
                "{wildcards} subscriptions with wildcards, {} are allowed: name topics, or unsubscribe",
                self.config.wildcards_max
            );
            self.refuse(id, echo, ErrorCode::TooManySubscriptions, &message);
            return;
        }
        let name_bytes = name_bytes(&spec);
        let name_bytes_max = self.config.name_bytes_max;
        if name_bytes > name_bytes_max.max(self::name_bytes(&old_spec)) {
            let message = format!(
                "the names of the subscriptions are {name_bytes} bytes, {name_bytes_max} are allowed: use wildcards such as kline:1m:*, or unsubscribe"
            );
            self.refuse(id, echo, ErrorCode::TooManySubscriptions, &message);
            return;
        }
        let set = match self.intern(&spec, Overflow::Refuse, old_set) {
            Ok(set) => set,
            Err(count) => {
                let message = format!(
                    "the subscriptions match {count} topics, {} are allowed a session",
                    self.config.topics_max
                );
                self.refuse(id, echo, ErrorCode::TooManyTopics, &message);
                return;
            }
        };
        if let Some(max_rate) = max_rate {
            self.set_rate(id, max_rate, now);
        }
        let seen = self.live_mut(id.index).seen;
        let mut texts: Vec<&str> = patterns.iter().map(TopicPattern::as_str).collect();
        dedup(&mut texts);
        let mut ack = Ack {
            id: echo,
            topics: texts,
            ..Ack::default()
        };
        let (snapshot, joined, without_data);
        let (data, pending): (&Prepared, &[TopicPattern]);
        let mut not_resumed = Vec::new();
        let is_shared;
        if old_set == SetId::EMPTY && since.is_none() {
            snapshot = self.whole_snapshot(set);
            (data, pending) = (&snapshot.prepared, &snapshot.pending);
            is_shared = self.sets.get(set).members.len() >= SHARED_MEMBERS_MIN;
        } else {
            let requested = self.expand_all(&patterns);
            (joined, not_resumed) =
                self.joined_snapshot(old_set, set, seen, &requested.slots, since.as_ref());
            without_data = requested.without_data;
            (data, pending) = (&joined, &without_data);
            is_shared = false;
        }
        ack.pending = pending.iter().map(TopicPattern::as_str).collect();
        ack.not_resumed = not_resumed.iter().map(Topic::as_str).collect();
        let encoding = self.live_mut(id.index).outlet.encoding();
        let encoded = data.encoded(
            encoding,
            is_shared,
            &mut self.deflater,
            &mut self.counts.encoded,
        );
        let mut frames = Vec::with_capacity(1 + encoded.frames.len());
        frames.push(encoding.codec.answer(&ack.encode()));
        frames.extend(encoded.frames.iter().cloned());
        self.move_to(id.index, set);
        let newest = self.sets.get(set).newest;
        let member = self.live_mut(id.index);
        member.seen = newest;
        if let Some(gap) = member.gap {
            member.next_at = now + gap;
        }
        if member.outlet.reply(&frames) != Sent::Closed {
            self.counts.snapshots += 1;
            self.counts.answer_bytes += frames[0].len() as u64;
            self.counts.sent(data, encoded);
        }
    }

    /// Changes how often a session may get a frame; held-back updates come at the new rate.
    fn set_rate(&mut self, id: SessionId, max_rate: MaxRate, now: Instant) {
        let member = self.live_mut(id.index);
        member.gap = match max_rate {
            MaxRate::Unlimited => None,
            MaxRate::PerSecond(rate) => Some(Duration::from_secs_f64(1.0 / rate)),
        };
        member.next_at = member.next_at.min(now + member.gap.unwrap_or_default());
        // The entry in the heap is for the old rate.
        member.is_delayed = false;
        self.due_members.push(id);
    }

    pub(super) fn change_rate(
        &mut self,
        id: SessionId,
        echo: Option<&str>,
        max_rate: MaxRate,
        now: Instant,
    ) {
        self.set_rate(id, max_rate, now);
        let ack = Ack {
            id: echo,
            ..Ack::default()
        };
        self.reply_text(id, &ack.encode());
    }

    pub(super) fn unsubscribe(
        &mut self,
        id: SessionId,
        echo: Option<&str>,
        selections: &[Selection],
    ) {
        let old_set = self.member(id).expect("the caller checked").set;
        let old_spec = Arc::clone(&self.sets.get(old_set).spec);
        let holds = |wanted: &TopicPattern| {
            let at = old_spec.binary_search_by(|(pattern, _)| pattern.cmp(wanted));
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
                } if holds(plain) && self.is_of(plain, exchange) => plain,
                Selection::OfExchange { prefixed, .. } => prefixed,
            };
            if !holds(pattern) {
                ack.not_subscribed.push(pattern.as_str());
            } else if removed.insert(pattern) {
                ack.topics.push(pattern.as_str());
            }
        }
        let spec: Spec = old_spec
            .iter()
            .filter(|(pattern, _)| !removed.contains(pattern))
            .cloned()
            .collect();
        self.narrow(id, &spec);
        self.reply_text(id, &ack.encode());
    }

    /// Reduces a session to these of its subscriptions.
    pub(super) fn narrow(&mut self, id: SessionId, spec: &Spec) {
        let (old_set, seen) = {
            let member = self.member(id).expect("the caller checked");
            (member.set, member.seen)
        };
        let old_newest = self.sets.get(old_set).newest;
        let set = self
            .intern(spec, Overflow::Cut, old_set)
            .expect("what is too much is cut");
        self.move_to(id.index, set);
        let newest = self.sets.get(set).newest;
        let member = self.live_mut(id.index);
        if seen >= old_newest {
            member.seen = newest;
        } else {
            self.due_members.push(id);
        }
    }

    pub(super) fn list(&mut self, id: SessionId, echo: Option<&str>) {
        if self.is_overloaded(id, echo) {
            return;
        }
        let set = self.member(id).expect("the caller checked").set;
        let permissions = self.permissions(id).cloned();
        let listed = self.lists.of(
            permissions,
            &self.views,
            self.config.list_max,
            &mut self.counts.listed,
        );
        let spec = &self.sets.get(set).spec;
        let json = encode_list(
            echo,
            spec.iter().map(|(pattern, _)| pattern.as_str()),
            &listed.topics,
            listed.is_truncated,
        );
        self.reply_text(id, &json);
    }

    /// The newest state of a whole set; shared by all sessions that ask between two updates.
    fn whole_snapshot(&mut self, id: SetId) -> Arc<Snapshot> {
        let set = self.sets.get(id);
        let kept = set.snapshot.as_ref().filter(|snapshot| {
            snapshot.newest == set.newest && snapshot.entries == set.entries.len()
        });
        if let Some(snapshot) = kept {
            return Arc::clone(snapshot);
        }
        let mut batch = Batch::new(self.config.frame_bytes_max);
        let mut marks = Vec::new();
        for entry in &set.entries {
            let view = &self.views[entry.slot.index()];
            let newest = state::snapshot(
                &view.slot.state(),
                view.forming.as_ref(),
                self.version,
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
            prepared: batch.finish(0).counted(&self.hub.budget),
            pending: self.expand_all(&patterns).without_data,
        });
        let set = self.sets.get_mut(id);
        // A set with one member shares its snapshot with nobody, so it is not cached.
        if !set.members.is_empty() {
            set.snapshot = Some(Arc::clone(&snapshot));
        }
        snapshot
    }

    /// The messages after the ack for a session that already had subscriptions: the newest state of
    /// the requested topics, and the updates that it lacks of the others. The second value is the
    /// topics that could not be resumed.
    fn joined_snapshot(
        &mut self,
        old_set: SetId,
        set: SetId,
        seen: u64,
        requested: &HashSet<SlotId>,
        since: Option<&Since>,
    ) -> (Prepared, Vec<Topic>) {
        let mut batch = Batch::new(self.config.frame_bytes_max);
        let (mut skipped, mut not_resumed, mut marks) = (0, Vec::new(), Vec::new());
        let old = &self.sets.get(old_set).entries;
        for entry in &self.sets.get(set).entries {
            let view = &self.views[entry.slot.index()];
            let (state, forming) = (view.slot.state(), view.forming.as_ref());
            let is_requested = requested.contains(&entry.slot);
            if view.is_mark {
                // It has no position to resume from, and comes after the bars.
                if is_requested || view.newest > seen {
                    marks.extend(state::snapshot(&state, forming, self.version, entry.filter));
                }
                continue;
            }
            let place = since
                .filter(|_| is_requested)
                .and_then(|since| Some((since, *since.seq.get(view.slot.topic.as_str())?)));
            let has_room = batch.bytes() < self.config.resume_bytes_max;
            if place.is_some() && !has_room {
                // It starts anew, like a topic with too few held bars.
                not_resumed.push(view.slot.topic.clone());
            } else if let Some((since, seq)) = place {
                let place = Place {
                    epoch: since.epoch,
                    seq,
                    closed_ms: since.closed_ms.get(view.slot.topic.as_str()).copied(),
                };
                let (delta, is_whole) =
                    state::resume(&state, forming, self.version, entry.filter, place);
                if !is_whole {
                    not_resumed.push(view.slot.topic.clone());
                }
                skipped += delta.skipped;
                push_delta(&mut batch, &view.slot.topic, delta);
                continue;
            }
            let had = old
                .binary_search_by_key(&entry.slot, |entry| entry.slot)
                .ok()
                .map(|at| old[at].filter);
            let mut is_sent = false;
            if let Some(filter) = had
                && view.newest > seen
            {
                let delta = state::delta(&state, forming, seen, self.version, filter);
                is_sent = !delta.updates.is_empty();
                skipped += delta.skipped;
                push_delta(&mut batch, &view.slot.topic, delta);
            }
            if is_requested
                && (!is_sent || had != Some(entry.filter))
                && let Some(payload) = state::snapshot(&state, forming, self.version, entry.filter)
            {
                batch.push(payload, 0);
            }
        }
        for mark in marks {
            batch.push(mark, 0);
        }
        let prepared = batch.finish(skipped).counted(&self.hub.budget);
        (prepared, not_resumed)
    }
}

/// The number of patterns that are compared with all topics.
fn wildcards_in(spec: &Spec) -> usize {
    let has_wildcard = |pattern: &TopicPattern| pattern.as_topic().is_none();
    spec.iter()
        .filter(|(pattern, _)| has_wildcard(pattern))
        .count()
}

/// Bytes of the names of subscriptions.
fn name_bytes(spec: &Spec) -> usize {
    spec.iter().map(|(pattern, _)| pattern.as_str().len()).sum()
}

/// The old subscriptions with `patterns` added or changed to `filter`.
fn merge(old: &Spec, patterns: &[TopicPattern], filter: Filter) -> Spec {
    let mut added: Vec<&TopicPattern> = patterns.iter().collect();
    added.sort_unstable();
    added.dedup();
    let is_kept = |(pattern, _): &&(TopicPattern, Filter)| added.binary_search(&pattern).is_err();
    let mut kept = old.iter().filter(is_kept).cloned().peekable();
    let mut spec = Vec::with_capacity(old.len() + added.len());
    for pattern in &added {
        while let Some(before) = kept.next_if(|(kept, _)| kept < *pattern) {
            spec.push(before);
        }
        spec.push(((*pattern).clone(), filter));
    }
    spec.extend(kept);
    Arc::from(spec)
}

fn dedup(texts: &mut Vec<&str>) {
    let mut seen = HashSet::new();
    texts.retain(|text| seen.insert(*text));
}
