//! Topics whose publications are followed, because events of streams are made of them.
//!
//! Ingest only notes that such a topic has changed. The events are made by a task of their own, of
//! the newest publications.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use market_core::Topic;

use super::Hub;
use crate::topics::followed::{AllOf, Origin};
use crate::topics::slot_id::SlotId;
use crate::topics::state::{Offered, Slot, StreamUpdate};

impl Hub {
    /// Publications of these topics are followed from now on.
    pub(crate) fn follow(&self, origin: &Origin) {
        let followed = &mut self.core().followed;
        match origin {
            Origin::One(topic) => *followed.topics.entry(topic.clone()).or_default() += 1,
            Origin::All(all) => *followed.all.entry(*all).or_default() += 1,
        }
    }

    /// One of those who follow does so no more.
    pub(crate) fn unfollow(&self, origin: &Origin) {
        let followed = &mut self.core().followed;
        match origin {
            Origin::One(topic) => one_less(&mut followed.topics, topic),
            Origin::All(all) => one_less(&mut followed.all, all),
        }
    }

    /// Completes once a followed topic may have changed.
    pub(crate) async fn followed(&self) {
        self.followed_signal.notified().await;
    }

    /// The followed topics that have changed since the last call, with their newest publications.
    pub(crate) fn take_followed(&self) -> Vec<(Topic, Vec<Bytes>)> {
        let slots: Vec<Arc<Slot>> = {
            let mut core = self.core();
            core.followed.is_changed.clear();
            let changed = std::mem::take(&mut core.followed.changed);
            let slot_of = |id: SlotId| Arc::clone(&core.slots[id.index()].slot);
            changed.into_iter().map(slot_of).collect()
        };
        let newest = |slot: Arc<Slot>| (slot.topic.clone(), slot.state().publications());
        slots.into_iter().map(newest).collect()
    }

    /// The publications of a topic that are held, the newest last.
    #[must_use]
    pub(crate) fn publications(&self, topic: &Topic) -> Vec<Bytes> {
        let Some(id) = self.find(topic) else {
            return Vec::new();
        };
        let slot = Arc::clone(&self.core().slots[id.index()].slot);
        slot.state().publications()
    }

    /// The topics of all symbols.
    #[must_use]
    pub(crate) fn all_of(&self, all: AllOf) -> Vec<Topic> {
        let topics = self.topics.iter().map(|entry| entry.key().clone());
        topics.filter(|topic| all.has(topic)).collect()
    }

    /// Takes what has come for the stream of a slot. It holds at most `books_max` books beside the
    /// newest.
    pub(crate) fn offer_stream(
        &self,
        id: SlotId,
        name: &Arc<str>,
        update: StreamUpdate,
        books_max: usize,
        now: Instant,
    ) -> Offered {
        let mut core = self.core();
        let core = &mut *core;
        if core.endings.has(id) {
            return Offered::Stale;
        }
        let version = core.version + 1;
        let offered = {
            let mut state = core.slots[id.index()].slot.state();
            state.offer_stream(name, update, version, books_max)
        };
        if matches!(offered, Offered::New { .. }) {
            self.note(core, id, "", true, now);
        }
        offered
    }
}

/// Counts one of those who follow less.
fn one_less<K: Eq + Hash>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            counts.remove(key);
        }
    }
}
