//! Topics whose publications are followed, because events of streams are made of them.

use std::collections::{HashMap, HashSet};

use market_core::Topic;
use market_core::channel::TICKER;

use crate::topics::slot_id::SlotId;

/// What is followed, and what of it has changed.
#[derive(Debug, Default)]
pub(crate) struct Followed {
    /// How many streams follow each topic.
    pub(crate) topics: HashMap<Topic, usize>,
    /// How many streams follow the tickers of all symbols.
    pub(crate) all_tickers: usize,
    pub(crate) changed: Vec<SlotId>,
    /// The same.
    pub(crate) is_changed: HashSet<SlotId>,
}

impl Followed {
    /// A topic has changed. True if it is the first one since `take_followed` of the hub.
    pub(crate) fn changed(&mut self, id: SlotId, topic: &Topic) -> bool {
        if self.topics.is_empty() && self.all_tickers == 0 {
            return false;
        }
        let is_ticker = self.all_tickers > 0 && TICKER.rest(topic.as_str(), ':').is_some();
        if !(is_ticker || self.topics.contains_key(topic)) || !self.is_changed.insert(id) {
            return false;
        }
        self.changed.push(id);
        self.changed.len() == 1
    }
}
