//! Marks that an interval is over.

use bytes::Bytes;
use serde::Deserialize;

use crate::subject;
use crate::value::clock::{UnixMicros, UnixMillis};

/// Says that an interval is finished for all symbols of the publisher.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BoundaryMark {
    /// Name of the timeframe, such as `1m`.
    pub interval: Box<str>,
    /// First instant after the interval.
    pub end_ms: UnixMillis,
    /// How many bars were closed and published that end here, revisions not counted.
    pub bars: u64,
    /// How many symbols had not closed their bar when the mark stopped waiting.
    pub missing: u64,
}

#[derive(Deserialize)]
struct MarkFields<'a> {
    #[serde(borrow)]
    op: &'a str,
    #[serde(borrow)]
    interval: &'a str,
    end_ms: UnixMillis,
    bars: u64,
    missing: u64,
}

impl BoundaryMark {
    /// As the JSON object for the bus and the client.
    #[must_use]
    pub fn encode(&self, published_us: UnixMicros) -> Bytes {
        let Self {
            interval,
            end_ms,
            bars,
            missing,
        } = self;
        let topic = subject::topic_text(&subject::boundary(interval));
        Bytes::from(format!(
            r#"{{"op":"boundary","topic":"{topic}","interval":"{interval}","end_ms":{end_ms},"bars":{bars},"missing":{missing},"published_us":{published_us}}}"#
        ))
    }

    /// Reads an encoded mark; `None` if the payload is not a mark.
    #[must_use]
    pub fn read(payload: &[u8]) -> Option<Self> {
        let fields: MarkFields<'_> = serde_json::from_slice(payload).ok()?;
        (fields.op == "boundary").then(|| Self {
            interval: fields.interval.into(),
            end_ms: fields.end_ms,
            bars: fields.bars,
            missing: fields.missing,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_read_as_it_was_encoded() {
        let mark = BoundaryMark {
            interval: "1m".into(),
            end_ms: 60_000,
            bars: 12,
            missing: 1,
        };
        let json = mark.encode(7);
        assert_eq!(
            json,
            r#"{"op":"boundary","topic":"boundary:1m","interval":"1m","end_ms":60000,"bars":12,"missing":1,"published_us":7}"#
        );
        assert_eq!(BoundaryMark::read(&json), Some(mark));
        assert_eq!(BoundaryMark::read(br#"{"op":"bar"}"#), None);
    }
}
