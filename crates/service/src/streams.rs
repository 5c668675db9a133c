//! The streams of the product, for every program that connects to the bus.

use std::time::Duration;

use bus::StreamSpec;
use market_core::channel::{self, KLINE};

const HOUR_SECONDS: u64 = 3_600;

/// The bus's streams, by the table of channels.
pub fn streams() -> Vec<StreamSpec> {
    channel::kept_roots()
        .map(|(root, kept)| {
            let spec = StreamSpec::newest(root, kept.messages_per_subject, kept.is_durable);
            let seconds = kept.hours_max.map(|hours| hours * HOUR_SECONDS);
            StreamSpec {
                age_max: seconds.map(Duration::from_secs),
                bytes_max: kept.bytes_max,
                // It has the leases, too.
                ..spec.fenced(root == KLINE.record_root())
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use bus::{Bus, BusConfig, MemoryBus};
    use market_core::channel::ALERT;

    use super::*;

    /// A rule that is removed leaves its topics behind, and rules can be made without end.
    #[tokio::test]
    async fn alerts_of_any_number_of_rules_take_a_bounded_room_on_the_bus() {
        let streams = streams();
        let alerts = streams.iter().find(|stream| stream.root == ALERT.root);
        let alerts = alerts.expect("alerts are kept");
        assert_eq!(alerts.age_max, Some(Duration::from_secs(30 * 24 * 3_600)));
        let bytes_max = alerts.bytes_max.expect("bounded");
        let bus = MemoryBus::new(&BusConfig::default(), &streams).expect("a bus");
        let payload = vec![b' '; 64 << 10];
        let rules = bytes_max / payload.len() as u64 + 10;
        for rule in 0..rules {
            let subject = format!("{}.r{rule}.A-B", ALERT.root);
            let published = bus.publish_durable(&subject, payload.clone().into());
            published.await.expect("the bus takes it");
        }
        let status = bus.streams().status(ALERT.root).await.expect("a status");
        let status = status.expect("it is there");
        assert!(status.bytes <= bytes_max, "{status:?}");
        assert_eq!(status.last_sequence, rules);
    }
}
