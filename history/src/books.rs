//! Hands the order books of the bus to the cache.

use std::sync::Arc;
use std::time::Duration;

use bus::{Bus, BusError, Delivery};
use market_core::channel::BOOK;
use service::Shutdown;
use tracing::warn;

use crate::cache::CacheFeed;

/// Pause after the bus could not do what was asked.
const BUS_REST: Duration = Duration::from_millis(500);

/// Follows the bus until the shutdown. Of books that came too fast, the next ones replace them. A bus
/// that refuses the subscription has no books for the cache: history goes on without them.
pub(crate) async fn feed(cache: CacheFeed, bus: Arc<dyn Bus>, shutdown: Shutdown) {
    let pattern = BOOK.subjects();
    let work = async {
        loop {
            let mut subscription = match bus.subscribe(&pattern).await {
                Ok(subscription) => subscription,
                Err(error) if error.is_retryable() => {
                    tokio::time::sleep(BUS_REST).await;
                    continue;
                }
                Err(error) => return error,
            };
            load(&cache, &*bus, &pattern).await;
            while let Some(delivery) = subscription.recv().await {
                match delivery {
                    Delivery::Message(message) => cache.offer_book(&message.payload),
                    Delivery::Lagged { .. } | Delivery::Reconnected => {
                        load(&cache, &*bus, &pattern).await;
                    }
                }
            }
            return BusError::Closed;
        }
    };
    tokio::select! {
        error = work => {
            warn!(%error, "the cache gets no order books: permit history to subscribe to them");
            shutdown.triggered().await;
        }
        () = shutdown.triggered() => {}
    }
}

/// What the bus retains.
async fn load(cache: &CacheFeed, bus: &dyn Bus, pattern: &str) {
    match bus.last_values(pattern).await {
        Ok(values) => values
            .iter()
            .for_each(|book| cache.offer_book(&book.payload)),
        Err(error) => warn!(%error, "the newest books cannot be read from the bus"),
    }
}
