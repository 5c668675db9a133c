//! The updates of one topic in a batch.

use bytes::Bytes;
use market_core::protocol::encode_skipped;

use super::view::View;
use crate::topics::state::Delta;
use client_frames::encode::batch::Batch;
use client_frames::encode::payload::Payload;

/// Adds the updates of a topic that a session lacks, and returns the number of closed bars that are
/// skipped.
pub(super) fn push_delta(batch: &mut Batch, view: &View, delta: Delta) -> u64 {
    let topic = &view.slot.topic;
    let mut skipped = delta.skipped;
    let skipped_bars = match view.is_log {
        true => {
            batch.skip_entries(skipped);
            0
        }
        false => skipped,
    };
    if delta.updates.is_empty() && skipped > 0 {
        // All bars or entries that remain of the topic are declined, so no message can carry the number.
        let said = Bytes::from(encode_skipped(topic, skipped));
        batch.push(Payload::from(said), 0);
    }
    for update in delta.updates {
        batch.push(update, skipped);
        skipped = 0;
    }
    skipped_bars
}
