//! Alerts.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::channel::{ALERT, SYSTEM};
use crate::value::clock::UnixMillis;
use crate::value::symbol::Symbol;

/// An alert as published. No field holds another, and no text needs an escape.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(
    missing_docs,
    reason = "the fields of the message, documented with the protocol"
)]
pub struct AlertMessage {
    pub topic: String,
    pub seq: u64,
    pub epoch: u64,
    pub exchange: String,
    pub symbol: Symbol,
    pub rule: String,
    /// `move`, `cross`, `volume`, `spread`, `gap` or `stale`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `info`, `warning` or `critical`.
    pub level: String,
    /// `up`, `down`, or `none`.
    pub direction: String,
    pub start_ms: UnixMillis,
    pub end_ms: UnixMillis,
    pub value: String,
    pub reference: String,
    pub raised_ms: UnixMillis,
}

impl AlertMessage {
    /// The topic of a rule's alerts about a symbol: `alert:btc-5:BTC-USDT`.
    #[must_use]
    pub fn topic_of(rule: &str, symbol: &Symbol) -> String {
        format!("{}:{rule}:{symbol}", ALERT.root)
    }

    /// Names this alert, and no other one: a receiver that knows it has the alert.
    #[must_use]
    pub fn id(&self) -> String {
        let Self {
            rule,
            symbol,
            epoch,
            seq,
            ..
        } = self;
        format!("{rule}/{symbol}/{epoch}/{seq}")
    }

    /// The same under the topic of its level and type: `system:alert:warning:move`.
    #[must_use]
    pub fn for_system(&self) -> Self {
        let (level, kind) = (&self.level, &self.kind);
        Self {
            topic: format!("{}:{}:{level}:{kind}", SYSTEM.root, ALERT.root),
            ..self.clone()
        }
    }

    /// As JSON.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        serde_json::to_vec(self)
            .expect("texts and numbers are JSON")
            .into()
    }

    /// Reads an encoded alert; `None` if the payload is none.
    #[must_use]
    pub fn read(payload: &[u8]) -> Option<Self> {
        serde_json::from_slice(payload).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subject;

    #[test]
    fn an_alert_is_read_as_it_was_written_and_is_on_the_subject_of_its_topic() {
        let symbol: Symbol = "OKX:BTC-USDT".parse().expect("a symbol");
        let alert = AlertMessage {
            topic: AlertMessage::topic_of("btc-5", &symbol),
            seq: 7,
            epoch: 1_723_161_255_000,
            exchange: "okx".to_owned(),
            symbol: symbol.clone(),
            rule: "btc-5".to_owned(),
            kind: "move".to_owned(),
            level: "warning".to_owned(),
            direction: "up".to_owned(),
            start_ms: 1,
            end_ms: 2,
            value: "105".to_owned(),
            reference: "100".to_owned(),
            raised_ms: 3,
        };
        assert_eq!(AlertMessage::read(&alert.encode()), Some(alert.clone()));
        let topic = |subject: &str| subject::to_topic(subject).map(|topic| topic.to_string());
        let own = topic(&subject::alerts("btc-5", &symbol));
        assert_eq!(own.as_deref(), Some("alert:btc-5:OKX:BTC-USDT"));
        assert_eq!(own, Some(alert.topic.clone()));
        let system = alert.for_system().topic;
        assert_eq!(system, "system:alert:warning:move");
        assert_eq!(
            topic(&subject::system_alert("warning", "move")),
            Some(system)
        );
        assert_eq!(alert.id(), "btc-5/OKX:BTC-USDT/1723161255000/7");
    }
}
