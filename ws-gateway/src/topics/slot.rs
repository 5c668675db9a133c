//! One topic and its state, as the hub holds it.

use std::sync::{Mutex, MutexGuard};

use market_core::Topic;

pub(crate) use crate::topics::slot_id::SlotId;
use crate::topics::state::TopicState;

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
