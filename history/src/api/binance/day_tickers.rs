//! The tickers of the last day that lists have, made once for all who ask.
//!
//! One is made of 1,441 bars, so a list of a thousand symbols takes a thousand reads of the store.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use serde_json::Value;

/// For how long a ticker in a list is used.
const TICKER_TIME: Duration = Duration::from_secs(5);

/// Tickers by name. There are at most as many as symbols that have bars.
#[derive(Debug, Default)]
pub(super) struct DayTickers(HashMap<String, (Instant, Option<Value>)>);

impl DayTickers {
    /// Forgets the tickers that are too old.
    pub(super) fn expire(&mut self, now: Instant) {
        let is_new = |made_at: Instant| now.saturating_duration_since(made_at) < TICKER_TIME;
        self.0.retain(|_, (made_at, _)| is_new(*made_at));
    }

    /// The ticker of a symbol, `None` if it has no bars; and nothing if it is to be made.
    pub(super) fn get(&self, name: &str) -> Option<&Option<Value>> {
        self.0.get(name).map(|(_, ticker)| ticker)
    }

    /// It was made.
    pub(super) fn put(&mut self, name: String, ticker: Option<Value>, now: Instant) {
        self.0.insert(name, (now, ticker));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_ticker_in_a_list_is_made_once_within_its_time() {
        let (mut tickers, start) = (DayTickers::default(), Instant::now());
        assert_eq!(tickers.get("BTCUSD"), None);
        let ticker = Some(json!({"symbol": "BTCUSD"}));
        tickers.put("BTCUSD".to_owned(), ticker.clone(), start);
        // A symbol without bars is remembered, too.
        tickers.put("NEWUSD".to_owned(), None, start + TICKER_TIME / 2);
        tickers.expire(start + TICKER_TIME - Duration::from_millis(1));
        assert_eq!(tickers.get("BTCUSD"), Some(&ticker));
        assert_eq!(tickers.get("NEWUSD"), Some(&None));
        tickers.expire(start + TICKER_TIME);
        assert_eq!(tickers.get("BTCUSD"), None);
        assert_eq!(tickers.0.len(), 1);
    }
}
