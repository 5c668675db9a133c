//! Gaps in trade ids.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::json::JsonMessage;
use crate::series::gap::{GapEvent, GapEventState};
use crate::subject;
use crate::value::clock::UnixMillis;
use crate::value::symbol::Symbol;

/// A gap of a symbol, as published on [`subject::GAP_EVENTS`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(
    missing_docs,
    reason = "the fields of the message, documented with the protocol"
)]
pub struct GapMessage<'a> {
    pub topic: Cow<'a, str>,
    pub exchange: Cow<'a, str>,
    pub symbol: Cow<'a, str>,
    pub first_id: Option<String>,
    pub last_id: Option<String>,
    pub from_ms: UnixMillis,
    pub to_ms: Option<UnixMillis>,
    pub state: GapEventState,
}

impl<'a> GapMessage<'a> {
    /// The message of an event.
    #[must_use]
    pub fn new(exchange: &'a str, symbol: &'a Symbol, event: &GapEvent) -> Self {
        Self {
            topic: subject::topic_text(subject::GAP_EVENTS).into(),
            exchange: exchange.into(),
            symbol: symbol.as_str().into(),
            first_id: event.first_id.map(|id| id.to_string()),
            last_id: event.last_id.map(|id| id.to_string()),
            from_ms: event.from_ms,
            to_ms: event.to_ms,
            state: event.state,
        }
    }
}

impl<'a> JsonMessage<'a> for GapMessage<'a> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_read_as_it_was_encoded() {
        let symbol: Symbol = "OKX:BTC-USDT".parse().expect("a symbol");
        let event = GapEvent {
            first_id: Some(3),
            last_id: None,
            from_ms: 10,
            to_ms: None,
            state: GapEventState::Open,
        };
        let message = GapMessage::new("okx", &symbol, &event);
        let json = message.encode();
        assert_eq!(
            json,
            r#"{"topic":"system:service:marketdata:gap","exchange":"okx","symbol":"OKX:BTC-USDT","first_id":"3","last_id":null,"from_ms":10,"to_ms":null,"state":"open"}"#
        );
        assert_eq!(GapMessage::read(&json), Some(message));
    }
}
