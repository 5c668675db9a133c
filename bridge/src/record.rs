//! A message of the bus as a record of Kafka.

use std::borrow::Cow;

use bus::{Message, Position};
use bytes::Bytes;
use client_frames::dialect::protobuf;
use serde::Deserialize;

use crate::kafka::OutRecord;
use crate::topic_map::{Format, KeySymbols};

/// The header with the place in the stream of the bus: `<created ns>/<sequence>`. Two records with
/// one position are one message.
pub const POSITION: &str = "klinecast-position";
/// The header with the subject on the bus.
pub const SUBJECT: &str = "klinecast-subject";
/// The header with the name of the fleet that wrote the record.
pub const SITE: &str = "klinecast-site";
/// The header of a message of the bus that came from Kafka: where it was there. It does not go back.
pub const FROM_KAFKA: &str = "klinecast-from-kafka";
/// The header that says the format.
const CONTENT_TYPE: &str = "content-type";

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow, default)]
    exchange: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    symbol: Option<Cow<'a, str>>,
}

/// The key of a message: `<exchange>:<symbol>`, so that Kafka keeps a market in order. A message of no
/// market has its subject as the key.
#[must_use]
pub fn key(subject: &str, payload: &[u8], symbols: KeySymbols) -> String {
    let head: Option<Head<'_>> = serde_json::from_slice(payload).ok();
    let named = head.and_then(|head| Some((head.exchange?, head.symbol?)));
    let Some((exchange, symbol)) = named else {
        return subject.to_owned();
    };
    let pair = symbol.rsplit(':').next().unwrap_or_default();
    match symbols {
        KeySymbols::Dashed => format!("{exchange}:{pair}"),
        KeySymbols::Joined => format!("{exchange}:{}", pair.replace('-', "")),
    }
}

/// The text of a position.
#[must_use]
pub fn position_text(position: &Position) -> String {
    format!("{}/{}", position.stream_created_ns, position.sequence)
}

/// What is the same for all records of a topic.
#[derive(Clone, Debug)]
pub struct Form {
    /// The topic of Kafka.
    pub topic: String,
    /// How values are written.
    pub format: Format,
    /// How keys are written.
    pub symbols: KeySymbols,
    /// The name of this fleet.
    pub site: String,
}

impl Form {
    /// The record of a message.
    #[must_use]
    pub fn record(&self, message: &Message) -> OutRecord {
        let (value, content_type) = match self.format {
            Format::Json => (message.payload.clone(), "application/json"),
            Format::Protobuf => (
                Bytes::from(protobuf::update(&message.payload)),
                "application/x-protobuf",
            ),
        };
        let mut headers = vec![
            (SUBJECT.to_owned(), message.subject.to_string()),
            (SITE.to_owned(), self.site.clone()),
            (CONTENT_TYPE.to_owned(), content_type.to_owned()),
        ];
        if let Some(position) = message.position.as_deref() {
            headers.push((POSITION.to_owned(), position_text(position)));
        }
        if let Some(copied) = message.headers.as_deref() {
            let own = [SUBJECT, SITE, POSITION, CONTENT_TYPE];
            let others = copied.iter().filter(|(name, _)| !own.contains(name));
            headers.extend(others.map(|(name, value)| (name.to_owned(), value.to_owned())));
        }
        OutRecord {
            topic: self.topic.clone(),
            key: key(&message.subject, &message.payload, self.symbols),
            value,
            headers,
        }
    }
}

#[cfg(test)]
mod tests {
    use bus::Headers;
    use client_frames::dialect::protobuf::schema;
    use prost::Message as _;

    use super::*;

    const TRADE: &str = r#"{"topic":"trade:OKX:BTC-USDT","seq":7,"epoch":3,"exchange":"okx","symbol":"OKX:BTC-USDT","first_id":"41","last_id":"42","price":"61837.63","quantity":"0.02","aggressor_side":"sell","event_ms":1,"received_us":2,"published_us":3}"#;

    fn form(format: Format) -> Form {
        Form {
            topic: "market_data.trades".to_owned(),
            format,
            symbols: KeySymbols::Dashed,
            site: "a".to_owned(),
        }
    }

    #[test]
    fn a_market_has_one_key_in_all_topics() {
        let trade = TRADE.as_bytes();
        assert_eq!(key("x", trade, KeySymbols::Dashed), "okx:BTC-USDT");
        assert_eq!(key("x", trade, KeySymbols::Joined), "okx:BTCUSDT");
        assert_eq!(
            key("system.feed.okx", b"{}", KeySymbols::Dashed),
            "system.feed.okx"
        );
        assert_eq!(key("x", b"no json", KeySymbols::Dashed), "x");
    }

    #[test]
    fn a_record_has_the_bytes_the_headers_and_the_position_of_its_message() {
        let mut headers = Headers::new();
        headers.set("traceparent", "00-1-2-01").expect("a header");
        headers.set(POSITION, "forged").expect("a header");
        let mut message = Message::new("market.okx.OKX.BTC-USDT.trade", Bytes::from(TRADE));
        message.headers = Some(headers.into());
        message.position = Some(Box::new(Position {
            stream_created_ns: 5,
            sequence: 9,
            stored_ns: 1,
        }));
        let record = form(Format::Json).record(&message);
        assert_eq!(record.value, message.payload);
        let found = |name: &str| {
            let mut values = record.headers.iter().filter(|(other, _)| other == name);
            let value = values.next().map(|(_, value)| value.as_str());
            assert_eq!(values.next(), None, "{name} is there once");
            value
        };
        assert_eq!(found(POSITION), Some("5/9"));
        assert_eq!(found("traceparent"), Some("00-1-2-01"));
        assert_eq!(found(SUBJECT), Some("market.okx.OKX.BTC-USDT.trade"));
        let record = form(Format::Protobuf).record(&message);
        let read = schema::Message::decode(record.value).expect("a message");
        assert!(
            matches!(read.content, Some(schema::Content::Trade(trade)) if trade.price == "61837.63")
        );
    }
}
