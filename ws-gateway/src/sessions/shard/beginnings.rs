//! Where the subscriptions of a session began: the bars from before were not sent to it then. After
//! a late bar it gets these, too, and sessions that lack the same share their frames.

use market_core::TopicPattern;
use market_core::protocol::Filter;

use crate::sessions::called::Called;
use crate::sessions::pattern_index::each_pattern_of;
use crate::topics::slot_id::SlotId;
use crate::topics::state::AfterLate;

/// Most groups of sessions that differ only in bars that are held.
const GROUPS_MAX: usize = 8;
/// Most bars that are not held, and each make a group of their own.
const EXACT_MAX: usize = 256;
/// Most topics in which a bar came late that are looked at one by one for a session.
const LATE_TOPICS_MAX: usize = 64;

/// The hub's versions at which the subscriptions of a session began; 0 if its client has the bars
/// from before.
#[derive(Clone, Debug, Default)]
pub(super) struct Beginnings {
    /// That of all but `others`.
    usual: u64,
    /// Most sessions have none.
    others: Option<Box<Others>>,
}

/// Patterns that began elsewhere, sorted.
#[derive(Clone, Debug, Default)]
struct Others(Vec<(TopicPattern, u64)>);

impl Beginnings {
    /// All began at a version.
    pub(super) fn all_at(version: u64) -> Self {
        Self {
            usual: version,
            others: None,
        }
    }

    /// A session with the subscriptions `old` gets these. Those that it has go on, unless `version`
    /// is 0: then its client has the bars from before.
    pub(super) fn add(
        &mut self,
        old: &[(TopicPattern, Filter)],
        patterns: &[TopicPattern],
        version: u64,
    ) {
        if old.is_empty() {
            *self = Self::all_at(version);
            return;
        }
        for pattern in patterns {
            let is_held = old.binary_search_by(|(held, _)| held.cmp(pattern)).is_ok();
            if !is_held || version == 0 {
                self.set(pattern, version);
            }
        }
    }

    fn set(&mut self, pattern: &TopicPattern, version: u64) {
        if self.others.is_none() && version == self.usual {
            return;
        }
        let Others(others) = &mut **self.others.get_or_insert_default();
        match others.binary_search_by(|(other, _)| other.cmp(pattern)) {
            Ok(at) => others[at].1 = version,
            Err(at) => others.insert(at, (pattern.clone(), version)),
        }
    }

    /// The session has only these subscriptions left.
    pub(super) fn keep(&mut self, spec: &[(TopicPattern, Filter)]) {
        let Some(others) = &mut self.others else {
            return;
        };
        let is_held = |pattern: &TopicPattern| {
            let at = spec.binary_search_by(|(held, _)| held.cmp(pattern));
            at.is_ok()
        };
        others.0.retain(|(pattern, _)| is_held(pattern));
        if others.0.is_empty() {
            self.others = None;
        }
    }

    /// Where a topic began for a session with the subscriptions `spec`: with the first that brings it.
    pub(super) fn of(&self, spec: &[(TopicPattern, Filter)], called: Called<'_>) -> u64 {
        let Some(others) = &self.others else {
            return self.usual;
        };
        let mut begun: Option<u64> = None;
        let mut look = |text: &str| {
            let is_in = spec.binary_search_by(|(pattern, _)| pattern.as_str().cmp(text));
            if is_in.is_ok() {
                let other = others
                    .0
                    .binary_search_by(|(pattern, _)| pattern.as_str().cmp(text));
                let at = other.map_or(self.usual, |at| others.0[at].1);
                begun = Some(begun.map_or(at, |begun| begun.min(at)));
            }
        };
        for topic in std::iter::once(called.topic).chain(called.alias) {
            look(topic.as_str());
        }
        each_pattern_of(called, &mut look);
        begun.unwrap_or(self.usual)
    }

    /// Where the topics in which a bar came late began; `of` is [`Beginnings::of`].
    pub(super) fn among(&self, late: &[SlotId], of: impl Fn(SlotId) -> u64) -> Begun {
        let Some(others) = &self.others else {
            return Begun::all_at(self.usual);
        };
        if late.len() > LATE_TOPICS_MAX {
            // Too many to look at: it may get bars that it has.
            let last = others.0.iter().map(|(_, version)| *version).max();
            return Begun::all_at(last.unwrap_or(0).max(self.usual));
        }
        let of: Vec<(SlotId, u64)> = late.iter().map(|slot| (*slot, of(*slot))).collect();
        let last = of.iter().map(|(_, version)| *version).max().unwrap_or(0);
        match of.iter().all(|(_, version)| *version == last) {
            true => Begun::all_at(last),
            false => Begun { all: last, of },
        }
    }
}

/// Where topics began for the sessions of a group.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Begun {
    /// Where those began that are not in `of`; the last of all.
    pub(super) all: u64,
    /// Where these began, if they differ.
    of: Vec<(SlotId, u64)>,
}

impl Begun {
    /// All began at a version.
    pub(super) fn all_at(version: u64) -> Self {
        Self {
            all: version,
            of: Vec::new(),
        }
    }

    /// Whether its topics began at different versions.
    pub(super) fn is_mixed(&self) -> bool {
        !self.of.is_empty()
    }

    /// Where a topic began.
    pub(super) fn of(&self, slot: SlotId) -> u64 {
        let held = self.of.iter().find(|(held, _)| *held == slot);
        held.map_or(self.all, |(_, version)| *version)
    }
}

/// The groups of sessions that lack the same after a late bar: where a bar came that some of them
/// lack, and the last of its group, ascending.
#[derive(Debug, Default)]
pub(super) struct Groups(Vec<(u64, u64)>);

impl Groups {
    /// The groups by the bars that sessions may lack. A bar that is no longer held is counted, so
    /// it begins a group: no session is told of one that it has. Of the others, a group may have
    /// several, and some of its sessions get bars that they have.
    pub(super) fn new(mut bars: Vec<AfterLate>) -> Self {
        bars.sort_unstable_by_key(|bar| bar.version);
        bars.dedup_by_key(|bar| bar.version);
        let gone = bars.iter().filter(|bar| !bar.is_held).count();
        let is_exact = gone <= EXACT_MAX;
        let shared = if is_exact {
            bars.len() - gone
        } else {
            bars.len()
        };
        let share = shared.div_ceil(GROUPS_MAX).max(1);
        let mut len = 0;
        let begins: Vec<bool> = bars
            .iter()
            .map(|bar| {
                let is_first = len == 0 || len == share || (is_exact && !bar.is_held);
                len = if is_first { 1 } else { len + 1 };
                is_first
            })
            .collect();
        let mut groups = Vec::with_capacity(bars.len());
        let mut end = None;
        for (bar, is_first) in bars.iter().zip(begins).rev() {
            let last = end.unwrap_or(bar.version);
            groups.push((bar.version, last));
            end = (!is_first).then_some(last);
        }
        groups.reverse();
        Self(groups)
    }

    /// The group of a session that began at a version: 0 for those that lack nothing but what is
    /// new, or the version at which the last of the group may have begun.
    pub(super) fn of(&self, begun: u64) -> u64 {
        let before = self.0.partition_point(|(version, _)| *version <= begun);
        before.checked_sub(1).map_or(0, |at| self.0[at].1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_that_is_counted_begins_a_group_and_others_share_a_few() {
        let bar = |version: u64| AfterLate {
            version,
            is_held: version > 3,
        };
        let groups = Groups::new((1..=35).rev().map(bar).collect());
        // 32 held bars: four in a group.
        assert_eq!([0, 1, 2].map(|begun| groups.of(begun)), [0, 1, 2]);
        assert_eq!([3, 4, 6].map(|begun| groups.of(begun)), [6, 6, 6]);
        assert_eq!([7, 10, 11].map(|begun| groups.of(begun)), [10, 10, 14]);
        assert_eq!([35, 99].map(|begun| groups.of(begun)), [35, 35]);
        let many = (1..=1_000).map(|version| AfterLate {
            version,
            is_held: false,
        });
        let groups = Groups::new(many.collect());
        assert_eq!([1, 125, 126].map(|begun| groups.of(begun)), [125, 125, 250]);
        assert_eq!(Groups::default().of(7), 0);
    }

    #[test]
    fn a_topic_began_with_the_first_subscription_that_brings_it() {
        let patterns = |texts: &[&str]| -> Vec<TopicPattern> {
            let parse = |text: &&str| text.parse().expect("pattern");
            texts.iter().map(parse).collect()
        };
        let spec = |texts: &[&str]| {
            let mut spec: Vec<(TopicPattern, Filter)> = patterns(texts)
                .into_iter()
                .map(|pattern| (pattern, Filter::default()))
                .collect();
            spec.sort();
            spec
        };
        let of = |beginnings: &Beginnings, texts: &[&str], topic: &str| {
            let topic = topic.parse().expect("topic");
            let called = Called {
                topic: &topic,
                alias: None,
                is_folded: false,
            };
            beginnings.of(&spec(texts), called)
        };
        let mut beginnings = Beginnings::default();
        beginnings.add(&spec(&[]), &patterns(&["a:b"]), 10);
        assert_eq!(of(&beginnings, &["a:b"], "a:b"), 10);
        beginnings.add(&spec(&["a:b"]), &patterns(&["a:*", "a:b"]), 20);
        let both = ["a:b", "a:*"];
        assert_eq!(of(&beginnings, &both, "a:b"), 10);
        assert_eq!(of(&beginnings, &both, "a:c"), 20);
        // The past of a topic, and a place to resume from, come with all bars from before.
        beginnings.add(&spec(&both), &patterns(&["a:c"]), 0);
        let three = ["a:b", "a:*", "a:c"];
        assert_eq!(of(&beginnings, &three, "a:c"), 0);
        assert_eq!(of(&beginnings, &three, "a:d"), 20);
        beginnings.keep(&spec(&["a:b"]));
        assert!(beginnings.others.is_none());
        beginnings.add(&spec(&["a:b"]), &patterns(&["a:c"]), 30);
        assert_eq!(of(&beginnings, &["a:b", "a:c"], "a:c"), 30);
        beginnings.add(&spec(&[]), &patterns(&["a:b"]), 40);
        assert_eq!(of(&beginnings, &["a:b"], "a:b"), 40);
    }
}
