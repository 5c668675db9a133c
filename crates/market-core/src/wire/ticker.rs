//! Tickers.

use serde::{Deserialize, Serialize};

use super::bar::Stamp;
use super::json::JsonMessage;
use crate::channel::TICKER;
use crate::quote::Ticker;
use crate::topic::Topic;
use crate::value::clock::{UnixMicros, UnixMillis};
use crate::value::symbol::Symbol;

/// Where the 24 hours of a ticker come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TickerSource {
    /// The venue counted them.
    Venue,
}

/// A ticker as published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(
    missing_docs,
    reason = "the fields of the message, documented with the protocol"
)]
pub struct TickerMessage {
    pub topic: String,
    pub seq: u64,
    pub epoch: u64,
    pub exchange: String,
    pub symbol: String,
    pub source: TickerSource,
    pub open: Option<String>,
    pub high: Option<String>,
    pub low: Option<String>,
    pub last: String,
    pub last_quantity: Option<String>,
    pub volume: String,
    pub quote_volume: Option<String>,
    pub count: Option<u64>,
    pub first_id: Option<String>,
    pub last_id: Option<String>,
    pub bid: Option<String>,
    pub bid_quantity: Option<String>,
    pub ask: Option<String>,
    pub ask_quantity: Option<String>,
    pub event_ms: Option<UnixMillis>,
    pub received_us: UnixMicros,
    pub published_us: UnixMicros,
}

impl TickerMessage {
    /// The message of a venue's ticker.
    #[must_use]
    pub fn new(exchange: &str, symbol: &Symbol, ticker: &Ticker, stamp: Stamp) -> Self {
        fn text(value: Option<impl ToString>) -> Option<String> {
            value.map(|value| value.to_string())
        }
        Self {
            topic: Topic::of_symbol(&TICKER, symbol).as_str().to_owned(),
            seq: stamp.seq,
            epoch: stamp.epoch,
            exchange: exchange.to_owned(),
            symbol: symbol.as_str().to_owned(),
            source: TickerSource::Venue,
            open: text(ticker.open),
            high: text(ticker.high),
            low: text(ticker.low),
            last: ticker.last.to_string(),
            last_quantity: text(ticker.last_quantity),
            volume: ticker.volume.to_string(),
            quote_volume: text(ticker.quote_volume),
            count: ticker.count,
            first_id: text(ticker.ids.map(|(first, _)| first)),
            last_id: text(ticker.ids.map(|(_, last)| last)),
            bid: text(ticker.bid),
            bid_quantity: text(ticker.bid_quantity),
            ask: text(ticker.ask),
            ask_quantity: text(ticker.ask_quantity),
            event_ms: ticker.event_ms,
            received_us: ticker.received_us,
            published_us: stamp.published_us,
        }
    }
}

impl JsonMessage<'_> for TickerMessage {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::amount::Amount;
    use crate::value::price::{Price, Quantity};

    #[test]
    fn a_ticker_is_read_as_it_was_encoded() {
        let symbol: Symbol = "BTC-USDT".parse().expect("a symbol");
        let price = |text: &str| Price::parse(text).expect("a price");
        let ticker = Ticker {
            open: Some(price("60000")),
            high: Some(price("62500.5")),
            low: None,
            last: price("61837.63"),
            last_quantity: Quantity::parse("0.02").ok(),
            volume: Amount::parse("123456789012345678.5").expect("an amount"),
            quote_volume: None,
            count: Some(3),
            ids: Some((41, 43)),
            bid: Some(price("61837.62")),
            bid_quantity: None,
            ask: None,
            ask_quantity: None,
            event_ms: Some(1_723_161_254_087),
            received_us: 1_723_161_254_087_891,
        };
        let stamp = Stamp {
            seq: 7,
            epoch: 3,
            published_us: 1_723_161_254_088_000,
        };
        let message = TickerMessage::new("binance", &symbol, &ticker, stamp);
        let json = message.encode();
        assert_eq!(
            json,
            r#"{"topic":"ticker:BTC-USDT","seq":7,"epoch":3,"exchange":"binance","symbol":"BTC-USDT","source":"venue","open":"60000","high":"62500.5","low":null,"last":"61837.63","last_quantity":"0.02","volume":"123456789012345678.5","quote_volume":null,"count":3,"first_id":"41","last_id":"43","bid":"61837.62","bid_quantity":null,"ask":null,"ask_quantity":null,"event_ms":1723161254087,"received_us":1723161254087891,"published_us":1723161254088000}"#
        );
        assert_eq!(TickerMessage::read(&json), Some(message));
    }
}
