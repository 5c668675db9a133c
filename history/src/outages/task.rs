//! Reads the states of feeds that the bus retains, and stores the outages that they tell.

use std::time::{Duration, Instant};

use bus::BusError;
use market_core::subject;
use market_core::wire::{FeedStatusMessage, JsonMessage};
use metrics::counter;
use service::{Shutdown, wall_clock_ms};
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tracing::warn;

use super::{Feeds, LookTime, Outage};
use crate::error::{Error, PartEnd};
use crate::history::History;

/// How often the states are read. A shorter outage may be missed.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);
/// A bus that could not be read for so long was away: its publishers could not be heard.
const AWAY_MIN: Duration = Duration::from_secs(6);
/// How long the bus may take. It never answers a program without the rights.
const READ_TIME: Duration = Duration::from_secs(2);
/// Changes that wait for a store that fails. Each outage that lasts is one.
const WAITING_MAX: usize = 1_024;

const LATE: BusError = BusError::Timeout {
    action: "give the states of feeds",
    waited_ms: 2_000,
};

/// Follows the feeds until the shutdown.
pub(crate) async fn follow(history: History, shutdown: Shutdown) -> PartEnd {
    let store = history.outages.clone();
    let newest = spawn_blocking(move || store.newest()).await;
    // The file's failures are told where it is opened and where it is written.
    let newest = newest.map_err(|error| Error::panicked(&error))?;
    let mut feeds = Feeds::restored(newest.unwrap_or_default());
    let mut waiting: Vec<Outage> = Vec::new();
    let (mut failures, mut unread) = (0_u32, 0_u32);
    let started = Instant::now();
    // When the bus could be read last.
    let mut read_at = Duration::ZERO;
    loop {
        tokio::select! {
            () = shutdown.triggered() => return Ok(()),
            () = tokio::time::sleep(LOOK_INTERVAL) => {}
        }
        // While the bus cannot be read, nothing is known of the feeds.
        let messages = match read(&history).await {
            Ok(messages) => messages,
            Err(error) => {
                unread = unread.saturating_add(1);
                counter!("history_feed_states_unread_total").increment(1);
                if unread.is_power_of_two() {
                    warn!(%error, failures = unread, "the states of feeds cannot be read, trying again");
                }
                continue;
            }
        };
        unread = 0;
        let elapsed = started.elapsed();
        if elapsed.saturating_sub(std::mem::replace(&mut read_at, elapsed)) >= AWAY_MIN {
            feeds.resumed(elapsed);
        }
        let time = LookTime {
            wall_ms: wall_clock_ms(),
            elapsed,
        };
        for outage in feeds.look(messages, time) {
            let is_same = |other: &Outage| {
                other.exchange == outage.exchange && other.from_ms == outage.from_ms
            };
            waiting.retain(|other| !(is_same(other) && other.reason == outage.reason));
            waiting.push(outage);
        }
        if waiting.is_empty() {
            continue;
        }
        let (store, outages) = (history.outages.clone(), waiting.clone());
        let stored = spawn_blocking(move || store.put(&outages)).await;
        match stored.map_err(|error| Error::panicked(&error))? {
            Ok(()) => {
                waiting.clear();
                failures = 0;
            }
            Err(error) => {
                failures = failures.saturating_add(1);
                counter!("history_store_errors_total", "kind" => "outages").increment(1);
                if failures.is_power_of_two() {
                    warn!(%error, failures, "outages of feeds are not stored yet, trying again");
                }
                let too_many = waiting.len().saturating_sub(WAITING_MAX);
                counter!("history_outages_deleted_total").increment(too_many as u64);
                waiting.drain(..too_many);
            }
        }
    }
}

/// The newest state of each feed.
async fn read(history: &History) -> Result<Vec<FeedStatusMessage>, BusError> {
    let pattern = subject::feed_status("*");
    let values = timeout(READ_TIME, history.bus.last_values(&pattern)).await;
    let values = values.map_err(|_| LATE)??;
    let messages = values.iter().filter_map(|value| {
        let message = FeedStatusMessage::read(&value.payload);
        if message.is_none() {
            counter!("history_messages_unreadable_total", "from" => "feed").increment(1);
        }
        message
    });
    Ok(messages.collect())
}
