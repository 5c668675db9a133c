//! Changes that are traced, until they are sent.

use metrics::counter;
use service::LINKS_MAX;

use super::Subscriptions;
use crate::topics::slot_id::SlotId;
use crate::topics::traced::Traced;

impl Subscriptions {
    /// A change of a slot is traced: it waits for the flush that sends it. One that no session gets
    /// is forgotten.
    pub(super) fn trace(&mut self, slot: SlotId, is_lasting: bool, traced: Traced) {
        let mut filters = self.views[slot.index()].sets.values();
        if !filters.any(|filter| is_lasting || !filter.closed_only) {
            return;
        }
        if self.traced.len() < LINKS_MAX {
            self.traced.push((slot, traced));
        } else {
            counter!("gateway_trace_links_dropped_total").increment(1);
        }
    }

    /// The traced changes that no set of topics waits to send any more. A newer bar may have gone
    /// out in the place of a forming one.
    pub(in crate::sessions::shard) fn take_sent(&mut self) -> Vec<Traced> {
        // Nothing is allocated while nothing is traced.
        let mut sent = Vec::new();
        let (views, sets) = (&self.views, &self.sets);
        self.traced.retain(|(slot, traced)| {
            let of_slot = &views[slot.index()].sets;
            let mut changes = of_slot.keys().filter_map(|&id| sets.try_get(id));
            let waits = changes.any(|set| set.changes.is_some());
            // Its sessions may have given it up meanwhile.
            if !waits && !of_slot.is_empty() {
                sent.push(*traced);
            }
            waits
        });
        sent
    }
}
