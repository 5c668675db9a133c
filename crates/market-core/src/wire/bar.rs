//! Bars.

use std::fmt::{self, Write as _};

use bytes::Bytes;

use crate::bar::{Bar, BarState, Quality};
use crate::bar_row::BarRow;
use crate::topic::Topic;
use crate::value::amount::write_decimal;
use crate::value::clock::{UnixMicros, UnixMillis};
use crate::value::symbol::Symbol;
use crate::value::width::Width;

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
    let row = BarRow::of_any(bar, 0)?;
    let names = (topic, exchange, symbol);
    let mut json = String::new();
    write_bar(
        &mut json,
        names,
        bar.timeframe,
        bar.end_ms,
        &row,
        bar.state,
        stamp,
    );
    Some(Bytes::from(json))
}

/// Encodes a row as [`encode_bar`] encodes the bar that it is the row of.
#[must_use]
pub fn encode_row(
    topic: &Topic,
    exchange: &str,
    symbol: &Symbol,
    width: Width,
    row: &BarRow,
    state: BarState,
    stamp: Stamp,
) -> Bytes {
    let mut json = String::new();
    write_row(
        &mut json,
        (topic, exchange, symbol),
        width,
        row,
        state,
        stamp,
    );
    Bytes::from(json)
}

/// Appends a row as [`encode_row`] encodes it to the JSON before it.
pub fn write_row(
    json: &mut String,
    (topic, exchange, symbol): (&Topic, &str, &Symbol),
    width: Width,
    row: &BarRow,
    state: BarState,
    stamp: Stamp,
) {
    let end_ms = width.end_of(row.start_ms);
    write_bar(
        json,
        (topic, exchange, symbol),
        width,
        end_ms,
        row,
        state,
        stamp,
    );
}

/// Bytes of a long bar.
const BAR_BYTES: usize = 576;

fn write_bar(
    json: &mut String,
    (topic, exchange, symbol): (&Topic, &str, &Symbol),
    width: impl fmt::Display,
    end_ms: UnixMillis,
    row: &BarRow,
    state: BarState,
    stamp: Stamp,
) {
    // Topics, symbols and numbers need no escaping: their types hold plain characters only. The
    // names of exchanges are the program's own.
    json.reserve(BAR_BYTES);
    push_text(json, r#"{"topic":"#, topic.as_str());
    push_number(json, r#","seq":"#, stamp.seq);
    push_number(json, r#","epoch":"#, stamp.epoch);
    push_text(json, r#","exchange":"#, exchange);
    push_text(json, r#","symbol":"#, symbol.as_str());
    let _ = write!(json, r#","interval":"{width}""#);
    push_number(json, r#","start_ms":"#, row.start_ms);
    push_number(json, r#","end_ms":"#, end_ms);
    push_decimal(json, r#","open":"#, row.open.parts());
    push_decimal(json, r#","high":"#, row.high.parts());
    push_decimal(json, r#","low":"#, row.low.parts());
    push_decimal(json, r#","close":"#, row.close.parts());
    push_decimal(json, r#","volume":"#, row.volume.normalized());
    for (name, sum) in [
        (r#","quote_volume":"#, row.quote_volume),
        (r#","taker_buy_volume":"#, row.taker_buy_volume),
        (r#","taker_buy_quote_volume":"#, row.taker_buy_quote_volume),
    ] {
        match sum {
            Some(sum) => push_decimal(json, name, sum.normalized()),
            None => push_null(json, name),
        }
    }
    match row.count {
        Some(count) => push_number(json, r#","count":"#, count),
        None => push_null(json, r#","count":"#),
    }
    for (name, id) in [
        (r#","first_id":"#, row.ids.map(|ids| ids.first)),
        (r#","last_id":"#, row.ids.map(|ids| ids.last)),
    ] {
        match id {
            Some(id) => push_text(json, name, itoa::Buffer::new().format(id)),
            None => push_null(json, name),
        }
    }
    let state = match state {
        BarState::Forming => "forming",
        BarState::Closed => "closed",
    };
    push_text(json, r#","state":"#, state);
    push_number(json, r#","rev":"#, row.rev);
    push_text(json, r#","quality":"#, quality_name(row.quality));
    for (name, time) in [
        (r#","event_ms":"#, row.event_ms),
        (r#","received_us":"#, row.received_us),
    ] {
        match time {
            Some(time) => push_number(json, name, time),
            None => push_null(json, name),
        }
    }
    push_number(json, r#","published_us":"#, stamp.published_us);
    json.push('}');
}

// Each takes what stands before the value: the comma and the name of the field. `write!` costs
// about twice as much for each field.

fn push_text(json: &mut String, before: &str, text: &str) {
    json.push_str(before);
    json.push('"');
    json.push_str(text);
    json.push('"');
}

fn push_number(json: &mut String, before: &str, number: impl itoa::Integer) {
    json.push_str(before);
    json.push_str(itoa::Buffer::new().format(number));
}

fn push_decimal(json: &mut String, before: &str, (mantissa, scale): (i128, u32)) {
    json.push_str(before);
    json.push('"');
    // Writing to a string does not fail.
    let _ = write_decimal(json, mantissa, scale);
    json.push('"');
}

fn push_null(json: &mut String, before: &str) {
    json.push_str(before);
    json.push_str("null");
}

/// The name of a quality in a bar.
#[must_use]
pub fn quality_name(quality: Quality) -> &'static str {
    use crate::bar::Quality::{Backfilled, Complete, Filled, Gap, Partial};
    match quality {
        Complete => "complete",
        Gap => "gap",
        Backfilled => "backfilled",
        Partial => "partial",
        Filled => "filled",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bar::Fold;
    use crate::trade::{AggressorSide, Trade};
    use crate::value::price::{Price, Quantity};
    use crate::value::timeframe::Timeframe;
    use crate::wire::{BarHead, BarMessage};

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
            let made = BarMessage::new(&topic, "coinbase", &symbol, &bar, STAMP);
            assert_eq!(made.as_ref(), Some(&message));
            assert_eq!((message.start_ms, message.rev), (bar.start_ms, bar.rev));
            assert_eq!((message.state, message.quality), (bar.state, bar.quality));
            // A row keeps every field that a client gets of a closed bar, but its place.
            let row = BarRow::of_message(&message).expect("a bar");
            assert!(BarRow::of(&bar, 0).is_some_and(|known| row.says_the_same(&known)));
            let width = Width::from(bar.timeframe);
            let again = encode_row(&topic, "coinbase", &symbol, width, &row, bar.state, STAMP);
            assert_eq!(again, json);
            let past = BarMessage::read(&row.encode(&topic, "coinbase", &symbol, width));
            let expected = BarMessage {
                seq: 0,
                epoch: 0,
                published_us: 0,
                ..message
            };
            assert_eq!(past, Some(expected));
        }
        assert_eq!(BarMessage::read(br#"{"op":"boundary"}"#), None);
    }

    #[test]
    fn what_a_venue_does_not_say_is_null_and_not_zero() {
        let (topic, symbol, bar) = sample_bar();
        let row = BarRow {
            quote_volume: None,
            taker_buy_volume: None,
            taker_buy_quote_volume: None,
            count: None,
            ..BarRow::of(&bar, 0).expect("it has trades")
        };
        let json = row.encode(&topic, "coinbase", &symbol, bar.timeframe.into());
        let value: serde_json::Value = serde_json::from_slice(&json).expect("valid JSON");
        for name in [
            "quote_volume",
            "taker_buy_volume",
            "taker_buy_quote_volume",
            "count",
        ] {
            assert_eq!(value.get(name), Some(&serde_json::Value::Null), "{name}");
        }
        let message = BarMessage::read(&json).expect("a bar");
        assert_eq!(serde_json::to_vec(&message).expect("plain fields"), json);
        assert_eq!(BarRow::of_message(&message), Some(row));
        // A bar with trades is not flat because nobody counted them.
        assert!(!row.is_flat());
    }
}
