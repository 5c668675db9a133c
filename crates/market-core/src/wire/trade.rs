//! Trades.

use std::fmt::Write as _;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::trade::{AggressorSide, Trade};
use crate::value::clock::{UnixMicros, UnixMillis};
use crate::value::symbol::Symbol;

/// A trade as published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(
    missing_docs,
    reason = "the fields of the message, documented with the protocol"
)]
pub struct TradeMessage {
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
}

impl TradeMessage {
    /// Reads an encoded trade; `None` if the payload is not a trade.
    #[must_use]
    pub fn read(payload: &[u8]) -> Option<Self> {
        serde_json::from_slice(payload).ok()
    }
}

/// `{"exchange":"binance","symbol":"BTC-USDT","first_id":"1","last_id":"1","price":"5.5",...}`
#[must_use]
pub fn encode_trade(exchange: &str, symbol: &Symbol, trade: &Trade) -> Bytes {
    let mut json = String::with_capacity(224);
    let side = match trade.aggressor_side {
        AggressorSide::Buy => "buy",
        AggressorSide::Sell => "sell",
    };
    // Names and numbers need no escaping.
    let _ = write!(
        json,
        r#"{{"exchange":"{exchange}","symbol":"{symbol}","first_id":"{}","last_id":"{}","price":"{}","quantity":"{}","aggressor_side":"{side}","event_ms":{},"received_us":{}}}"#,
        trade.first_id,
        trade.last_id,
        trade.price,
        trade.quantity,
        trade.event_ms,
        trade.received_us,
    );
    json.into()
}

#[cfg(test)]
mod tests {
    use super::*;
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
    }
}
