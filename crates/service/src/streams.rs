//! The streams of the product, for every program that connects to the bus.

use bus::StreamSpec;
use market_core::channel::{self, KLINE};

/// The bus's streams, by the table of channels.
pub fn streams() -> Vec<StreamSpec> {
    channel::kept_roots()
        .map(|(root, kept)| {
            let spec = StreamSpec::newest(root, kept.messages_per_subject, kept.is_durable);
            // It has the leases, too.
            spec.fenced(root == KLINE.record_root())
        })
        .collect()
}
