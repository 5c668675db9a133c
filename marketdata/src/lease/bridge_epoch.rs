//! The newest epoch of what bridges bring from Kafka. Leases are taken with numbers above it: a
//! gateway drops what it takes for older than the bars that Kafka has brought of a symbol.

use std::time::{Duration, Instant};

use bus::{Bus, BusError, LogLimit};
use market_core::subject;
use tokio::sync::Mutex;
use tokio::time::timeout;
use tracing::{error, warn};

use crate::host_clock::now_ms;
use crate::rivals::is_plausible;

/// How long an answer counts: many leases are taken together.
const FRESH_MAX: Duration = Duration::from_millis(50);
/// How long the bus may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(1);
/// How often the same is logged.
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// See the module.
pub(crate) struct BridgeEpoch {
    known: Mutex<Option<Known>>,
    told: LogLimit,
}

struct Known {
    asked_at: Instant,
    above: u64,
}

impl Default for BridgeEpoch {
    fn default() -> Self {
        Self {
            known: Mutex::new(None),
            told: LogLimit::new(TOLD_EVERY),
        }
    }
}

impl BridgeEpoch {
    /// A number above the epochs of all bridges. If the bus does not say which those are, it is the
    /// time, which they are if the clocks are right.
    pub(crate) async fn above(&self, bus: &dyn Bus) -> u64 {
        let mut known = self.known.lock().await;
        if let Some(known) = &*known
            && known.asked_at.elapsed() < FRESH_MAX
        {
            return known.above;
        }
        let asked_at = Instant::now();
        let before = known.as_ref().map_or(0, |known| known.above);
        let above = before.max(self.ask(bus).await);
        *known = Some(Known { asked_at, above });
        above
    }

    async fn ask(&self, bus: &dyn Bus) -> u64 {
        let now = now_ms();
        let answer = timeout(ANSWER_MAX, bus.streams().last(subject::BRIDGE_EPOCH)).await;
        let kept = match answer {
            Ok(Ok(kept)) => kept,
            // No bridge could keep one either.
            Ok(Err(BusError::NotRetained { .. })) => None,
            Ok(Err(error)) => {
                self.tell_unknown(&error.to_string());
                return now.unsigned_abs();
            }
            Err(_) => {
                self.tell_unknown("no answer in time");
                return now.unsigned_abs();
            }
        };
        let epoch = kept.and_then(|kept| epoch_in(&kept.payload)).unwrap_or(0);
        if is_plausible(epoch, now) {
            return epoch.saturating_add(1);
        }
        metrics::counter!("marketdata_epochs_refused_total").increment(1);
        if self.told.pass(Instant::now(), 1).is_some() {
            error!(
                epoch,
                subject = subject::BRIDGE_EPOCH,
                "the epoch of the bridges is more than a day ahead of this host's clock and is ignored: set the clocks right, or purge the subject"
            );
        }
        0
    }

    fn tell_unknown(&self, error: &str) {
        if let Some(failures) = self.told.pass(Instant::now(), 1) {
            warn!(
                error,
                failures,
                "the bus does not say the epoch of the bridges: leases are taken with the time as their number"
            );
        }
    }
}

/// What a message says that keeps an epoch.
pub(crate) fn epoch_in(payload: &[u8]) -> Option<u64> {
    std::str::from_utf8(payload).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use bus::MemoryBus;
    use market_core::clock::EPOCH_AHEAD_MAX_MS;

    use super::*;

    #[tokio::test]
    async fn number_is_above_the_epochs_of_bridges_that_can_be_believed() {
        let bus = MemoryBus::with_streams(&service::streams());
        let asked = async || BridgeEpoch::default().above(&bus).await;
        assert_eq!(asked().await, 1);
        let now = now_ms().unsigned_abs();
        for (kept, above) in [
            ("7".to_owned(), 8),
            ("x".to_owned(), 1),
            ((now + 60_000).to_string(), now + 60_001),
            ((now + 2 * EPOCH_AHEAD_MAX_MS).to_string(), 0),
            (u64::MAX.to_string(), 0),
        ] {
            let payload = kept.clone().into();
            let kept_there = bus.publish_durable(subject::BRIDGE_EPOCH, payload).await;
            kept_there.expect("it is kept");
            assert_eq!(asked().await, above, "{kept}");
        }
        // A bus that does not keep it has none.
        assert_eq!(
            BridgeEpoch::default()
                .above(&MemoryBus::with_streams(&[]))
                .await,
            1
        );
        // A bus that is away says nothing.
        bus.drain().await.expect("it is closed");
        assert!(asked().await >= now);
    }
}
