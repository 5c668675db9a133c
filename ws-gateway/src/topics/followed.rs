//! Topics whose publications are followed, because events of streams are made of them.

use std::collections::{HashMap, HashSet};

use market_core::Topic;
use market_core::channel::{KLINE, TICKER};

use crate::topics::slot_id::SlotId;

/// The topics of all symbols.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum AllOf {
    /// Tickers.
    Tickers,
    /// Bars of a minute.
    Minutes,
}

impl AllOf {
    /// Whether a topic is one of them.
    pub(crate) fn has(self, topic: &Topic) -> bool {
        match self {
            Self::Tickers => TICKER.rest(topic.as_str(), ':').is_some(),
            Self::Minutes => {
                let bars = KLINE.rest(topic.as_str(), ':');
                bars.is_some_and(|bars| bars.starts_with("1m:"))
            }
        }
    }
}

/// Of which topics a stream is made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Origin {
    /// Of one.
    One(Topic),
    /// Of those of all symbols.
    All(AllOf),
}

/// What is followed, and what of it has changed.
#[derive(Debug, Default)]
pub(crate) struct Followed {
    /// How many streams follow each topic.
    pub(crate) topics: HashMap<Topic, usize>,
    /// How many streams follow the topics of all symbols.
    pub(crate) all: HashMap<AllOf, usize>,
    pub(crate) changed: Vec<SlotId>,
    /// The same.
    pub(crate) is_changed: HashSet<SlotId>,
}

impl Followed {
    /// A topic has changed. True if it is the first one since `take_followed` of the hub.
    pub(crate) fn changed(&mut self, id: SlotId, topic: &Topic) -> bool {
        if self.topics.is_empty() && self.all.is_empty() {
            return false;
        }
        let is_of_all = self.all.keys().any(|all| all.has(topic));
        if !(is_of_all || self.topics.contains_key(topic)) || !self.is_changed.insert(id) {
            return false;
        }
        self.changed.push(id);
        self.changed.len() == 1
    }
}
