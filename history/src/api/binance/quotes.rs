//! The best bids and asks: the quotes that the bus retains.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bus::Bus;
use market_core::Symbol;
use market_core::binance::BookTicker;
use market_core::channel::QUOTE;
use metrics::counter;
use serde_json::Value;
use tokio::time::timeout;
use tracing::warn;

/// For how long the quotes that were read are used. All of them are read together.
const QUOTES_TIME: Duration = Duration::from_millis(500);
/// How long the bus may take for them. Others who ask wait meanwhile.
const READ_TIME: Duration = Duration::from_secs(2);

/// The newest quotes, for all who ask.
#[derive(Debug, Default)]
pub(super) struct Quotes {
    read_at: Option<Instant>,
    /// The rows of answers, by symbol; `None` if the bus did not give them.
    rows: Option<HashMap<Symbol, Value>>,
}

impl Quotes {
    /// The rows, read again if they are too old.
    pub(super) async fn rows(&mut self, bus: &dyn Bus) -> Option<&HashMap<Symbol, Value>> {
        let is_new = |at: Instant| at.elapsed() < QUOTES_TIME;
        if !self.read_at.is_some_and(is_new) {
            self.rows = read(bus).await;
            // Also after a failure: those who wait do not all try again.
            self.read_at = Some(Instant::now());
        }
        self.rows.as_ref()
    }
}

async fn read(bus: &dyn Bus) -> Option<HashMap<Symbol, Value>> {
    let pattern = format!("{}.>", QUOTE.root);
    let kept = match timeout(READ_TIME, bus.last_values(&pattern)).await {
        Ok(Ok(kept)) => kept,
        Ok(Err(error)) => {
            warn!(%error, "the bus did not give its quotes: clients are told to ask again");
            return None;
        }
        Err(_) => {
            warn!("the bus did not give its quotes in time: clients are told to ask again");
            return None;
        }
    };
    let mut rows = HashMap::with_capacity(kept.len());
    for message in kept {
        match BookTicker::read(&message.payload).and_then(|quote| quote.row()) {
            Some((symbol, row)) => {
                rows.insert(symbol, row);
            }
            None => counter!("history_quotes_unreadable_total").increment(1),
        }
    }
    Some(rows)
}
