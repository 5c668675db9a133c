//! Hands the order books of the bus to the cache.

use std::sync::Arc;

use bus::{Bus, Message};
use market_core::channel::BOOK;
use service::Shutdown;
use tracing::warn;

use crate::cache::CacheFeed;
use crate::retained::{NewestValues, follow};

struct Books(CacheFeed);

impl NewestValues for Books {
    fn take(&self, message: &Message) {
        self.0.offer_book(&message.payload);
    }

    /// Of books that came too fast, the next ones replace them.
    fn lost(&self, _count: u64) {}
}

/// Follows the bus until the shutdown. A bus that refuses the subscription has no books for the cache:
/// history goes on without them.
pub(crate) async fn feed(cache: CacheFeed, bus: Arc<dyn Bus>, shutdown: Shutdown) {
    let (books, pattern) = (Books(cache), BOOK.subjects());
    if let Err(error) = follow(&books, &*bus, &pattern, shutdown.clone()).await {
        warn!(%error, "the cache gets no order books: permit history to subscribe to them");
        shutdown.triggered().await;
    }
}
