//! The epochs of what comes from Kafka: one for all bridges, so that whoever takes partitions over goes
//! on with a higher one, whatever its clock says.

use bus::{Append, Bus, BusError, Expected};
use bytes::Bytes;
use market_core::clock::EPOCH_AHEAD_MAX_MS;
use market_core::subject;
use tracing::error;

/// An epoch above all that any bridge had, and above the newest one of the publishers. It is a time,
/// if the clocks are right. One that is more than a day ahead of `now_ms` is ignored: no gateway would
/// believe it.
///
/// # Errors
/// As [`bus::StreamStore::append`].
pub(crate) async fn next(bus: &dyn Bus, now_ms: u64) -> Result<u64, BusError> {
    let streams = bus.streams();
    let publishers = streams.last(subject::EPOCH).await?;
    let publishers = publishers.map_or(0, |kept| believed(&kept.payload, now_ms));
    loop {
        let last = streams.last(subject::BRIDGE_EPOCH).await?;
        let sequence = last.as_ref().and_then(|last| last.position.as_deref());
        let sequence = sequence.map_or(0, |position| position.sequence);
        let before = last.map_or(0, |kept| believed(&kept.payload, now_ms));
        let epoch = before.max(publishers).saturating_add(1).max(now_ms);
        let append = Append {
            expected: Some(Expected::LastOfSubject(sequence)),
            ..Append::new(subject::BRIDGE_EPOCH, Bytes::from(epoch.to_string()))
        };
        match streams.append(append).await {
            Ok(_) => return Ok(epoch),
            // Another bridge was faster.
            Err(BusError::NotAsExpected { .. }) => {}
            Err(error) => return Err(error),
        }
    }
}

fn believed(payload: &[u8], now_ms: u64) -> u64 {
    let text = std::str::from_utf8(payload).unwrap_or_default();
    let epoch = text.trim().parse().unwrap_or(0);
    if epoch > now_ms.saturating_add(EPOCH_AHEAD_MAX_MS) {
        error!(
            epoch,
            "an epoch on the bus is more than a day ahead of this host's clock and is ignored: set the clock right, or purge state.epoch.marketdata and state.bridge.epoch.newest"
        );
        return 0;
    }
    epoch
}

#[cfg(test)]
mod tests {
    use bus::MemoryBus;

    use super::*;

    #[tokio::test]
    async fn epochs_rise_whatever_the_clocks_say() {
        let bus = MemoryBus::with_streams(&service::streams());
        let now_ms = 1_700_000_000_000;
        assert_eq!(next(&bus, now_ms).await, Ok(now_ms));
        // The clock of another bridge is behind.
        assert_eq!(next(&bus, now_ms - 60_000).await, Ok(now_ms + 1));
        let newest = (now_ms + 5_000).to_string();
        let kept = bus.publish_durable(subject::EPOCH, newest.into());
        kept.await.expect("it is kept");
        assert_eq!(next(&bus, now_ms).await, Ok(now_ms + 5_001));
        let ahead = (now_ms + EPOCH_AHEAD_MAX_MS + 1).to_string();
        let kept = bus.publish_durable(subject::BRIDGE_EPOCH, ahead.into());
        kept.await.expect("it is kept");
        assert_eq!(next(&bus, now_ms).await, Ok(now_ms + 5_001));
        let kept = bus.publish_durable(subject::BRIDGE_EPOCH, "x".into());
        kept.await.expect("it is kept");
        assert_eq!(next(&bus, now_ms).await, Ok(now_ms + 5_001));
    }
}
