//! One topic's index in the hub.

use std::sync::{Mutex, MutexGuard};

use market_core::Topic;

use crate::topics::state::TopicState;

/// Index of a topic's slot. The slots of published topics are never removed; that of a folded topic
/// ends with its fold, and another folded topic gets the index once no shard knows the former.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct SlotId(pub u32);

impl SlotId {
    /// As an index.
    #[must_use]
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// One topic and its state.
#[derive(Debug)]
pub(crate) struct Slot {
    /// The topic.
    pub topic: Topic,
    /// Whether its bars are folded here because a session asked for them: only its whole name finds
    /// it, no wildcard, and no list.
    pub is_folded: bool,
    state: Mutex<TopicState>,
}

impl Slot {
    /// The slot of a topic without data.
    #[must_use]
    pub(crate) fn new(topic: Topic) -> Self {
        Self {
            topic,
            is_folded: false,
            state: Mutex::default(),
        }
    }

    /// The same of a topic whose bars are folded here.
    #[must_use]
    pub(crate) fn folded(topic: Topic) -> Self {
        Self {
            is_folded: true,
            ..Self::new(topic)
        }
    }

    /// The state, locked: lock it briefly and never across an await.
    pub(crate) fn state(&self) -> MutexGuard<'_, TopicState> {
        self.state.lock().expect("no holder panics")
    }
}
