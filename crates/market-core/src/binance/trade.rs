//! Trades as the events of a stream.

use std::borrow::Cow;

use serde::Deserialize;

use super::symbol::symbol_name;
use crate::value::symbol::Symbol;

/// An encoded entry of a topic of trades, as far as an event has it. The texts are those of the
/// entry.
#[derive(Deserialize, Clone, PartialEq, Eq, Debug)]
pub struct TradeEvent<'a> {
    symbol: Symbol,
    #[serde(default)]
    epoch: u64,
    #[serde(default)]
    seq: u64,
    #[serde(borrow)]
    first_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    last_id: Cow<'a, str>,
    #[serde(borrow)]
    price: &'a str,
    #[serde(borrow)]
    quantity: &'a str,
    #[serde(borrow)]
    aggressor_side: &'a str,
    event_ms: i64,
    #[serde(default)]
    published_us: i64,
}

impl<'a> TradeEvent<'a> {
    /// Reads an encoded trade; `None` if the payload is not a trade.
    #[must_use]
    pub fn read(payload: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(payload).ok()
    }

    /// The name of its stream: `btcusdt@trade`. `None` if its symbol has no name.
    #[must_use]
    pub fn stream(&self) -> Option<String> {
        super::stream_of(&self.symbol, "trade")
    }

    /// The event of a stream:
    /// `{"e":"trade","E":1672515782136,"s":"BNBBTC","t":12345,"p":"0.001","q":"100","T":1672515782136,"m":true,"M":true}`.
    /// `None` if its symbol has no name.
    ///
    /// An aggregate of trades has the id of its last one.
    #[must_use]
    pub fn event(&self) -> Option<String> {
        let name = symbol_name(&self.symbol)?;
        let id: u64 = self.last_id.parse().ok()?;
        let is_buyer_maker = self.is_buyer_maker();
        Some(format!(
            r#"{{"e":"trade","E":{},"s":"{name}","t":{id},"p":"{}","q":"{}","T":{},"m":{is_buyer_maker},"M":true}}"#,
            self.published_us.div_euclid(1_000),
            self.price,
            self.quantity,
            self.event_ms,
        ))
    }

    /// The event of a stream of aggregates:
    /// `{"e":"aggTrade","E":1672515782136,"s":"BNBBTC","a":105,"p":"0.001","q":"100","f":100,"l":105,"T":1672515782136,"m":true,"M":true}`.
    /// `None` if its symbol has no name.
    ///
    /// Trades of one order are not put together: each entry is an aggregate, as in `/api/v3/aggTrades`, and has the id
    /// of its last trade.
    #[must_use]
    pub fn aggregate_event(&self) -> Option<String> {
        let name = symbol_name(&self.symbol)?;
        let last_id: u64 = self.last_id.parse().ok()?;
        let first_id = self.first_id.as_ref().and_then(|id| id.parse().ok());
        let first_id: u64 = first_id.unwrap_or(last_id);
        let is_buyer_maker = self.is_buyer_maker();
        Some(format!(
            r#"{{"e":"aggTrade","E":{},"s":"{name}","a":{last_id},"p":"{}","q":"{}","f":{first_id},"l":{last_id},"T":{},"m":{is_buyer_maker},"M":true}}"#,
            self.published_us.div_euclid(1_000),
            self.price,
            self.quantity,
            self.event_ms,
        ))
    }

    /// Its place among the entries of its topic: the publisher's epoch, and its number.
    #[must_use]
    pub fn place(&self) -> (u64, u64) {
        (self.epoch, self.seq)
    }

    /// `m` of the events: true means that the taker sold.
    fn is_buyer_maker(&self) -> bool {
        self.aggressor_side == "sell"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRY: &str = r#"{"topic":"trade:OKX:BTC-USDT","seq":7,"epoch":3,"exchange":"okx","symbol":"OKX:BTC-USDT","first_id":"41","last_id":"42","price":"61837.63","quantity":"0.02","aggressor_side":"sell","event_ms":1723161255342,"received_us":1723161255350000,"published_us":1723161255350999}"#;

    #[test]
    fn a_trade_is_an_event_of_the_same_numbers() {
        let trade = TradeEvent::read(ENTRY.as_bytes()).expect("a trade");
        assert_eq!(trade.stream().as_deref(), Some("okx_btcusdt@trade"));
        assert_eq!(
            trade.event().as_deref(),
            Some(
                r#"{"e":"trade","E":1723161255350,"s":"OKX_BTCUSDT","t":42,"p":"61837.63","q":"0.02","T":1723161255342,"m":true,"M":true}"#
            )
        );
        assert_eq!(trade.place(), (3, 7));
        assert_eq!(
            trade.aggregate_event().as_deref(),
            Some(
                r#"{"e":"aggTrade","E":1723161255350,"s":"OKX_BTCUSDT","a":42,"p":"61837.63","q":"0.02","f":41,"l":42,"T":1723161255342,"m":true,"M":true}"#
            )
        );
        let bought = ENTRY.replace("\"sell\"", "\"buy\"");
        let event = TradeEvent::read(bought.as_bytes())
            .expect("a trade")
            .event();
        assert!(event.is_some_and(|event| event.contains("\"m\":false")));
        assert_eq!(TradeEvent::read(br#"{"op":"boundary"}"#), None);
    }
}
