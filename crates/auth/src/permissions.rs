//! What a token permits.

use std::collections::{BTreeSet, HashSet};
use std::sync::{Arc, Mutex};

use market_core::{Topic, TopicPattern};

/// Topics and patterns that a session may subscribe.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Permissions {
    /// All of them, for exact look-ups.
    patterns: BTreeSet<TopicPattern>,
    /// The patterns with wildcards.
    wildcards: Box<[TopicPattern]>,
}

impl Permissions {
    /// Permits the topics that any of the patterns covers.
    #[must_use]
    pub fn new(patterns: Vec<TopicPattern>) -> Self {
        let patterns: BTreeSet<_> = patterns.into_iter().collect();
        let wildcards = patterns
            .iter()
            .filter(|pattern| pattern.as_topic().is_none());
        Self {
            wildcards: wildcards.cloned().collect(),
            patterns,
        }
    }

    /// How many of them have wildcards: each is compared with each requested topic.
    #[must_use]
    pub(crate) fn wildcard_count(&self) -> usize {
        self.wildcards.len()
    }

    /// Whether all of `wanted` is permitted: one pattern must cover every topic that it matches,
    /// now or later. Patterns that only several patterns cover together are not permitted.
    #[must_use]
    pub fn covers(&self, wanted: &TopicPattern) -> bool {
        self.patterns.contains(wanted)
            || self.wildcards.iter().any(|pattern| pattern.covers(wanted))
    }

    /// Whether the topic is permitted.
    #[must_use]
    pub fn permits(&self, topic: &Topic) -> bool {
        self.wildcards.iter().any(|pattern| pattern.matches(topic))
            || self.patterns.contains(&TopicPattern::from(topic.clone()))
    }

    /// The patterns for an error's text, the first few of them.
    #[must_use]
    pub fn describe(&self) -> String {
        const NAMED_MAX: usize = 5;
        let named: Vec<&str> = self
            .patterns
            .iter()
            .take(NAMED_MAX)
            .map(TopicPattern::as_str)
            .collect();
        match (named.len(), self.patterns.len()) {
            (0, _) => "nothing".to_owned(),
            (few, all) if few < all => format!("{} and {} more", named.join(", "), all - few),
            _ => named.join(", "),
        }
    }
}

/// Permissions in use, so that sessions with the same permissions share them: most tokens are made
/// from a few plans.
#[derive(Debug, Default)]
pub(crate) struct PermissionPool {
    held: Mutex<HashSet<Arc<Permissions>>>,
}

/// Most permissions before unused ones are removed.
const POOL_SWEEP: usize = 1_024;

impl PermissionPool {
    /// These permissions, shared with other sessions that have the same.
    pub(crate) fn share(&self, permissions: Permissions) -> Arc<Permissions> {
        let mut held = self.held.lock().expect("no holder panics");
        if let Some(shared) = held.get(&permissions) {
            return Arc::clone(shared);
        }
        if held.len() >= POOL_SWEEP && held.len() == held.capacity() {
            // Only when the set would have to grow, so this costs little.
            held.retain(|shared| Arc::strong_count(shared) > 1);
        }
        let shared = Arc::new(permissions);
        held.insert(Arc::clone(&shared));
        shared
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn patterns(texts: &[String]) -> Vec<TopicPattern> {
        texts.iter().filter_map(|text| text.parse().ok()).collect()
    }

    proptest! {
        #[test]
        fn what_is_covered_holds_only_permitted_topics(
            permitted in proptest::collection::vec("(kline|a)(:(1m|b|A-B|\\*)){1,2}(:>)?", 0..4),
            wanted in "(kline|a)(:(1m|b|A-B|\\*)){1,2}(:>)?",
            topics in proptest::collection::vec("(kline|a):(1m|1h|b|c)(:(A-B|C-D|b|OKX:A-B))?", 1..20),
        ) {
            let permissions = Permissions::new(patterns(&permitted));
            let Ok(wanted) = wanted.parse::<TopicPattern>() else { return Ok(()) };
            for topic in topics.iter().filter_map(|text| text.parse::<Topic>().ok()) {
                if permissions.covers(&wanted) && wanted.matches(&topic) {
                    prop_assert!(permissions.permits(&topic), "{wanted} leaks {topic}");
                }
                let exact: TopicPattern = topic.as_str().parse().expect("a topic is a pattern");
                prop_assert_eq!(permissions.covers(&exact), permissions.permits(&topic));
            }
        }
    }

    #[test]
    fn the_same_permissions_are_shared_and_those_of_nobody_are_forgotten() {
        let pool = PermissionPool::default();
        let of = |number: usize| Permissions::new(patterns(&[format!("a:{number}")]));
        let kept = pool.share(of(0));
        assert!(Arc::ptr_eq(&kept, &pool.share(of(0))));
        for number in 1..20 * POOL_SWEEP {
            let _ = pool.share(of(number));
        }
        assert!(pool.held.lock().expect("no holder panics").len() <= 4 * POOL_SWEEP);
        assert!(Arc::ptr_eq(&kept, &pool.share(of(0))));
    }

    #[test]
    fn a_description_is_short() {
        let many: Vec<String> = (0..9).map(|number| format!("a:{number}")).collect();
        let permissions = Permissions::new(patterns(&many));
        assert_eq!(permissions.describe(), "a:0, a:1, a:2, a:3, a:4 and 4 more");
        assert_eq!(Permissions::new(Vec::new()).describe(), "nothing");
    }
}
