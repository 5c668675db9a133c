//! Line protocol: rows as points.

use std::fmt::Write as _;

use market_core::{BarRow, Timeframe, Trade, UnixMillis};

use crate::block::check_bar as check_content;
use crate::store::row_text::{PLACES_MAX, bar_text, trade_text};
use crate::store::{BarSeries, Instrument};

/// The current revision of each bar.
pub(super) const BARS: &str = "market_klines";
/// The other revisions of bars.
pub(super) const REVISIONS: &str = "market_kline_revisions";
/// Trades.
pub(super) const TRADES: &str = "market_trades";
/// How far streams are stored.
pub(super) const MARKS: &str = "klinecast_watermarks";

/// Nanoseconds of a millisecond, in which the points of one instant have their places.
pub(super) const PLACES: i64 = 1_000_000;
/// First instant that has no points: in the year 2262. Times are nanoseconds in an `i64`.
pub(super) const TIME_END_MS: UnixMillis = 9_223_372_036_000;

/// The most bytes of the name of a venue.
const NAME_BYTES_MAX: usize = 128;

/// What is wrong with a bar that cannot be stored.
pub(super) fn check_bar(series: &BarSeries, row: &BarRow) -> Result<(), &'static str> {
    check_names(&series.instrument)?;
    check_time(row.start_ms)?;
    check_content(series.timeframe, row)?;
    let sums = [
        Some(row.volume),
        row.quote_volume,
        row.taker_buy_volume,
        row.taker_buy_quote_volume,
    ];
    if sums.iter().flatten().any(|sum| sum.parts().1 > PLACES_MAX) {
        return Err("a volume has too many decimal places");
    }
    Ok(())
}

/// What is wrong with a trade that cannot be stored.
pub(super) fn check_trade(trade: &Trade) -> Result<(), &'static str> {
    check_time(trade.event_ms)?;
    match trade.first_id <= trade.last_id {
        true => Ok(()),
        false => Err("trade ids"),
    }
}

fn check_time(at_ms: UnixMillis) -> Result<(), &'static str> {
    match (0..TIME_END_MS).contains(&at_ms) {
        true => Ok(()),
        false => Err("the time of a row is not in the years 1970 to 2261"),
    }
}

/// What is wrong with a venue that cannot be a tag. A symbol always can.
pub(super) fn check_names(instrument: &Instrument) -> Result<(), &'static str> {
    let name = &instrument.exchange;
    let is_plain = |char: char| !char.is_control() && char != '\\';
    match !name.is_empty() && name.len() <= NAME_BYTES_MAX && name.chars().all(is_plain) {
        true => Ok(()),
        false => Err("the name of a venue cannot be a tag"),
    }
}

/// A tag's value, with what separates tags escaped.
fn put_tag(line: &mut String, name: &str, value: &str) {
    line.push(',');
    line.push_str(name);
    line.push('=');
    for char in value.chars() {
        if matches!(char, ',' | '=' | ' ') {
            line.push('\\');
        }
        line.push(char);
    }
}

/// A field of text.
fn put_text(line: &mut String, name: &str, value: &str) {
    line.push_str(name);
    line.push_str("=\"");
    for char in value.chars() {
        if matches!(char, '"' | '\\') {
            line.push('\\');
        }
        line.push(char);
    }
    line.push('"');
}

/// A double, for charts alone: exact decimals are in the text.
fn put_double(line: &mut String, name: &str, value: impl std::fmt::Display) {
    let value: f64 = value.to_string().parse().unwrap_or(f64::MAX);
    // Writing to a string cannot fail.
    let _ = write!(line, ",{name}={value}");
}

fn put_instrument(line: &mut String, instrument: &Instrument, timeframe: Option<Timeframe>) {
    put_tag(line, "exchange", &instrument.exchange);
    if let Some(timeframe) = timeframe {
        put_tag(line, "interval", &timeframe.to_string());
    }
    put_tag(line, "symbol", instrument.symbol.as_str());
}

/// Appends the line of a bar at a place of its start's millisecond.
pub(super) fn put_bar(
    line: &mut String,
    measurement: &str,
    series: &BarSeries,
    row: &BarRow,
    place: i64,
) {
    line.push_str(measurement);
    put_instrument(line, &series.instrument, Some(series.timeframe));
    line.push(' ');
    put_text(line, "row", &bar_text(row));
    let _ = write!(line, ",known_ms={}i,rev={}i", row.known_ms, row.rev);
    let values = [
        ("open", row.open),
        ("high", row.high),
        ("low", row.low),
        ("close", row.close),
    ];
    for (name, value) in values {
        put_double(line, name, value);
    }
    put_double(line, "volume", row.volume);
    let at_ns = row.start_ms.saturating_mul(PLACES).saturating_add(place);
    let _ = writeln!(line, " {at_ns}");
}

/// The time of a trade's point, ns.
pub(super) fn trade_ns(trade: &Trade) -> i64 {
    let place = trade.first_id % PLACES.unsigned_abs();
    trade
        .event_ms
        .saturating_mul(PLACES)
        .saturating_add_unsigned(place)
}

/// Appends the line of a trade.
pub(super) fn put_trade(line: &mut String, instrument: &Instrument, trade: &Trade) {
    line.push_str(TRADES);
    put_instrument(line, instrument, None);
    line.push(' ');
    put_text(line, "row", &trade_text(trade));
    put_double(line, "price", trade.price);
    put_double(line, "quantity", trade.quantity);
    let _ = writeln!(line, " {}", trade_ns(trade));
}

/// Appends the line of a stream's position.
pub(super) fn put_mark(line: &mut String, stream: &str, position: u64, at_ns: i64) {
    line.push_str(MARKS);
    line.push(' ');
    put_text(line, "stream", stream);
    line.push(',');
    put_text(line, "position", &position.to_string());
    let _ = writeln!(line, " {at_ns}");
}
