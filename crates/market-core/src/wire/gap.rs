//! Gaps in trade ids.

use std::borrow::Cow;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

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

    /// As the JSON object for the bus and the client.
    ///
    /// # Panics
    /// Never: it has plain fields only.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        serde_json::to_vec(self).expect("plain fields").into()
    }

    /// Reads an encoded message; `None` if the payload is not one.
    #[must_use]
    pub fn read(payload: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(payload).ok()
    }
}

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
