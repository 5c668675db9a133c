//! The streams of the product, for every program that connects to the bus.

use bus::StreamSpec;
use market_core::channel;

/// The bus's streams, by the table of channels.
pub fn streams() -> Vec<StreamSpec> {
    channel::kept_roots()
        .map(|(root, kept)| StreamSpec::newest(root, kept.messages_per_subject, kept.is_durable))
        .collect()
}
