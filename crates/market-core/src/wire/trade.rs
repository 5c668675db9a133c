//! Trades.

use std::fmt::Write as _;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::bar::Stamp;
use crate::topic::Topic;
use crate::trade::{AggressorSide, Trade};
use crate::value::clock::{UnixMicros, UnixMillis};
use crate::value::symbol::Symbol;

/// A trade as published. A trade of the past has no topic and no place in its sequence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(
    missing_docs,
    reason = "the fields of the message, documented with the protocol"
)]
pub struct TradeMessage {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
    pub exchange: String,
    pub symbol: String,
    pub first_id: String,
    pub last_id: String,
    pub price: String,
    pub quantity: String,
    /// `buy` or `sell`.
    pub aggressor_side: String,
    pub event_ms: UnixMillis,
    pub received_us: UnixMicros,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published_us: Option<UnixMicros>,
}

impl TradeMessage {
    /// Reads an encoded trade; `None` if the payload is not a trade.
    #[must_use]
    pub fn read(payload: &[u8]) -> Option<Self> {
        serde_json::from_slice(payload).ok()
    }
}

/// A trade of the past:
/// `{"exchange":"binance","symbol":"BTC-USDT","first_id":"1","last_id":"1","price":"5.5",...}`
#[must_use]
pub fn encode_trade(exchange: &str, symbol: &Symbol, trade: &Trade) -> Bytes {
    let mut json = String::with_capacity(224);
    json.push('{');
    write_trade(&mut json, exchange, symbol, trade);
    json.push('}');
    json.into()
}

/// An entry of a topic of trades:
/// `{"topic":"trade:BTC-USDT","seq":7,"epoch":3,"exchange":"binance",…,"published_us":…}`
#[must_use]
pub fn encode_trade_entry(
    topic: &Topic,
    exchange: &str,
    symbol: &Symbol,
    trade: &Trade,
    stamp: Stamp,
) -> Bytes {
    let mut json = String::with_capacity(320);
    let Stamp {
        seq,
        epoch,
        published_us,
    } = stamp;
    let _ = write!(json, r#"{{"topic":"{topic}","seq":{seq},"epoch":{epoch},"#);
    write_trade(&mut json, exchange, symbol, trade);
    let _ = write!(json, r#","published_us":{published_us}}}"#);
    json.into()
}

fn write_trade(json: &mut String, exchange: &str, symbol: &Symbol, trade: &Trade) {
    let side = match trade.aggressor_side {
        AggressorSide::Buy => "buy",
        AggressorSide::Sell => "sell",
    };
    // Names and numbers need no escaping.
    let _ = write!(
        json,
        r#""exchange":"{exchange}","symbol":"{symbol}","first_id":"{}","last_id":"{}","price":"{}","quantity":"{}","aggressor_side":"{side}","event_ms":{},"received_us":{}"#,
        trade.first_id,
        trade.last_id,
        trade.price,
        trade.quantity,
        trade.event_ms,
        trade.received_us,
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::TRADE;
    use crate::value::price::{Price, Quantity};

    #[test]
    fn what_is_written_by_hand_is_what_serde_reads_and_writes() {
        let symbol: Symbol = "OKX:BTC-USDT".parse().expect("a symbol");
        let trade = Trade {
            first_id: 41,
            last_id: 42,
            event_ms: 1_723_161_255_342,
            price: Price::parse("61837.63").expect("price"),
            quantity: Quantity::parse("0.02").expect("quantity"),
            aggressor_side: AggressorSide::Sell,
            received_us: 1_723_161_255_350_000,
        };
        let json = encode_trade("okx", &symbol, &trade);
        let message = TradeMessage::read(&json).expect("a trade");
        assert_eq!(serde_json::to_vec(&message).expect("plain fields"), json);
        assert_eq!(
            (message.price.as_str(), message.aggressor_side.as_str()),
            ("61837.63", "sell")
        );
        let stamp = Stamp {
            seq: 7,
            epoch: 3,
            published_us: 1_723_161_255_350_100,
        };
        let topic = Topic::of_symbol(&TRADE, &symbol);
        let json = encode_trade_entry(&topic, "okx", &symbol, &trade, stamp);
        let message = TradeMessage::read(&json).expect("a trade");
        assert_eq!(serde_json::to_vec(&message).expect("plain fields"), json);
        assert_eq!(message.topic.as_deref(), Some("trade:OKX:BTC-USDT"));
        assert_eq!(
            (message.seq, message.epoch, message.published_us),
            (Some(7), Some(3), Some(1_723_161_255_350_100))
        );
    }
}
