//! The topics that `list` names, kept for the next who may see the same.

use std::sync::Arc;

use super::View;
use crate::auth::Permissions;

/// Lists kept at most.
const LISTS_MAX: usize = 16;

/// The known topics that may be seen under some permissions.
#[derive(Debug)]
pub(super) struct TopicList {
    permissions: Option<Arc<Permissions>>,
    /// How many topics were known.
    known: usize,
    /// JSON array of them, sorted.
    pub topics: String,
    /// Whether there are more.
    pub is_truncated: bool,
}

/// The last lists, the youngest last.
#[derive(Debug, Default)]
pub(super) struct TopicLists {
    lists: Vec<TopicList>,
}

impl TopicLists {
    /// The list of at most `topics_max` topics for those who have these permissions, or all.
    pub(super) fn of(
        &mut self,
        permissions: Option<Arc<Permissions>>,
        views: &[View],
        topics_max: usize,
    ) -> &TopicList {
        let at = self
            .lists
            .iter()
            .position(|list| list.permissions == permissions);
        let list = match at.map(|at| self.lists.remove(at)) {
            Some(list) if list.known == views.len() => list,
            _ => TopicList::new(permissions, views, topics_max),
        };
        if self.lists.len() >= LISTS_MAX {
            self.lists.remove(0);
        }
        self.lists.push(list);
        self.lists.last().expect("pushed above")
    }
}

impl TopicList {
    fn new(permissions: Option<Arc<Permissions>>, views: &[View], topics_max: usize) -> Self {
        let mut topics: Vec<&str> = views
            .iter()
            .map(|view| &view.slot.topic)
            .filter(|topic| {
                permissions
                    .as_ref()
                    .is_none_or(|permissions| permissions.permits(topic))
            })
            .map(|topic| topic.as_str())
            .collect();
        topics.sort_unstable();
        let is_truncated = topics.len() > topics_max;
        topics.truncate(topics_max);
        Self {
            known: views.len(),
            topics: serde_json::to_string(&topics).expect("strings are valid JSON"),
            is_truncated,
            permissions,
        }
    }
}
