//! `InfluxQL`: what is asked.

use std::fmt::Write as _;

use bytes::Bytes;
use market_core::{Timeframe, UnixMillis};

use super::point::TIME_END_MS;
use crate::store::{Instrument, Order};

/// A form with the statements as its `q`.
pub(super) fn form(statements: &str) -> Bytes {
    let mut form = String::with_capacity(statements.len() * 3 / 2);
    form.push_str("q=");
    for byte in statements.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => {
                form.push(char::from(byte));
            }
            b' ' => form.push('+'),
            _ => {
                // Writing to a string cannot fail.
                let _ = write!(form, "%{byte:02X}");
            }
        }
    }
    form.into()
}

/// A text in single quotes.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('\'');
    for char in text.chars() {
        match char {
            '\'' | '\\' => quoted.extend(['\\', char]),
            '\n' => quoted.push_str("\\n"),
            _ => quoted.push(char),
        }
    }
    quoted.push('\'');
    quoted
}

/// A name in double quotes.
pub(super) fn name(text: &str) -> String {
    let mut name = String::with_capacity(text.len() + 2);
    name.push('"');
    for char in text.chars() {
        if matches!(char, '"' | '\\') {
            name.push('\\');
        }
        name.push(char);
    }
    name.push('"');
    name
}

/// The points of one instrument.
pub(super) fn of_instrument(instrument: &Instrument) -> String {
    format!(
        "\"exchange\"={} AND \"symbol\"={}",
        quoted(&instrument.exchange),
        quoted(instrument.symbol.as_str())
    )
}

/// The points of any of several instruments.
pub(super) fn of_any(instruments: &[&Instrument]) -> String {
    let each = instruments
        .iter()
        .map(|instrument| format!("({})", of_instrument(instrument)));
    format!("({})", each.collect::<Vec<_>>().join(" OR "))
}

/// The points of a timeframe.
pub(super) fn of_timeframe(timeframe: Timeframe) -> String {
    format!("\"interval\"={}", quoted(&timeframe.to_string()))
}

/// The points of `[from_ms, to_ms)`; only times that points can have are asked for.
pub(super) fn between(from_ms: UnixMillis, to_ms: UnixMillis) -> String {
    let (from_ms, to_ms) = (from_ms.max(0), to_ms.clamp(0, TIME_END_MS));
    format!("time >= {from_ms}ms AND time < {to_ms}ms")
}

/// The order by time.
pub(super) const fn by_time(order: Order) -> &'static str {
    match order {
        Order::Ascending => "ORDER BY time ASC",
        Order::Descending => "ORDER BY time DESC",
    }
}
