//! Publications that are traced, on their way from ingest to the shards.

use metrics::counter;
use service::LINKS_MAX;

use super::News;
use crate::topics::slot_id::SlotId;
use crate::topics::traced::Traced;

impl News {
    /// The shard hears of a traced publication. A flush tells of no more than [`LINKS_MAX`].
    pub(super) fn trace(&mut self, slot: SlotId, is_lasting: bool, traced: Traced) {
        if self.traced.len() < LINKS_MAX {
            self.traced.push((slot, is_lasting, traced));
        } else {
            counter!("gateway_trace_links_dropped_total").increment(1);
        }
    }
}
