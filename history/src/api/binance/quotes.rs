//! The best bids and asks: the quotes that the bus retains.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bus::Bus;
use market_core::binance::BookTicker;
use market_core::channel::QUOTE;
use market_core::wire::{FeedState, FeedStatusMessage, JsonMessage};
use market_core::{Symbol, UnixMillis, subject};
use metrics::counter;
use serde_json::Value;
use tokio::time::timeout;
use tracing::warn;

use crate::store::Instrument;

/// For how long the quotes that were read are used. All of them are read together.
const QUOTES_TIME: Duration = Duration::from_millis(500);
/// How long the bus may take for them. Others who ask wait meanwhile.
const READ_TIME: Duration = Duration::from_secs(2);
/// How long it may take for the few states of feeds. It never answers a program without the rights.
const FEEDS_TIME: Duration = Duration::from_millis(500);

/// The newest quotes, for all who ask.
#[derive(Debug, Default)]
pub(super) struct Quotes {
    read_at: Option<Instant>,
    /// `None` if the bus did not give them.
    newest: Option<Newest>,
}

/// What the bus retains.
#[derive(Debug)]
pub(super) struct Newest {
    quotes: HashMap<Symbol, Quote>,
    /// By exchange, when its feed was last said to be live, ms.
    live_ms: HashMap<Box<str>, UnixMillis>,
}

#[derive(Debug)]
struct Quote {
    row: Value,
    published_ms: UnixMillis,
}

/// A symbol's quote as a row of an answer.
pub(super) enum Found<'a> {
    Row(&'a Value),
    /// It is old, and its feed is not known to be live: the market may be elsewhere.
    Old,
    None,
}

impl Quotes {
    /// What the bus retains, read again if it is too old.
    pub(super) async fn newest(&mut self, bus: &dyn Bus) -> Option<&Newest> {
        let is_new = |at: Instant| at.elapsed() < QUOTES_TIME;
        if !self.read_at.is_some_and(is_new) {
            self.newest = read(bus).await;
            // Also after a failure: those who wait do not all try again.
            self.read_at = Some(Instant::now());
        }
        self.newest.as_ref()
    }
}

impl Newest {
    pub(super) fn is_empty(&self) -> bool {
        self.quotes.is_empty()
    }

    /// A quote that does not change is published once. So it counts if it is not older than
    /// `silence_max_ms`, or if its feed was said to be live not longer ago and follows the symbol, as far as
    /// is known.
    pub(super) fn of(
        &self,
        instrument: &Instrument,
        now_ms: UnixMillis,
        silence_max_ms: i64,
        is_followed: bool,
    ) -> Found<'_> {
        let Some(quote) = self.quotes.get(&instrument.symbol) else {
            return Found::None;
        };
        let is_new = |at_ms: UnixMillis| now_ms.saturating_sub(at_ms) <= silence_max_ms;
        let live_ms = self.live_ms.get(&instrument.exchange).copied();
        let is_of_live = is_followed && live_ms.is_some_and(is_new);
        match is_new(quote.published_ms) || is_of_live {
            true => Found::Row(&quote.row),
            false => {
                counter!("history_quotes_old_total").increment(1);
                Found::Old
            }
        }
    }
}

async fn read(bus: &dyn Bus) -> Option<Newest> {
    let quotes = format!("{}.>", QUOTE.root);
    let feeds = subject::feed_status("*");
    let (kept, feeds) = tokio::join!(
        timeout(READ_TIME, bus.last_values(&quotes)),
        timeout(FEEDS_TIME, bus.last_values(&feeds)),
    );
    let kept = match kept {
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
    // New quotes count without them.
    let feeds = match feeds {
        Ok(Ok(feeds)) => feeds,
        Ok(Err(error)) => {
            warn!(%error, "the bus did not give the states of feeds: old quotes are left out");
            Vec::new()
        }
        Err(_) => {
            warn!(
                "the bus did not give the states of feeds in time: old quotes are left out. May \
                 this program read the stream SYSTEM?"
            );
            Vec::new()
        }
    };
    let mut quotes = HashMap::with_capacity(kept.len());
    for message in kept {
        let quote = BookTicker::read(&message.payload);
        match quote.and_then(|quote| Some((quote.row()?, quote.published_ms()))) {
            Some(((symbol, row), published_ms)) => {
                quotes.insert(symbol, Quote { row, published_ms });
            }
            None => counter!("history_quotes_unreadable_total").increment(1),
        }
    }
    let mut live_ms = HashMap::with_capacity(feeds.len());
    for message in feeds {
        match FeedStatusMessage::read(&message.payload) {
            Some(status) if status.state == FeedState::Live => {
                live_ms.insert(status.exchange.into(), status.at_ms);
            }
            Some(_) => {}
            None => {
                counter!("history_messages_unreadable_total", "from" => "feed").increment(1);
            }
        }
    }
    Some(Newest { quotes, live_ms })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_quote_counts_only_while_its_feed_is_said_to_be_live() {
        let (symbol, silence_ms) = ("BTC-USD", 15_000);
        let instrument = |exchange: &str, symbol: &str| Instrument {
            exchange: exchange.into(),
            symbol: symbol.parse().expect("a symbol"),
        };
        let newest = Newest {
            quotes: HashMap::from([(
                symbol.parse().expect("a symbol"),
                Quote {
                    row: Value::Null,
                    published_ms: 100_000,
                },
            )]),
            live_ms: HashMap::from([("coinbase".into(), 200_000)]),
        };
        for (exchange, symbol, now_ms, is_followed, expected) in [
            ("coinbase", symbol, 115_000, true, "row"),
            ("coinbase", symbol, 215_000, true, "row"),
            ("coinbase", symbol, 115_000, false, "row"),
            ("coinbase", symbol, 115_001, false, "old"),
            ("coinbase", symbol, 215_001, true, "old"),
            ("okx", symbol, 115_000, true, "row"),
            ("okx", symbol, 115_001, true, "old"),
            // The clock of the publisher is ahead.
            ("okx", symbol, 90_000, true, "row"),
            ("okx", symbol, i64::MIN, true, "row"),
            ("okx", symbol, i64::MAX, true, "old"),
            ("coinbase", "ETH-USD", 115_000, true, "none"),
        ] {
            let found = match newest.of(
                &instrument(exchange, symbol),
                now_ms,
                silence_ms,
                is_followed,
            ) {
                Found::Row(_) => "row",
                Found::Old => "old",
                Found::None => "none",
            };
            assert_eq!(
                found, expected,
                "{exchange} {symbol} {now_ms} {is_followed}"
            );
        }
    }
}
