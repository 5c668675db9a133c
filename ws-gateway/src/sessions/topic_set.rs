//! The subscriptions of sessions, shared by all sessions with the same subscriptions.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

use market_core::protocol::Filter;
use market_core::{Topic, TopicPattern};

use crate::sessions::called::Called;
use crate::sessions::flush_schedule::PendingChanges;
use crate::sessions::pattern_index::PatternIndex;
use crate::sessions::recent::Recent;
use crate::sessions::set_id::SetId;
use crate::topics::slot_id::SlotId;
use client_frames::encode::batch::Prepared;

/// Topics and patterns with their declined messages, sorted, without duplicates.
pub(crate) type Spec = Arc<[(TopicPattern, Filter)]>;

/// One of a set's topics.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Entry {
    /// Its slot.
    pub slot: SlotId,
    /// The messages of it that are declined.
    pub filter: Filter,
}

/// The snapshot for a session that subscribes to the whole set at once.
#[derive(Debug)]
pub(crate) struct Snapshot {
    /// [`TopicSet::newest`] at the time when it was made.
    pub newest: u64,
    /// How many entries the set had.
    pub entries: usize,
    /// The frames after the ack.
    pub prepared: Arc<Prepared>,
    /// The pending topics.
    pub pending: Vec<TopicPattern>,
}

/// A set of topics and its members.
#[derive(Debug)]
pub(crate) struct TopicSet {
    /// What was asked for.
    pub spec: Spec,
    /// Its known topics, ascending by slot.
    pub entries: Vec<Entry>,
    /// There was no room for some of its topics.
    pub lacks_topics: bool,
    /// Version of the newest publication of any of them.
    pub newest: u64,
    /// Indices of the sessions in the shard.
    pub members: Vec<u32>,
    /// The changes that are not sent yet; the set is in the shard's flush schedule then.
    pub changes: Option<PendingChanges>,
    /// Its topics that changed since it was last sent.
    pub recent: Recent,
    /// When it was sent last.
    pub sent_at: Option<Instant>,
    /// Shared by sessions that subscribe between two updates; `None` while only one session has the
    /// set.
    pub snapshot: Option<Arc<Snapshot>>,
}

impl TopicSet {
    /// One of its topics has changed.
    pub(crate) fn changed(&mut self, slot: SlotId, version: u64) {
        self.newest = self.newest.max(version);
        self.snapshot = None;
        self.recent.note(slot, self.entries.len());
    }

    /// The entries that changed above a version, in order; `None` if all must be checked.
    #[must_use]
    pub(crate) fn entries_above(&self, seen: u64) -> Option<Vec<Entry>> {
        let entry_of = |slot: SlotId| {
            let at = self
                .entries
                .binary_search_by_key(&slot, |entry| entry.slot)
                .ok()?;
            Some(self.entries[at])
        };
        let slots = self.recent.above(seen)?;
        Some(slots.into_iter().filter_map(entry_of).collect())
    }
}

/// The filter for a topic under a spec: the messages that all matching patterns decline.
/// `wildcards` is the filter of those with wildcards.
fn filter_of(
    spec: &[(TopicPattern, Filter)],
    called: Called<'_>,
    wildcards: Option<Filter>,
) -> Option<Filter> {
    let named = std::iter::once(called.topic).chain(called.alias);
    named
        .filter_map(|topic| filter_by_name(spec, topic))
        .chain(wildcards)
        .reduce(Filter::union)
}

/// The messages that a spec declines of a topic that it names.
fn filter_by_name(spec: &[(TopicPattern, Filter)], topic: &Topic) -> Option<Filter> {
    let at = spec.binary_search_by(|(pattern, _)| pattern.as_str().cmp(topic.as_str()));
    at.ok().map(|at| spec[at].1)
}

/// The sets of a shard.
#[derive(Debug)]
pub(crate) struct TopicSets {
    sets: Vec<Option<TopicSet>>,
    free: Vec<SetId>,
    by_spec: HashMap<Spec, SetId>,
    /// Exact topics without data, and the sets that wait for them.
    pending: HashMap<Topic, BTreeSet<SetId>>,
    /// Patterns with wildcards, and their sets.
    wildcards: PatternIndex,
}

impl Default for TopicSets {
    fn default() -> Self {
        let spec: Spec = Arc::from([]);
        let empty = TopicSet {
            spec: Arc::clone(&spec),
            entries: Vec::new(),
            lacks_topics: false,
            newest: 0,
            members: Vec::new(),
            changes: None,
            recent: Recent::default(),
            sent_at: None,
            snapshot: None,
        };
        Self {
            sets: vec![Some(empty)],
            free: Vec::new(),
            by_spec: HashMap::from([(spec, SetId::EMPTY)]),
            pending: HashMap::new(),
            wildcards: PatternIndex::default(),
        }
    }
}

impl TopicSets {
    /// The set of a spec, if some session has it.
    #[must_use]
    pub(crate) fn find(&self, spec: &Spec) -> Option<SetId> {
        self.by_spec.get(spec).copied()
    }

    /// A set that some session is in.
    #[must_use]
    pub(crate) fn get(&self, id: SetId) -> &TopicSet {
        self.sets[id.index()].as_ref().expect("the set is in use")
    }

    /// A set that some session is in.
    pub(crate) fn get_mut(&mut self, id: SetId) -> &mut TopicSet {
        self.sets[id.index()].as_mut().expect("the set is in use")
    }

    /// A set that may have been removed in the meantime.
    #[must_use]
    pub(crate) fn try_get(&self, id: SetId) -> Option<&TopicSet> {
        self.sets.get(id.index()).and_then(Option::as_ref)
    }

    /// A set that may have been removed in the meantime.
    pub(crate) fn try_get_mut(&mut self, id: SetId) -> Option<&mut TopicSet> {
        self.sets.get_mut(id.index()).and_then(Option::as_mut)
    }

    /// How many sets there are.
    #[must_use]
    pub(crate) fn count(&self) -> usize {
        self.by_spec.len()
    }

    /// Adds the set of a spec that has none yet. `unknown` are its exact topics without a slot.
    pub(crate) fn insert(
        &mut self,
        spec: Spec,
        entries: Vec<Entry>,
        newest: u64,
        unknown: &[Topic],
    ) -> SetId {
        let id = self.free.pop().unwrap_or_else(|| {
            self.sets.push(None);
            SetId(u32::try_from(self.sets.len() - 1).expect("fewer sets than sessions"))
        });
        for topic in unknown {
            self.pending.entry(topic.clone()).or_default().insert(id);
        }
        for (pattern, filter) in spec.iter() {
            if pattern.as_topic().is_none() {
                self.wildcards.insert(pattern, id, *filter);
            }
        }
        self.by_spec.insert(Arc::clone(&spec), id);
        self.sets[id.index()] = Some(TopicSet {
            spec,
            entries,
            lacks_topics: false,
            newest,
            members: Vec::new(),
            changes: None,
            recent: Recent::new(newest),
            sent_at: None,
            snapshot: None,
        });
        id
    }

    /// Removes a set without sessions, and returns it.
    pub(crate) fn remove(&mut self, id: SetId) -> Option<TopicSet> {
        if id == SetId::EMPTY || !self.get(id).members.is_empty() {
            return None;
        }
        let set = self.sets[id.index()].take()?;
        self.by_spec.remove(&set.spec);
        for (pattern, _) in set.spec.iter() {
            match pattern.as_topic() {
                Some(topic) => {
                    if let Some(sets) = self.pending.get_mut(&topic) {
                        sets.remove(&id);
                        if sets.is_empty() {
                            self.pending.remove(&topic);
                        }
                    }
                }
                None => self.wildcards.remove(pattern, id),
            }
        }
        self.free.push(id);
        Some(set)
    }

    /// A topic has appeared, or got a second name: adds it to the sets that want it and did not
    /// have it. Returns all sets that want it and have it by a name that waited or by a wildcard,
    /// with the messages that they decline. `beyond` rises by one for each set that does not get it
    /// because of `entries_max`.
    pub(crate) fn appear(
        &mut self,
        called: Called<'_>,
        slot: SlotId,
        entries_max: usize,
        beyond: &mut u64,
    ) -> Vec<(SetId, Filter)> {
        let wildcards = self.wildcards.matching(called);
        let mut sets: Vec<SetId> = wildcards.keys().copied().collect();
        sets.extend(self.pending.remove(called.topic).unwrap_or_default());
        sets.extend(
            called
                .alias
                .and_then(|alias| self.pending.remove(alias))
                .unwrap_or_default(),
        );
        sets.sort_unstable();
        sets.dedup();
        let mut having = Vec::with_capacity(sets.len());
        for id in sets {
            let set = self.sets[id.index()].as_mut().expect("the set is in use");
            let wildcards = wildcards.get(&id).copied();
            let filter = filter_of(&set.spec, called, wildcards).unwrap_or_default();
            match set.entries.binary_search_by_key(&slot, |entry| entry.slot) {
                Ok(at) => set.entries[at].filter = filter,
                Err(_) if set.entries.len() >= entries_max => {
                    set.lacks_topics = true;
                    *beyond += 1;
                    continue;
                }
                Err(at) => set.entries.insert(at, Entry { slot, filter }),
            }
            set.recent.note(slot, set.entries.len());
            having.push((id, filter));
        }
        having
    }

    /// A slot has ended: removes it from `sets`, which wait for its topic by the names that they
    /// have for it.
    pub(crate) fn end(
        &mut self,
        called: Called<'_>,
        slot: SlotId,
        sets: impl IntoIterator<Item = SetId>,
    ) {
        for id in sets {
            let set = self.sets[id.index()].as_mut().expect("the set is in use");
            set.snapshot = None;
            if let Ok(at) = set.entries.binary_search_by_key(&slot, |entry| entry.slot) {
                set.entries.remove(at);
            }
            for name in std::iter::once(called.topic).chain(called.alias) {
                if filter_by_name(&set.spec, name).is_some() {
                    self.pending.entry(name.clone()).or_default().insert(id);
                }
            }
        }
    }

    /// The number of looked-up patterns since the last call.
    pub(crate) fn take_lookups(&mut self) -> u64 {
        self.wildcards.take_lookups()
    }

    /// A topic is no longer called `former`. Removes it from those of `sets` that do not want it by
    /// its remaining names, and keeps in `sets` those that do.
    pub(crate) fn rename(
        &mut self,
        called: Called<'_>,
        former: &Topic,
        slot: SlotId,
        sets: &mut HashMap<SetId, Filter>,
    ) {
        let wildcards = self.wildcards.matching(called);
        sets.retain(|&id, declined| {
            let set = self.sets[id.index()].as_mut().expect("the set is in use");
            set.snapshot = None;
            let at = set.entries.binary_search_by_key(&slot, |entry| entry.slot);
            let filter = filter_of(&set.spec, called, wildcards.get(&id).copied());
            match (filter, at) {
                (Some(filter), Ok(at)) => {
                    set.entries[at].filter = filter;
                    set.recent.note(slot, set.entries.len());
                }
                (None, Ok(at)) => {
                    set.entries.remove(at);
                }
                (_, Err(_)) => {}
            }
            if filter_by_name(&set.spec, former).is_some() {
                self.pending.entry(former.clone()).or_default().insert(id);
            }
            *declined = filter.unwrap_or_default();
            filter.is_some()
        });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn spec(patterns: &[&str]) -> Spec {
        let mut spec: Vec<_> = patterns
            .iter()
            .map(|text| (text.parse().expect("pattern"), Filter::default()))
            .collect();
        spec.sort();
        spec.dedup();
        Arc::from(spec)
    }

    fn topic(text: &str) -> Topic {
        text.parse().expect("topic")
    }

    fn plain(topic: &Topic) -> Called<'_> {
        Called {
            topic,
            alias: None,
            is_folded: false,
        }
    }

    #[test]
    fn sets_gain_topics_as_they_appear_and_are_removed_without_a_trace() {
        let mut sets = TopicSets::default();
        let exact = sets.insert(spec(&["a:b"]), Vec::new(), 0, &[topic("a:b")]);
        let wild = sets.insert(spec(&["a:*", "a:b"]), Vec::new(), 0, &[topic("a:b")]);
        let mut beyond = 0;
        let none = Filter::default();
        let mut appear = |sets: &mut TopicSets, text: &str, slot: u32, entries_max: usize| {
            sets.appear(plain(&topic(text)), SlotId(slot), entries_max, &mut beyond)
        };
        assert_eq!(
            appear(&mut sets, "a:b", 0, 10),
            [(exact, none), (wild, none)]
        );
        assert_eq!(appear(&mut sets, "a:c", 1, 10), [(wild, none)]);
        assert_eq!(appear(&mut sets, "x:c", 2, 10), []);
        assert_eq!(sets.get(wild).entries.len(), 2);
        assert_eq!(appear(&mut sets, "a:d", 3, 2), []);
        assert_eq!(beyond, 1);
        for id in [exact, wild] {
            assert!(sets.remove(id).is_some());
        }
        assert!(sets.remove(SetId::EMPTY).is_none());
        assert!(sets.count() == 1 && sets.pending.is_empty() && sets.wildcards.is_empty());
        assert!(sets.find(&spec(&["a:b"])).is_none());
    }

    #[test]
    fn overlapping_patterns_decline_only_what_all_of_them_decline() {
        let closed = Filter {
            closed_only: true,
            ..Filter::default()
        };
        let both = Filter {
            closed_only: true,
            no_fill: true,
            ..Filter::default()
        };
        let spec: Spec = Arc::from([
            ("a:*".parse().expect("pattern"), both),
            ("a:b".parse().expect("pattern"), closed),
        ]);
        let mut sets = TopicSets::default();
        let id = sets.insert(spec, Vec::new(), 0, &[topic("a:b")]);
        let mut appear =
            |text: &str, slot: u32| sets.appear(plain(&topic(text)), SlotId(slot), 10, &mut 0);
        assert_eq!(appear("a:b", 0), [(id, closed)]);
        assert_eq!(appear("a:c", 1), [(id, both)]);
        assert_eq!(appear("b:c", 2), []);
    }

    proptest! {
        /// Whether a topic was there before the subscription or appears after it, the set ends
        /// up with the same entries.
        #[test]
        fn a_set_holds_what_its_patterns_match(
            topics in proptest::collection::btree_set("(a|b):[a-d](:[a-b])?", 1..12),
            patterns in proptest::collection::btree_set("(a|b):([a-d]|\\*|>)", 1..5),
        ) {
            let patterns: Vec<_> = patterns.iter().map(String::as_str).collect();
            let spec = spec(&patterns);
            let unknown: Vec<_> = spec.iter().filter_map(|(pattern, _)| pattern.as_topic()).collect();
            let mut sets = TopicSets::default();
            let id = sets.insert(Arc::clone(&spec), Vec::new(), 0, &unknown);
            let mut expected = Vec::new();
            for (index, text) in topics.iter().enumerate() {
                let slot = SlotId(index as u32);
                sets.appear(plain(&topic(text)), slot, 100, &mut 0);
                if spec.iter().any(|(pattern, _)| pattern.matches(&topic(text))) {
                    expected.push(slot);
                }
            }
            let entries: Vec<_> = sets.get(id).entries.iter().map(|entry| entry.slot).collect();
            prop_assert_eq!(entries, expected);
        }
    }
}
