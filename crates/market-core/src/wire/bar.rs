//! Bars.

use std::fmt::Write as _;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::bar::{Bar, BarState, Quality};
use crate::topic::Topic;
use crate::value::clock::{UnixMicros, UnixMillis};
use crate::value::symbol::Symbol;
use crate::value::timeframe::Timeframe;

/// The position of a publication in its topic's sequence.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stamp {
    /// Rises by one with every publication of the topic within an epoch.
    pub seq: u64,
    /// Rises with every restart of the publisher: unix ms of its start.
    pub epoch: u64,
    /// When it was encoded.
    pub published_us: UnixMicros,
}

/// Encodes a bar as the JSON object for the bus and the client. `exchange` is the venue of its
/// trades, in lower case: a symbol need not name it. `None` for a bar with neither trades nor a
/// previous bar.
#[must_use]
pub fn encode_bar(
    topic: &Topic,
    exchange: &str,
    symbol: &Symbol,
    bar: &Bar,
    stamp: Stamp,
) -> Option<Bytes> {
    let [open, high, low, close] = bar.ohlc()?;
    let mut json = String::with_capacity(576);
    let state = match bar.state {
        BarState::Forming => "forming",
        BarState::Closed => "closed",
    };
    let Stamp {
        seq,
        epoch,
        published_us,
    } = stamp;
    // Topics, symbols and numbers need no escaping: their types hold plain characters only. The
    // names of exchanges are the program's own.
    let _ = write!(
        json,
        r#"{{"topic":"{topic}","seq":{seq},"epoch":{epoch},"exchange":"{exchange}","symbol":"{symbol}","interval":"{}","start_ms":{},"end_ms":{},"open":"{open}","high":"{high}","low":"{low}","close":"{close}","#,
        bar.timeframe, bar.start_ms, bar.end_ms,
    );
    let (event_ms, received_us) = match &bar.fold {
        Some(fold) => {
            let _ = write!(
                json,
                r#""volume":"{}","quote_volume":"{}","taker_buy_volume":"{}","taker_buy_quote_volume":"{}","count":{},"first_id":"{}","last_id":"{}","#,
                fold.volume,
                fold.quote_volume,
                fold.taker_buy_volume,
                fold.taker_buy_quote_volume,
                fold.count,
                fold.first_id,
                fold.last_id,
            );
            (Some(fold.event_ms()), Some(fold.received_us))
        }
        None => {
            json.push_str(r#""volume":"0","quote_volume":"0","taker_buy_volume":"0","taker_buy_quote_volume":"0","count":0,"first_id":null,"last_id":null,"#);
            (None, None)
        }
    };
    let _ = write!(
        json,
        r#""state":"{state}","rev":{},"quality":"{}","#,
        bar.rev,
        quality_name(bar)
    );
    match (event_ms, received_us) {
        (Some(event_ms), Some(received_us)) => {
            let _ = write!(
                json,
                r#""event_ms":{event_ms},"received_us":{received_us},"#
            );
        }
        _ => json.push_str(r#""event_ms":null,"received_us":null,"#),
    }
    let _ = write!(json, r#""published_us":{published_us}}}"#);
    Some(Bytes::from(json))
}

fn quality_name(bar: &Bar) -> &'static str {
    use crate::bar::Quality::{Backfilled, Complete, Filled, Gap, Partial};
    match bar.quality {
        Complete => "complete",
        Gap => "gap",
        Backfilled => "backfilled",
        Partial => "partial",
        Filled => "filled",
    }
}

/// A bar as published, every field of it. A reader that needs only the head takes [`BarHead`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(
    missing_docs,
    reason = "the fields of the message, documented with the protocol"
)]
pub struct BarMessage {
    /// Empty in the output of `replay`, as are the other fields that only a publisher knows.
    #[serde(default)]
    pub topic: String,
    #[serde(default)]
    pub seq: u64,
    #[serde(default)]
    pub epoch: u64,
    #[serde(default)]
    pub exchange: String,
    pub symbol: String,
    pub interval: Timeframe,
    pub start_ms: UnixMillis,
    #[serde(default)]
    pub end_ms: UnixMillis,
    pub open: String,
    pub high: String,
    pub low: String,
    pub close: String,
    pub volume: String,
    pub quote_volume: String,
    pub taker_buy_volume: String,
    pub taker_buy_quote_volume: String,
    pub count: u64,
    #[serde(default)]
    pub first_id: Option<String>,
    #[serde(default)]
    pub last_id: Option<String>,
    pub state: BarState,
    pub rev: u32,
    pub quality: Quality,
    #[serde(default)]
    pub event_ms: Option<UnixMillis>,
    #[serde(default)]
    pub received_us: Option<UnixMicros>,
    #[serde(default)]
    pub published_us: UnixMicros,
}

impl BarMessage {
    /// Reads an encoded bar; `None` if the payload is not a bar.
    #[must_use]
    pub fn read(payload: &[u8]) -> Option<Self> {
        serde_json::from_slice(payload).ok()
    }
}

/// The few fields of an encoded bar by which a gateway routes it. The gateway never reads the
/// others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BarHead<'a> {
    /// See [`Stamp::seq`].
    pub seq: u64,
    /// See [`Stamp::epoch`].
    pub epoch: u64,
    /// First instant in the bar.
    pub start_ms: UnixMillis,
    /// First instant after the bar.
    pub end_ms: UnixMillis,
    /// Whether the bar is closed.
    pub closed: bool,
    /// Revision number.
    pub rev: u32,
    /// Whether the bar is flat because there were no trades.
    pub filled: bool,
    /// The venue of its trades, in lower case; empty if the publisher did not name it.
    pub exchange: &'a str,
}

#[derive(Deserialize)]
struct HeadFields<'a> {
    seq: u64,
    epoch: u64,
    start_ms: UnixMillis,
    end_ms: UnixMillis,
    #[serde(borrow)]
    state: &'a str,
    rev: u32,
    #[serde(borrow)]
    quality: &'a str,
    #[serde(borrow, default)]
    exchange: &'a str,
}

impl<'a> BarHead<'a> {
    /// Reads the head of an encoded bar; `None` if the payload is not a bar.
    #[must_use]
    pub fn read(payload: &'a [u8]) -> Option<Self> {
        let fields: HeadFields<'_> = serde_json::from_slice(payload).ok()?;
        Some(Self {
            seq: fields.seq,
            epoch: fields.epoch,
            start_ms: fields.start_ms,
            end_ms: fields.end_ms,
            closed: fields.state == "closed",
            rev: fields.rev,
            filled: fields.quality == "filled",
            exchange: fields.exchange,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bar::Fold;
    use crate::trade::{AggressorSide, Trade};
    use crate::value::price::{Price, Quantity};

    fn sample_bar() -> (Topic, Symbol, Bar) {
        let symbol: Symbol = "BTC-USD".parse().expect("symbol");
        let trade = Trade {
            first_id: 41,
            last_id: 42,
            event_ms: 1_723_161_255_342,
            price: Price::parse("61837.63000000").expect("price"),
            quantity: Quantity::parse("0.02000000").expect("quantity"),
            aggressor_side: AggressorSide::Buy,
            received_us: 1_723_161_255_350_000,
        };
        let bar = Bar {
            timeframe: Timeframe::SECOND,
            start_ms: 1_723_161_255_000,
            end_ms: 1_723_161_256_000,
            fold: Some(Fold::of(&trade)),
            previous_close: None,
            state: BarState::Closed,
            rev: 1,
            quality: Quality::Complete,
        };
        (Topic::bars(Timeframe::SECOND, &symbol), symbol, bar)
    }

    const STAMP: Stamp = Stamp {
        seq: 18,
        epoch: 3,
        published_us: 7,
    };

    #[test]
    fn a_bar_is_encoded_as_documented() {
        let (topic, symbol, bar) = sample_bar();
        let json = encode_bar(&topic, "coinbase", &symbol, &bar, STAMP).expect("has trades");
        assert_eq!(
            std::str::from_utf8(&json).expect("UTF-8"),
            r#"{"topic":"kline:1s:BTC-USD","seq":18,"epoch":3,"exchange":"coinbase","symbol":"BTC-USD","interval":"1s","start_ms":1723161255000,"end_ms":1723161256000,"open":"61837.63","high":"61837.63","low":"61837.63","close":"61837.63","volume":"0.02","quote_volume":"1236.7526","taker_buy_volume":"0.02","taker_buy_quote_volume":"1236.7526","count":2,"first_id":"41","last_id":"42","state":"closed","rev":1,"quality":"complete","event_ms":1723161255342,"received_us":1723161255350000,"published_us":7}"#
        );
        let head = BarHead::read(&json).expect("a bar");
        assert_eq!(
            (head.seq, head.epoch, head.rev, head.closed, head.filled),
            (18, 3, 1, true, false)
        );
        assert_eq!(head.exchange, "coinbase");
        // A bar that the bus has kept since before publishers said it.
        let json = String::from_utf8(json.to_vec()).expect("UTF-8");
        let json = json.replace(r#""exchange":"coinbase","#, "");
        assert_eq!(BarHead::read(json.as_bytes()).expect("a bar").exchange, "");
    }

    #[test]
    fn a_filled_bar_is_flat_and_valid_json() {
        let (topic, symbol, bar) = sample_bar();
        let bar = Bar {
            fold: None,
            previous_close: Some(Price::parse("5.5").expect("price")),
            quality: Quality::Filled,
            ..bar
        };
        let json =
            encode_bar(&topic, "coinbase", &symbol, &bar, STAMP).expect("has a close before");
        let value: serde_json::Value = serde_json::from_slice(&json).expect("valid JSON");
        assert_eq!(
            (value["open"].as_str(), value["low"].as_str()),
            (Some("5.5"), Some("5.5"))
        );
        assert_eq!(
            (value["count"].as_u64(), value["first_id"].is_null()),
            (Some(0), true)
        );
        assert!(BarHead::read(&json).expect("a bar").filled);
        assert_eq!(
            encode_bar(
                &topic,
                "coinbase",
                &symbol,
                &Bar {
                    previous_close: None,
                    ..bar
                },
                STAMP
            ),
            None
        );
    }

    #[test]
    fn what_is_written_by_hand_is_what_serde_reads_and_writes() {
        let (topic, symbol, bar) = sample_bar();
        let flat = Bar {
            fold: None,
            previous_close: Some(Price::parse("5.5").expect("price")),
            quality: Quality::Filled,
            ..bar
        };
        for bar in [bar, flat] {
            let json = encode_bar(&topic, "coinbase", &symbol, &bar, STAMP).expect("has a price");
            let message = BarMessage::read(&json).expect("a bar");
            assert_eq!(serde_json::to_vec(&message).expect("plain fields"), json);
            assert_eq!((message.start_ms, message.rev), (bar.start_ms, bar.rev));
            assert_eq!((message.state, message.quality), (bar.state, bar.quality));
        }
        assert_eq!(BarMessage::read(br#"{"op":"boundary"}"#), None);
    }
}
