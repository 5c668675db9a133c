//! The wildcards that match a topic: found by their possible forms, not by trying each pattern. So
//! a new topic costs the same however many patterns clients have.

use std::collections::{BTreeMap, HashMap};

use market_core::channel::Channel;
use market_core::protocol::Filter;
use market_core::{Topic, TopicPattern};

use crate::sessions::called::Called;
use crate::sessions::set_id::SetId;

/// Patterns with wildcards, and their sets.
#[derive(Debug, Default)]
pub(crate) struct PatternIndex {
    holders: HashMap<TopicPattern, BTreeMap<SetId, Filter>>,
    lookups: u64,
}

impl PatternIndex {
    /// Whether it holds nothing.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.holders.is_empty()
    }

    /// A set has a pattern.
    pub(crate) fn insert(&mut self, pattern: &TopicPattern, set: SetId, filter: Filter) {
        let holders = self.holders.entry(pattern.clone()).or_default();
        holders.insert(set, filter);
    }

    /// A set no longer has a pattern.
    pub(crate) fn remove(&mut self, pattern: &TopicPattern, set: SetId) {
        if let Some(holders) = self.holders.get_mut(pattern) {
            holders.remove(&set);
            if holders.is_empty() {
                self.holders.remove(pattern);
            }
        }
    }

    /// The sets with a pattern that matches this topic, with the messages that all such patterns
    /// decline.
    pub(crate) fn matching(&mut self, called: Called<'_>) -> BTreeMap<SetId, Filter> {
        let mut matching: BTreeMap<SetId, Filter> = BTreeMap::new();
        if self.holders.is_empty() {
            return matching;
        }
        each_pattern_of(called, &mut |text| {
            self.lookups += 1;
            for (&set, &filter) in self.holders.get(text).into_iter().flatten() {
                matching
                    .entry(set)
                    .and_modify(|held| *held = held.union(filter))
                    .or_insert(filter);
            }
        });
        matching
    }

    /// The number of looked-up patterns since the last call.
    pub(crate) fn take_lookups(&mut self) -> u64 {
        std::mem::take(&mut self.lookups)
    }
}

/// Calls `found` with the text of each pattern that matches one of a topic's names.
pub(super) fn each_pattern_of(called: Called<'_>, found: &mut impl FnMut(&str)) {
    if called.is_folded {
        return;
    }
    for topic in std::iter::once(called.topic).chain(called.alias) {
        each_pattern(topic, found);
    }
}

/// Calls `found` with the text of each pattern that matches a topic, by the rules of
/// [`TopicPattern::matches`], and with the topic itself. A topic has at most 8 parts, so these are
/// at most 510.
fn each_pattern(topic: &Topic, found: &mut impl FnMut(&str)) {
    let parts: Vec<&str> = topic.as_str().split(':').collect();
    let mut text = String::with_capacity(topic.as_str().len());
    extend(&parts, 0, Channel::symbol_at_of(parts[0]), &mut text, found);
}

/// `text` matches the parts before `index`. The symbol begins at `symbol_at`, if there is one.
fn extend(
    parts: &[&str],
    index: usize,
    symbol_at: Option<usize>,
    text: &mut String,
    found: &mut impl FnMut(&str),
) {
    let Some(&part) = parts.get(index) else {
        found(text);
        return;
    };
    let len = text.len();
    if index > 0 {
        text.push_str(":>");
        found(text);
        text.truncate(len);
        text.push(':');
    }
    let begin = text.len();
    for part in [part, "*"] {
        text.truncate(begin);
        text.push_str(part);
        let is_symbol = symbol_at == Some(index);
        if part == "*" && is_symbol && index + 1 < parts.len() {
            // A last `*` in the place of the symbol matches all remaining parts.
            found(text);
        }
        extend(parts, index + 1, symbol_at, text, found);
    }
    text.truncate(len);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use market_core::protocol::BookForm;
    use proptest::prelude::*;

    use super::*;

    const NONE: Filter = Filter {
        closed_only: false,
        no_fill: false,
        book: BookForm::WHOLE,
    };

    fn called(topic: &Topic) -> Called<'_> {
        Called {
            topic,
            alias: None,
            is_folded: false,
        }
    }

    #[test]
    fn a_topic_that_appears_costs_the_same_however_many_patterns_there_are() {
        let mut index = PatternIndex::default();
        // A thousand sessions that have made up a hundred patterns each, and one that is true.
        for session in 0..1_000 {
            for number in 0..100 {
                let pattern = format!("kline:*:V{session}-{number}:*").parse();
                index.insert(&pattern.expect("a pattern"), SetId(session), NONE);
            }
        }
        index.insert(&"kline:>".parse().expect("a pattern"), SetId(1_000), NONE);
        for number in 0..6_000 {
            let topic: Topic = format!("kline:1s:OKX:N{number}-B")
                .parse()
                .expect("a topic");
            let matching = index.matching(called(&topic));
            assert_eq!(matching, BTreeMap::from([(SetId(1_000), NONE)]));
        }
        // 16 with its own number of parts, 14 that end with `>`, 4 that end with the symbol's `*`.
        assert_eq!(index.take_lookups(), 6_000 * 34);
    }

    proptest! {
        #[test]
        fn the_patterns_found_are_those_that_match(
            topics in proptest::collection::btree_set(
                "((kline:1s|trade):(A-B|OKX:A-B|OKX:C-D)|a:[a-c](:[a-b]){0,3}|system:feed)", 1..8),
            patterns in proptest::collection::btree_set(
                "(kline|trade|a|\\*|system)(:(1s|a|b|OKX|A-B|\\*)){0,3}:(a|b|feed|A-B|\\*|>)", 1..40),
        ) {
            let patterns: Vec<TopicPattern> = patterns
                .iter()
                .filter_map(|text| text.parse().ok())
                .filter(|pattern: &TopicPattern| pattern.as_topic().is_none())
                .collect();
            let mut index = PatternIndex::default();
            for (number, pattern) in patterns.iter().enumerate() {
                index.insert(pattern, SetId(number as u32), NONE);
            }
            for text in &topics {
                let topic: Topic = text.parse().expect("a topic");
                let found: BTreeSet<u32> =
                    index.matching(called(&topic)).into_keys().map(|set| set.0).collect();
                let expected: BTreeSet<u32> = (0u32..)
                    .zip(&patterns)
                    .filter(|(_, pattern)| pattern.matches(&topic))
                    .map(|(number, _)| number)
                    .collect();
                prop_assert_eq!(found, expected, "{}", topic);
            }
            for (number, pattern) in patterns.iter().enumerate() {
                index.remove(pattern, SetId(number as u32));
            }
            prop_assert!(index.is_empty());
        }
    }
}
