//! The subscriptions of a session, as a list that is changed.

use std::collections::HashSet;
use std::sync::Arc;

use market_core::TopicPattern;
use market_core::protocol::Filter;

use crate::sessions::topic_set::Spec;

/// The number of patterns that are compared with all topics.
pub(super) fn wildcards_in(spec: &Spec) -> usize {
    let has_wildcard = |pattern: &TopicPattern| pattern.as_topic().is_none();
    spec.iter()
        .filter(|(pattern, _)| has_wildcard(pattern))
        .count()
}

/// Bytes of the names of subscriptions.
pub(super) fn name_bytes(spec: &Spec) -> usize {
    spec.iter().map(|(pattern, _)| pattern.as_str().len()).sum()
}

/// The old subscriptions with `patterns` added or changed to `filter`.
pub(super) fn merge(old: &Spec, patterns: &[TopicPattern], filter: Filter) -> Spec {
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

/// The patterns in order, without duplicates.
pub(super) fn without_duplicates(mut patterns: Vec<TopicPattern>) -> Vec<TopicPattern> {
    let mut seen = HashSet::new();
    patterns.retain(|pattern| seen.insert(pattern.clone()));
    patterns
}
