//! The topics in the answer to `list`, by the session's permissions.
//!
//! For each topic, one bit says whether some permissions cover it: 1.25 KB for 10,000 topics. It is
//! computed once. So a list costs its own length, however many sessions with different permissions
//! ask for it.

use std::collections::HashMap;
use std::sync::Arc;

use auth::Permissions;
use market_core::Topic;

use crate::sessions::called::Called;

/// Most different permissions for which these bits are kept.
const PERMISSIONS_MAX: usize = 1_024;

/// Which topics some permissions cover.
#[derive(Debug, Default)]
struct Permitted {
    bits: Vec<u64>,
    /// The number of topics for which this is known.
    known: usize,
    /// When it was last asked for.
    asked: u64,
}

/// The state of topics and permissions.
#[derive(Debug, Default)]
pub(super) struct TopicLists {
    by_permissions: HashMap<Arc<Permissions>, Permitted>,
    /// The known topics, in the order of their names.
    sorted: Vec<usize>,
    asked: u64,
}

impl TopicLists {
    /// At most `topics_max` topics for sessions with these permissions, or all, and whether there
    /// are more. `count` topics are known, and `called` says how one of them is called. `checks`
    /// rises by one for each topic that is compared with permissions.
    pub(super) fn of<'a>(
        &mut self,
        permissions: Option<Arc<Permissions>>,
        count: usize,
        called: impl Fn(usize) -> Called<'a>,
        topics_max: usize,
        checks: &mut u64,
    ) -> (Vec<Topic>, bool) {
        let mut sorted = std::mem::take(&mut self.sorted);
        if sorted.len() < count {
            sorted.extend(sorted.len()..count);
            sorted.sort_by(|&a, &b| called(a).topic.cmp(called(b).topic));
        }
        let permitted =
            permissions.map(|permissions| self.permitted(&permissions, count, &called, checks));
        // A client does not learn the topics that other clients ask for.
        let is_public = |&&index: &&usize| !called(index).is_folded;
        let is_listed = |&&index: &&usize| permitted.is_none_or(|permitted| permitted.has(index));
        let mut topics: Vec<Topic> = sorted
            .iter()
            .filter(is_public)
            .filter(is_listed)
            .take(topics_max.saturating_add(1))
            .map(|&index| called(index).topic.clone())
            .collect();
        let is_truncated = topics.len() > topics_max;
        topics.truncate(topics_max);
        self.sorted = sorted;
        (topics, is_truncated)
    }

    /// The known topics that these permissions cover.
    fn permitted<'a>(
        &mut self,
        permissions: &Arc<Permissions>,
        count: usize,
        called: impl Fn(usize) -> Called<'a>,
        checks: &mut u64,
    ) -> &Permitted {
        self.asked += 1;
        if !self.by_permissions.contains_key(permissions) {
            self.make_room();
        }
        let permitted = self
            .by_permissions
            .entry(Arc::clone(permissions))
            .or_default();
        permitted.asked = self.asked;
        permitted.bits.resize(count.div_ceil(64), 0);
        for index in permitted.known..count {
            *checks += 1;
            let bit = u64::from(permissions.permits(called(index).topic));
            permitted.bits[index / 64] |= bit << (index % 64);
        }
        permitted.known = count;
        permitted
    }

    /// Forgets the entry that was not used for the longest time, if another would exceed the limit.
    fn make_room(&mut self) {
        if self.by_permissions.len() < PERMISSIONS_MAX {
            return;
        }
        let oldest = self
            .by_permissions
            .iter()
            .min_by_key(|(_, permitted)| permitted.asked)
            .map(|(permissions, _)| Arc::clone(permissions));
        if let Some(oldest) = oldest {
            self.by_permissions.remove(&oldest);
        }
    }
}

impl Permitted {
    fn has(&self, index: usize) -> bool {
        let bits = self.bits.get(index / 64).copied().unwrap_or(0);
        bits >> (index % 64) & 1 == 1
    }
}
