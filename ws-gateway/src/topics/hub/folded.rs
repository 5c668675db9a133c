//! The slots of topics whose bars are folded here.

use std::sync::Arc;

use bytes::Bytes;
use client_frames::dialect::binance::stream;
use client_frames::encode::payload::Payload;
use market_core::Topic;
use market_core::protocol::Filter;

use super::{Core, Hub, HubFull};
use crate::topics::endings::{EndingCounts, EndingKind};
use crate::topics::slot_id::SlotId;
use crate::topics::state::Slot;

impl Hub {
    /// A slot for a topic whose bars are folded here, until [`Hub::release`]; `None` if it has one
    /// already, because it is published.
    ///
    /// # Errors
    /// [`HubFull`].
    pub(crate) fn folded_slot(&self, topic: &Topic) -> Result<Option<SlotId>, HubFull> {
        let mut core = self.core();
        if self.find(topic).is_some() {
            return Ok(None);
        }
        let slot = Slot::folded(topic.clone());
        let id = match core.endings.take_free() {
            Some(id) => core.renew(id, slot),
            None => core.append(slot, self.topics_max)?,
        };
        self.topics.insert(topic.clone(), id);
        Ok(Some(id))
    }

    /// Nobody offers bars to a folded slot any more: it ends.
    pub(crate) fn release(&self, id: SlotId) {
        let mut core = self.core();
        self.end(&mut core, id);
        if core.endings.released(id) {
            core.empty(id);
        }
    }

    /// Whether a folded slot has ended, because its topic is published now.
    #[must_use]
    pub(crate) fn has_ended(&self, id: SlotId) -> bool {
        self.core().endings.has(id)
    }

    /// How many slots have ended that some shard still knows.
    #[must_use]
    pub(crate) fn ending_counts(&self) -> EndingCounts {
        self.core().endings.counts()
    }

    pub(super) fn end(&self, core: &mut Core, id: SlotId) {
        let topic = &core.slots[id.index()].slot.topic;
        let kind = match stream::is_stream(&topic.clone().into()) {
            true => EndingKind::Stream,
            false => EndingKind::Fold,
        };
        if !core.endings.begin(id, kind) {
            return;
        }
        self.topics.remove_if(topic, |_, held| *held == id);
        for (news, signal) in core.news.iter_mut().zip(&self.signals) {
            news.ended.push(id);
            signal.notify_one();
        }
    }

    /// The topic of a slot.
    #[must_use]
    pub(crate) fn topic_of(&self, id: SlotId) -> Topic {
        self.core().slots[id.index()].slot.topic.clone()
    }

    /// The closed bars of a topic that are held whole, by their start, and its forming bar.
    #[must_use]
    pub(crate) fn held_bars(&self, topic: &Topic) -> (Vec<Bytes>, Option<Bytes>) {
        let Some(id) = self.find(topic) else {
            return (Vec::new(), None);
        };
        let slot = Arc::clone(&self.core().slots[id.index()].slot);
        let state = slot.state();
        let newest = state.newest();
        let seam = state.seam(None, u64::MAX, Filter::default(), None);
        let json = |payload: &Payload| payload.json().clone();
        let held = seam.held.iter().map(|bar| json(&bar.payload)).collect();
        (held, newest.map(|newest| json(&newest.payload)))
    }
}
