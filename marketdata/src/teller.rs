//! The program's reports about itself: the feeds' status on the bus, and the reasons why it is not
//! ready.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bus::{Bus, BusError};
use market_core::subject;
use market_core::wire::{FeedState, JsonMessage};
use service::Condition;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::feed::status::FeedStatus;
use crate::feed::symbols::{SymbolState, SymbolSummary};
use crate::host_clock::{now_ms, wall_step_ms};
use crate::presence::Others;
use crate::publish::durable::{Lane, Trying};

/// How often the status is checked, and how often it is published at least.
const LOOK: Duration = Duration::from_millis(100);
const INTERVAL_MS: i64 = 1_000;
/// The smallest step of the wall clock that is reported.
const STEP_TOLD_MS: i64 = 1_000;

/// Whether closed bars are stored.
pub(crate) struct StoreWatch {
    pub(crate) lanes: Vec<Arc<Lane>>,
    /// How long the bus may take before the program is not ready.
    pub(crate) stall: Duration,
}

impl StoreWatch {
    /// Since when the bus has not stored a message, and its answer.
    fn oldest(&self) -> Option<Trying> {
        let trying = self.lanes.iter().filter_map(|lane| lane.trying());
        trying.min_by_key(|trying| trying.since)
    }

    /// How long the oldest message has waited for the bus, and an error if that is too long.
    fn look(&self, now: Instant) -> (Duration, Result<(), String>) {
        let Some(trying) = self.oldest() else {
            return (Duration::ZERO, Ok(()));
        };
        let waited = now.saturating_duration_since(trying.since);
        if waited < self.stall {
            return (waited, Ok(()));
        }
        (waited, Err(why_not_stored(trying.error, waited.as_secs())))
    }
}

/// What is wrong, and what to do.
fn why_not_stored(error: Option<BusError>, seconds: u64) -> String {
    match error {
        Some(BusError::JetStream { reason, .. }) => {
            format!("jetstream refuses writes: {reason}; restart nats-server when space is back")
        }
        // The symptom of a full disk, even after there is space again.
        None | Some(BusError::Timeout { .. }) => format!(
            "closed bars are not stored for {seconds} s, for jetstream does not answer; look at nats-server's /healthz and its disk, and restart nats-server when space is back"
        ),
        Some(error) => format!("closed bars are not stored for {seconds} s: {error}"),
    }
}

/// See the module.
pub(crate) struct Teller {
    pub(crate) statuses: Vec<Arc<FeedStatus>>,
    pub(crate) mode: String,
    pub(crate) stale_after_ms: i64,
    pub(crate) bus: Arc<dyn Bus>,
    /// The name of this program on the bus.
    pub(crate) publisher: String,
    pub(crate) others: Arc<Others>,
    pub(crate) store: StoreWatch,
    pub(crate) feeds_ready: Condition,
    pub(crate) bus_ready: Condition,
    pub(crate) store_ready: Condition,
}

impl Teller {
    /// Publishes each feed's status once a second and whenever its state changes, until `stop`.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let mut told: Vec<Told> = self.statuses.iter().map(|_| Told::default()).collect();
        let mut told_step_ms = 0;
        self.feeds_ready.unmet("no feed is live yet");
        while !stop.is_cancelled() {
            let mut is_any_live = false;
            let mut owned = 0;
            for (status, told) in self.statuses.iter().zip(&mut told) {
                let symbols = status.symbols();
                owned += symbols.total();
                if symbols.total() > 0 {
                    is_any_live |= self.tell(status, symbols, told).await;
                } else if told.state.take().is_some() {
                    let exchange = status.exchange();
                    symbols.record(exchange);
                    metrics::gauge!("marketdata_feed_live", "exchange" => exchange).set(0.0);
                    told.symbols = symbols;
                }
            }
            metrics::gauge!("marketdata_instruments_owned").set(owned as f64);
            // A program without instruments needs no feed.
            let is_fed = is_any_live || owned == 0;
            set(&self.feeds_ready, is_fed, "no feed is live");
            set(
                &self.bus_ready,
                self.bus.is_connected(),
                "the bus is disconnected",
            );
            let (waited, stored) = self.store.look(Instant::now());
            metrics::gauge!("marketdata_store_waiting_seconds").set(waited.as_secs_f64());
            match stored {
                Ok(()) => set(&self.store_ready, true, ""),
                Err(why) => set(&self.store_ready, false, &why),
            }
            let step_ms = wall_step_ms();
            metrics::gauge!("marketdata_clock_step_seconds").set(step_ms as f64 / 1e3);
            if (step_ms - told_step_ms).abs() >= STEP_TOLD_MS {
                told_step_ms = step_ms;
                warn!(
                    step_ms,
                    "the clock of this host was set: bars follow the venues' clocks and are not affected, but receive and publication times are wrong by this step until the next start"
                );
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = stop.cancelled() => {}
            }
        }
    }

    /// True if the feed is live.
    async fn tell(&self, status: &FeedStatus, symbols: SymbolSummary, told: &mut Told) -> bool {
        let now = now_ms();
        let exchange = status.exchange();
        let others = self.others.of_feed(exchange);
        let message = status.message(
            &self.mode,
            &symbols,
            now,
            self.stale_after_ms,
            &self.publisher,
            others,
        );
        let is_live = message.state == FeedState::Live;
        // If none of its symbols is published here, another program reports the feed.
        let is_publisher = status.is_publisher();
        let has_begun = is_publisher && !std::mem::replace(&mut told.is_publisher, is_publisher);
        let is_left_out_new = tell_left_out(exchange, &told.symbols, &symbols);
        told.symbols = symbols;
        let is_due = is_left_out_new
            || has_begun
            || told
                .state
                .is_none_or(|(state, at)| state != message.state || now - at >= INTERVAL_MS);
        if !is_due {
            return is_live;
        }
        if let Some((before, _)) = told.state
            && before != message.state
        {
            info!(exchange, state = ?message.state, age_ms = message.age_ms, "feed");
        }
        metrics::gauge!("marketdata_feed_live", "exchange" => exchange)
            .set(f64::from(u8::from(is_live)));
        metrics::gauge!("marketdata_feed_connections", "exchange" => exchange)
            .set(message.connections as f64);
        metrics::gauge!("marketdata_feed_age_seconds", "exchange" => exchange)
            .set(message.age_ms as f64 / 1e3);
        told.symbols.record(exchange);
        told.state = Some((message.state, now));
        if !is_publisher {
            return is_live;
        }
        let subject = subject::feed_status(exchange);
        if self.bus.publish(&subject, message.encode()).await.is_err() {
            metrics::counter!("marketdata_publish_failures_total").increment(1);
            // Repeated at the next check, so that the newest state is there once the bus is back.
            told.state = Some((message.state, now - INTERVAL_MS));
        }
        is_live
    }
}

/// The last reported state of a feed.
#[derive(Default)]
struct Told {
    state: Option<(FeedState, i64)>,
    is_publisher: bool,
    symbols: SymbolSummary,
}

/// Logs by name the symbols that the venue does not carry, whenever this changes. True if it did.
fn tell_left_out(exchange: &'static str, before: &SymbolSummary, now: &SymbolSummary) -> bool {
    let [refused, unknown] = [SymbolState::Refused, SymbolState::Unknown];
    if before.part(refused) == now.part(refused) && before.part(unknown) == now.part(unknown) {
        return false;
    }
    let (refused, unknown) = (now.part(refused), now.part(unknown));
    if refused.count + unknown.count == 0 {
        info!(exchange, "the venue carries all symbols");
    } else {
        warn!(
            exchange,
            refused = refused.names.join(","),
            refused_count = refused.count,
            unknown = unknown.names.join(","),
            unknown_count = unknown.count,
            "symbols without a feed: check their spelling, and whether they were delisted"
        );
    }
    true
}

/// A condition that is already lost gets its newest reason.
fn set(condition: &Condition, holds: bool, why_not: &str) {
    match (holds, condition.is_met()) {
        (true, false) => condition.met(),
        (false, _) => condition.unmet(why_not),
        (true, true) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_does_not_answer_is_told_with_what_to_do() {
        let timeout = BusError::Timeout {
            action: "store",
            waited_ms: 5_000,
        };
        for error in [None, Some(timeout)] {
            let why = why_not_stored(error, 14);
            assert!(why.contains("for 14 s"), "{why}");
            assert!(
                why.ends_with("restart nats-server when space is back"),
                "{why}"
            );
        }
        // A server that is away is a matter of its own.
        let why = why_not_stored(Some(BusError::Disconnected), 14);
        assert!(!why.contains("restart"), "{why}");
    }
}
