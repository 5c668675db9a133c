//! The topics that patterns match.

use std::collections::HashSet;

use market_core::{Topic, TopicPattern};

use super::subscriptions::Subscriptions;
use crate::topics::slot_id::SlotId;

/// The topics of a request's patterns.
#[derive(Debug, Default)]
pub(super) struct Requested {
    pub(super) slots: HashSet<SlotId>,
    /// Patterns without data so far.
    pub(super) without_data: Vec<TopicPattern>,
}

impl Subscriptions {
    /// The slots that a pattern matches, as far as this shard has pulled them.
    pub(super) fn expand(&self, pattern: &TopicPattern, slots: &mut Vec<SlotId>) {
        if let Some(topic) = pattern.as_topic() {
            if let Some((slot, _)) = self.view_of(&topic) {
                slots.push(slot);
            } else if let Some((plain, exchange)) = topic.without_exchange()
                && let Some((slot, view)) = self.view_of(&plain)
                && view.exchange.as_deref() == Some(&*exchange)
            {
                slots.push(slot);
            }
            return;
        }
        let text = pattern.as_str();
        let literal = &text[..text.find(['*', '>']).unwrap_or(text.len())];
        let views = self.views.iter().enumerate();
        for (index, view) in views.filter(|(_, view)| !view.slot.is_folded) {
            let is_match =
                |topic: &Topic| topic.as_str().starts_with(literal) && pattern.matches(topic);
            if is_match(&view.slot.topic) || view.alias.as_ref().is_some_and(is_match) {
                slots.push(SlotId(
                    u32::try_from(index).expect("fewer than 2^32 topics"),
                ));
            }
        }
    }

    /// What patterns stand for.
    pub(super) fn expand_all(&self, patterns: &[TopicPattern]) -> Requested {
        let mut requested = Requested::default();
        let mut slots = Vec::new();
        let mut seen = HashSet::new();
        for pattern in patterns.iter().filter(|pattern| seen.insert(*pattern)) {
            slots.clear();
            self.expand(pattern, &mut slots);
            if slots
                .iter()
                .all(|&slot| self.views[slot.index()].newest_version == 0)
            {
                requested.without_data.push(pattern.clone());
            }
            requested.slots.extend(&slots);
        }
        requested
    }
}
