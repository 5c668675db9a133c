//! Quotes.

use serde::{Deserialize, Serialize};

use super::bar::Stamp;
use super::json::JsonMessage;
use crate::channel::QUOTE;
use crate::quote::{PriceLevel, Quote};
use crate::topic::Topic;
use crate::value::clock::{UnixMicros, UnixMillis};
use crate::value::symbol::Symbol;

/// A quote as published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(
    missing_docs,
    reason = "the fields of the message, documented with the protocol"
)]
pub struct QuoteMessage {
    pub topic: String,
    pub seq: u64,
    pub epoch: u64,
    pub exchange: String,
    pub symbol: String,
    pub bid: Option<String>,
    pub bid_quantity: Option<String>,
    pub ask: Option<String>,
    pub ask_quantity: Option<String>,
    pub update_id: Option<String>,
    pub event_ms: Option<UnixMillis>,
    pub received_us: UnixMicros,
    pub published_us: UnixMicros,
}

impl QuoteMessage {
    /// The message of a quote.
    #[must_use]
    pub fn new(exchange: &str, symbol: &Symbol, quote: &Quote, stamp: Stamp) -> Self {
        let price = |level: Option<PriceLevel>| level.map(|level| level.price.to_string());
        let quantity = |level: Option<PriceLevel>| level.map(|level| level.quantity.to_string());
        Self {
            topic: Topic::of_symbol(&QUOTE, symbol).as_str().to_owned(),
            seq: stamp.seq,
            epoch: stamp.epoch,
            exchange: exchange.to_owned(),
            symbol: symbol.as_str().to_owned(),
            bid: price(quote.bid),
            bid_quantity: quantity(quote.bid),
            ask: price(quote.ask),
            ask_quantity: quantity(quote.ask),
            update_id: quote.update_id.map(|id| id.to_string()),
            event_ms: quote.event_ms,
            received_us: quote.received_us,
            published_us: stamp.published_us,
        }
    }
}

impl JsonMessage<'_> for QuoteMessage {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quote_is_read_as_it_was_encoded() {
        let symbol: Symbol = "OKX:BTC-USDT".parse().expect("a symbol");
        let quote = Quote {
            bid: PriceLevel::parse("61837.63000000", "3.78826000").expect("a level"),
            ask: None,
            update_id: Some(50_093_239_212),
            event_ms: None,
            received_us: 1_723_161_254_087_891,
        };
        let stamp = Stamp {
            seq: 7,
            epoch: 3,
            published_us: 1_723_161_254_088_000,
        };
        let message = QuoteMessage::new("okx", &symbol, &quote, stamp);
        let json = message.encode();
        assert_eq!(
            json,
            r#"{"topic":"quote:OKX:BTC-USDT","seq":7,"epoch":3,"exchange":"okx","symbol":"OKX:BTC-USDT","bid":"61837.63","bid_quantity":"3.78826","ask":null,"ask_quantity":null,"update_id":"50093239212","event_ms":null,"received_us":1723161254087891,"published_us":1723161254088000}"#
        );
        assert_eq!(QuoteMessage::read(&json), Some(message));
    }
}
