//! The subscriptions of a shard's sessions, and the state of their topics: the topics as of the
//! last pull, and the sets of topics that sessions share.
//!
//! Requests name topics by their own names, and with their exchange in front.

pub(super) mod naming;
mod traces;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use auth::Permissions;
use market_core::channel::{BOOK, Channel, TICKER, TRADE};
use market_core::protocol::Filter;
use market_core::{Topic, TopicPattern};

use super::config::ShardConfig;
use super::topic_list::TopicLists;
use super::view::View;
use crate::metrics::Counts;
use crate::sessions::flush_schedule::PendingChanges;
use crate::sessions::pattern_index::each_pattern_of;
use crate::sessions::set_id::SetId;
use crate::sessions::topic_set::{Entry, Spec, TopicSets};
use crate::topics::hub::Hub;
use crate::topics::slot_id::SlotId;
use crate::topics::traced::Traced;

/// How to treat topics beyond a session's limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Overflow {
    Refuse,
    /// Leave the newest out: the session already lacks some.
    Cut,
}

/// The differences from which a set is made from another.
#[derive(Debug, Default)]
struct Changed {
    /// Patterns that the other set does not have.
    added: HashSet<TopicPattern>,
    /// Slots of the patterns that are given up or have other options now.
    touched: HashSet<SlotId>,
    /// The number of those patterns with wildcards.
    wildcards: u64,
}

/// The subscriptions of a shard's sessions.
#[derive(Debug)]
pub(super) struct Subscriptions {
    hub: Arc<Hub>,
    /// The shard's index in the hub.
    index: usize,
    pub(super) views: Vec<View>,
    /// All versions up to here have been pulled.
    pub(super) version: u64,
    pub(super) sets: TopicSets,
    lists: TopicLists,
    /// Topics that have ended although sessions have them.
    bereft: Vec<Topic>,
    /// A book, a ticker or a topic of trades got the name of its venue.
    pub(super) has_named_source: bool,
    /// Traced changes that some session still lacks, by slot.
    traced: Vec<(SlotId, Traced)>,
}

impl Subscriptions {
    /// No subscriptions. `index` is the shard's index in the hub.
    pub(super) fn new(hub: Arc<Hub>, index: usize) -> Self {
        Self {
            hub,
            index,
            views: Vec::new(),
            version: 0,
            sets: TopicSets::default(),
            lists: TopicLists::default(),
            bereft: Vec::new(),
            has_named_source: false,
            traced: Vec::new(),
        }
    }

    /// Takes the changes from the hub, and returns the sets that have changes now.
    pub(super) fn pull(&mut self, config: &ShardConfig, counts: &mut Counts) -> Vec<SetId> {
        let pulled = self.hub.pull(self.index, self.views.len());
        self.version = pulled.version;
        let mut created = Vec::with_capacity(pulled.created.len());
        for slot in pulled.created {
            let id = SlotId(u32::try_from(self.views.len()).expect("fewer than 2^32 topics"));
            self.views.push(View::new(slot));
            created.push(id);
        }
        for (id, slot) in pulled.renewed {
            self.views[id.index()] = View::new(slot);
            created.push(id);
        }
        // Before other topics appear: the topic of an ended fold may have another slot now.
        for id in pulled.ended {
            created.retain(|other| *other != id);
            self.end(id);
        }
        for id in created {
            self.appear(id, config, counts);
        }
        for (id, exchange) in pulled.named {
            self.name(id, exchange, config, counts);
        }
        let mut fresh = Vec::new();
        for changed in pulled.changed {
            let view = &mut self.views[changed.slot.index()];
            // The first publication ends the pending state, also for sessions that decline it.
            let is_first = view.newest_version == 0;
            let is_lasting = changed.lasting > view.lasting_version || is_first;
            view.newest_version = changed.newest_version;
            view.lasting_version = changed.lasting;
            view.newest = changed.newest;
            let at = pulled.since.expect("what changed has its time");
            for (&id, filter) in &view.sets {
                if filter.closed_only && !is_lasting {
                    continue;
                }
                let set = self.sets.get_mut(id);
                set.changed(changed.slot, changed.newest_version);
                match &mut set.changes {
                    Some(changes) => changes.last = at,
                    none => {
                        *none = Some(PendingChanges {
                            first: at,
                            last: at,
                        });
                        fresh.push(id);
                    }
                }
            }
        }
        for (slot, is_lasting, traced) in pulled.traced {
            self.trace(slot, is_lasting, traced);
        }
        fresh
    }

    /// A slot has a topic: sets that want it get it from now on.
    fn appear(&mut self, id: SlotId, config: &ShardConfig, counts: &mut Counts) {
        let gained = self.sets.appear(
            self.views[id.index()].called(),
            id,
            config.topics_max,
            &mut counts.beyond_bound,
        );
        self.views[id.index()].sets.extend(gained);
    }

    /// A slot has ended: its sets wait for its topic.
    fn end(&mut self, id: SlotId) {
        let view = &mut self.views[id.index()];
        let sets = std::mem::take(&mut view.sets);
        view.newest = None;
        self.traced.retain(|(slot, _)| *slot != id);
        if !sets.is_empty() {
            self.sets.end(view.called(), id, sets.into_keys());
            self.bereft.push(view.slot.topic.clone());
        }
    }

    /// Topics that have ended although sessions had them, since the last call.
    pub(super) fn take_bereft(&mut self) -> Vec<Topic> {
        std::mem::take(&mut self.bereft)
    }

    /// Whether there are such topics.
    pub(super) fn has_bereft(&self) -> bool {
        !self.bereft.is_empty()
    }

    /// A slot's bars name their venue: sets that want its bars of this venue get them from now on,
    /// and sets that want the previous venue no longer do.
    fn name(&mut self, id: SlotId, exchange: Arc<str>, config: &ShardConfig, counts: &mut Counts) {
        let view = &mut self.views[id.index()];
        let alias = view.slot.topic.with_exchange(&exchange);
        view.exchange = Some(exchange);
        let former = std::mem::replace(&mut view.alias, alias);
        if let Some(former) = former {
            let mut sets = std::mem::take(&mut self.views[id.index()].sets);
            let view = &self.views[id.index()];
            self.sets.rename(view.called(), &former, id, &mut sets);
            self.views[id.index()].sets = sets;
        }
        if self.views[id.index()].alias.is_some() {
            let topic = self.views[id.index()].slot.topic.as_str();
            let is_source = |channel: Channel| channel.rest(topic, ':').is_some();
            self.has_named_source |= [BOOK, TICKER, TRADE].into_iter().any(is_source);
            self.appear(id, config, counts);
        }
    }

    /// The view of a topic, as far as this shard has pulled it.
    pub(super) fn view_of(&self, topic: &Topic) -> Option<(SlotId, &View)> {
        let slot = self.hub.find(topic)?;
        // Until the next pull, a slot that was given to another topic has the view of the former.
        let view = self.views.get(slot.index())?;
        (view.slot.topic == *topic).then_some((slot, view))
    }

    /// The view of the topic that a pattern names, by its own name or with its venue in front.
    pub(super) fn view_of_pattern(&self, pattern: &TopicPattern) -> Option<&View> {
        let topic = pattern.as_topic()?;
        if let Some((_, view)) = self.view_of(&topic) {
            return Some(view);
        }
        let (plain, exchange) = topic.without_exchange()?;
        let (_, view) = self.view_of(&plain)?;
        (view.exchange.as_deref() == Some(&*exchange)).then_some(view)
    }

    /// Whether a session has a topic.
    pub(super) fn has_sessions(&self, topic: &Topic) -> bool {
        self.view_of(topic)
            .is_some_and(|(_, view)| !view.sets.is_empty())
    }

    /// How a spec can be made from a session's existing set, without comparing all its wildcards
    /// with all topics again. `None` if the set lacks topics because of its bound: there may be
    /// room for them now.
    fn changed(&self, set: SetId, spec: &Spec) -> Option<Changed> {
        let set = self.sets.get(set);
        let mut changed = Changed::default();
        let mut touched = Vec::new();
        for (pattern, filter) in set.spec.iter() {
            let at = spec.binary_search_by(|(other, _)| other.cmp(pattern));
            if at.is_ok_and(|at| spec[at].1 == *filter) {
                continue;
            }
            if set.lacks_topics {
                return None;
            }
            changed.wildcards += u64::from(pattern.as_topic().is_none());
            self.expand(pattern, &mut touched);
        }
        for (pattern, _) in spec.iter() {
            let at = set.spec.binary_search_by(|(other, _)| other.cmp(pattern));
            if at.is_err() {
                changed.added.insert(pattern.clone());
            }
        }
        changed.touched.extend(touched);
        Some(changed)
    }

    /// The set of a spec, made from the session's existing set if possible; the error is the number
    /// of its topics.
    pub(super) fn intern(
        &mut self,
        spec: &Spec,
        overflow: Overflow,
        from: SetId,
        topics_max: usize,
        counts: &mut Counts,
    ) -> Result<SetId, usize> {
        if let Some(set) = self.sets.find(spec) {
            return Ok(set);
        }
        let mut filters: HashMap<SlotId, Filter> = HashMap::new();
        let mut add = |slot: SlotId, filter: Filter| {
            filters
                .entry(slot)
                .and_modify(|held| *held = held.union(filter))
                .or_insert(filter);
        };
        let changed = self.changed(from, spec);
        if let Some(changed) = &changed {
            counts.expanded += changed.wildcards;
            for entry in &self.sets.get(from).entries {
                if !changed.touched.contains(&entry.slot) {
                    add(entry.slot, entry.filter);
                }
            }
            // By the forms of each topic's names, because a session may have many wildcards.
            let wildcards = spec
                .iter()
                .filter(|(pattern, _)| pattern.as_topic().is_none());
            let wildcards: HashMap<&str, Filter> = wildcards
                .map(|(pattern, filter)| (pattern.as_str(), *filter))
                .collect();
            for &slot in &changed.touched {
                each_pattern_of(self.views[slot.index()].called(), &mut |text| {
                    if let Some(filter) = wildcards.get(text) {
                        add(slot, *filter);
                    }
                });
            }
        }
        let mut unknown = Vec::new();
        let mut slots = Vec::new();
        for (pattern, filter) in spec.iter() {
            let topic = pattern.as_topic();
            if topic.is_none() {
                if changed
                    .as_ref()
                    .is_some_and(|changed| !changed.added.contains(pattern))
                {
                    // Its topics are those of the existing set.
                    continue;
                }
                counts.expanded += 1;
            }
            slots.clear();
            self.expand(pattern, &mut slots);
            if slots.is_empty() {
                unknown.extend(topic);
            }
            for &slot in &slots {
                add(slot, *filter);
            }
        }
        let beyond = filters.len().saturating_sub(topics_max);
        if beyond > 0 && overflow == Overflow::Refuse {
            return Err(filters.len());
        }
        let mut entries: Vec<Entry> = filters
            .into_iter()
            .map(|(slot, filter)| Entry { slot, filter })
            .collect();
        entries.sort_unstable_by_key(|entry| entry.slot);
        entries.truncate(topics_max);
        counts.beyond_bound += beyond as u64;
        // Of a set that is made from another one, nothing is looked for that this one lacks.
        let lacks_more = changed.is_some() && self.sets.get(from).lacks_topics;
        let newest = entries
            .iter()
            .map(|entry| self.views[entry.slot.index()].newest_version)
            .max();
        counts.sets_made += 1;
        let set = self
            .sets
            .insert(Arc::clone(spec), entries, newest.unwrap_or(0), &unknown);
        self.sets.get_mut(set).lacks_topics = beyond > 0 || lacks_more;
        for entry in &self.sets.get(set).entries {
            let view = &mut self.views[entry.slot.index()];
            view.sets.insert(set, entry.filter);
        }
        Ok(set)
    }

    /// At most `topics_max` topics that a session with these permissions may know, and whether
    /// there are more.
    pub(super) fn list(
        &mut self,
        permissions: Option<Arc<Permissions>>,
        topics_max: usize,
        counts: &mut Counts,
    ) -> (Vec<Topic>, bool) {
        let (views, checks) = (&self.views, &mut counts.listed);
        let called = |index: usize| views[index].called();
        self.lists
            .of(permissions, views.len(), called, topics_max, checks)
    }

    /// When the unsent changes of a set came; `None` if there are none, or no such set.
    pub(super) fn changes(&self, id: SetId) -> Option<(PendingChanges, Option<Instant>)> {
        let set = self.sets.try_get(id)?;
        Some((set.changes?, set.sent_at))
    }
}
