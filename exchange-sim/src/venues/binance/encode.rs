//! Payloads of Binance streams. Prices and quantities have eight decimals.

use std::fmt::Write;

use crate::bar::Bar;
use crate::book::{Book, Level};
use crate::fixed::{write_decimal, write_int, write_unsigned};
use crate::instrument::Instrument;
use crate::interval::Interval;
use crate::trade::Trade;

/// Whether times are written in microseconds instead of milliseconds.
pub(crate) type Micros = bool;

fn push_time(out: &mut String, at_us: i64, micros: Micros) {
    write_int(
        out,
        if micros {
            at_us
        } else {
            at_us.div_euclid(1000)
        },
    );
}

fn push_price(out: &mut String, instrument: &Instrument, price: i64) {
    write_decimal(out, i128::from(price), instrument.price_scale, 8);
}

fn push_quantity(out: &mut String, instrument: &Instrument, quantity: i128) {
    write_decimal(out, quantity, instrument.quantity_scale, 8);
}

fn push_quote(out: &mut String, instrument: &Instrument, amount: i128) {
    write_decimal(
        out,
        amount,
        instrument.price_scale + instrument.quantity_scale,
        8,
    );
}

/// A `@trade` event:
/// `{"e":"trade","E":1723161255343,"s":"BTCUSDT","t":3735683259,"p":"61837.63000000","q":"0.02000000","T":1723161255342,"m":true,"M":true}`
pub(crate) fn trade(instrument: &Instrument, trade: &Trade, now_us: i64, micros: Micros) -> String {
    let mut out = String::with_capacity(160);
    out.push_str(r#"{"e":"trade","E":"#);
    push_time(&mut out, now_us, micros);
    out.push_str(r#","s":""#);
    out.push_str(&instrument.symbol);
    out.push_str(r#"","t":"#);
    write_unsigned(&mut out, u128::from(trade.id));
    out.push_str(r#","p":""#);
    push_price(&mut out, instrument, trade.price);
    out.push_str(r#"","q":""#);
    push_quantity(&mut out, instrument, i128::from(trade.quantity));
    out.push_str(r#"","T":"#);
    push_time(&mut out, trade.event_us, micros);
    // `m`: whether the buyer was the maker, so that true means that the taker sold.
    out.push_str(if trade.taker_buys {
        r#","m":false,"M":true}"#
    } else {
        r#","m":true,"M":true}"#
    });
    out
}

/// An `@aggTrade` event over the trades of one aggregate:
/// `{"e":"aggTrade","E":1633998288468,"s":"OMGBUSD","a":425085,"p":"13.80480000","q":"2.10000000","f":439577,"l":439577,"T":1633998288467,"m":false,"M":true}`
pub(crate) fn aggregate(
    instrument: &Instrument,
    run: &[Trade],
    now_us: i64,
    micros: Micros,
) -> String {
    let mut out = String::with_capacity(190);
    out.push_str(r#"{"e":"aggTrade","E":"#);
    push_time(&mut out, now_us, micros);
    let _ = write!(out, r#","s":"{}","#, instrument.symbol);
    push_aggregate(&mut out, instrument, run, micros);
    out
}

/// A row of `/api/v3/aggTrades`.
pub(crate) fn aggregate_row(instrument: &Instrument, run: &[Trade]) -> String {
    let mut out = String::with_capacity(150);
    out.push('{');
    push_aggregate(&mut out, instrument, run, false);
    out
}

fn push_aggregate(out: &mut String, instrument: &Instrument, run: &[Trade], micros: Micros) {
    let (first, last) = (&run[0], &run[run.len() - 1]);
    let quantity: i128 = run.iter().map(|trade| i128::from(trade.quantity)).sum();
    let _ = write!(out, r#""a":{},"p":""#, first.aggregate_id);
    push_price(out, instrument, first.price);
    out.push_str(r#"","q":""#);
    push_quantity(out, instrument, quantity);
    let _ = write!(out, r#"","f":{},"l":{},"T":"#, first.first_id(), last.id);
    push_time(out, first.event_us, micros);
    out.push_str(if first.taker_buys {
        r#","m":false,"M":true}"#
    } else {
        r#","m":true,"M":true}"#
    });
}

/// A row of `/api/v3/trades` and `/api/v3/historicalTrades`.
pub(crate) fn trade_row(instrument: &Instrument, trade: &Trade) -> String {
    let mut out = String::with_capacity(170);
    let _ = write!(out, r#"{{"id":{},"price":""#, trade.id);
    push_price(&mut out, instrument, trade.price);
    out.push_str(r#"","qty":""#);
    push_quantity(&mut out, instrument, i128::from(trade.quantity));
    out.push_str(r#"","quoteQty":""#);
    push_quote(&mut out, instrument, trade.notional());
    let _ = write!(
        out,
        r#"","time":{},"isBuyerMaker":{},"isBestMatch":true}}"#,
        trade.event_ms(),
        !trade.taker_buys
    );
    out
}

/// A bar with the interval that it belongs to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kline<'a> {
    /// The bar.
    pub(crate) bar: &'a Bar,
    /// Its interval.
    pub(crate) interval: Interval,
    /// Milliseconds that days begin before midnight UTC.
    pub(crate) offset_ms: i64,
}

impl Kline<'_> {
    fn close_us(&self) -> i64 {
        self.interval.next(self.bar.start_ms, self.offset_ms) * 1000 - 1
    }
}

/// A `@kline_<interval>` event. A bar without trades has -1 for both ids.
pub(crate) fn kline(
    instrument: &Instrument,
    name: &str,
    kline: Kline,
    closed: bool,
    now_us: i64,
    micros: Micros,
) -> String {
    let bar = kline.bar;
    let mut out = String::with_capacity(380);
    out.push_str(r#"{"e":"kline","E":"#);
    push_time(&mut out, now_us, micros);
    let _ = write!(out, r#","s":"{0}","k":{{"t":"#, instrument.symbol);
    push_time(&mut out, bar.start_ms * 1000, micros);
    out.push_str(r#","T":"#);
    push_time(&mut out, kline.close_us(), micros);
    let (first, last) = if bar.count == 0 {
        (-1, -1)
    } else {
        (bar.first_id as i64, bar.last_id as i64)
    };
    let _ = write!(
        out,
        r#","s":"{}","i":"{name}","f":{first},"L":{last},"o":""#,
        instrument.symbol
    );
    push_price(&mut out, instrument, bar.open);
    out.push_str(r#"","c":""#);
    push_price(&mut out, instrument, bar.close);
    out.push_str(r#"","h":""#);
    push_price(&mut out, instrument, bar.high);
    out.push_str(r#"","l":""#);
    push_price(&mut out, instrument, bar.low);
    out.push_str(r#"","v":""#);
    push_quantity(&mut out, instrument, bar.volume);
    let _ = write!(out, r#"","n":{},"x":{closed},"q":""#, bar.count);
    push_quote(&mut out, instrument, bar.quote_volume);
    out.push_str(r#"","V":""#);
    push_quantity(&mut out, instrument, bar.taker_buy_volume);
    out.push_str(r#"","Q":""#);
    push_quote(&mut out, instrument, bar.taker_buy_quote_volume);
    out.push_str(r#"","B":"0"}}"#);
    out
}

/// A row of `/api/v3/klines`:
/// `[1588740120000,"9033.34000000","9039.99000000","9032.75000000","9033.15000000","31.19296800",1588740179999,"281893.08800082",282,"6.35810300","57447.26912415","0"]`
pub(crate) fn kline_row(instrument: &Instrument, kline: Kline, micros: Micros) -> String {
    let bar = kline.bar;
    let mut out = String::with_capacity(190);
    out.push('[');
    push_time(&mut out, bar.start_ms * 1000, micros);
    for price in [bar.open, bar.high, bar.low, bar.close] {
        out.push_str(",\"");
        push_price(&mut out, instrument, price);
        out.push('"');
    }
    out.push_str(",\"");
    push_quantity(&mut out, instrument, bar.volume);
    out.push_str("\",");
    push_time(&mut out, kline.close_us(), micros);
    out.push_str(",\"");
    push_quote(&mut out, instrument, bar.quote_volume);
    let _ = write!(out, "\",{},\"", bar.count);
    push_quantity(&mut out, instrument, bar.taker_buy_volume);
    out.push_str("\",\"");
    push_quote(&mut out, instrument, bar.taker_buy_quote_volume);
    out.push_str("\",\"0\"]");
    out
}

/// A `@bookTicker` event, which has no event time.
pub(crate) fn book_ticker(instrument: &Instrument, book: &Book) -> String {
    let mut out = String::with_capacity(150);
    let (bid, ask) = book.top(instrument);
    let _ = write!(
        out,
        r#"{{"u":{},"s":"{}","b":""#,
        book.update_id, instrument.symbol
    );
    push_price(&mut out, instrument, bid.price);
    out.push_str(r#"","B":""#);
    push_quantity(&mut out, instrument, i128::from(bid.quantity));
    out.push_str(r#"","a":""#);
    push_price(&mut out, instrument, ask.price);
    out.push_str(r#"","A":""#);
    push_quantity(&mut out, instrument, i128::from(ask.quantity));
    out.push_str("\"}");
    out
}

/// `[["price","quantity"],...]`
pub(crate) fn levels(out: &mut String, instrument: &Instrument, levels: &[Level]) {
    out.push('[');
    for (at, level) in levels.iter().enumerate() {
        out.push_str(if at == 0 { "[\"" } else { ",[\"" });
        push_price(out, instrument, level.price);
        out.push_str("\",\"");
        push_quantity(out, instrument, i128::from(level.quantity));
        out.push_str("\"]");
    }
    out.push(']');
}

/// A `depthUpdate` event from one book to the next.
pub(crate) fn depth_update(
    instrument: &Instrument,
    before: &Book,
    book: &Book,
    now_us: i64,
    micros: Micros,
) -> String {
    let (bids, asks) = book.changes_since(before, instrument);
    let mut out = String::with_capacity(400);
    out.push_str(r#"{"e":"depthUpdate","E":"#);
    push_time(&mut out, now_us, micros);
    let _ = write!(
        out,
        r#","s":"{}","U":{},"u":{},"b":"#,
        instrument.symbol,
        before.update_id + 1,
        book.update_id
    );
    levels(&mut out, instrument, &bids);
    out.push_str(r#","a":"#);
    levels(&mut out, instrument, &asks);
    out.push('}');
    out
}

/// A book snapshot, as of `@depth5` and of `/api/v3/depth`.
pub(crate) fn depth(instrument: &Instrument, book: &Book, count: i64) -> String {
    let mut out = String::with_capacity(64 + 60 * count as usize);
    let _ = write!(out, r#"{{"lastUpdateId":{},"bids":"#, book.update_id);
    levels(&mut out, instrument, &book.bids(instrument, count));
    out.push_str(r#","asks":"#);
    levels(&mut out, instrument, &book.asks(instrument, count));
    out.push('}');
    out
}

/// A `@miniTicker` event over the last day.
pub(crate) fn mini_ticker(
    instrument: &Instrument,
    day: &Bar,
    now_us: i64,
    micros: Micros,
) -> String {
    let mut out = String::with_capacity(200);
    out.push_str(r#"{"e":"24hrMiniTicker","E":"#);
    push_time(&mut out, now_us, micros);
    let _ = write!(out, r#","s":"{}""#, instrument.symbol);
    for (key, price) in [
        ("c", day.close),
        ("o", day.open),
        ("h", day.high),
        ("l", day.low),
    ] {
        let _ = write!(out, r#","{key}":""#);
        push_price(&mut out, instrument, price);
        out.push('"');
    }
    out.push_str(r#","v":""#);
    push_quantity(&mut out, instrument, day.volume);
    out.push_str(r#"","q":""#);
    push_quote(&mut out, instrument, day.quote_volume);
    out.push_str("\"}");
    out
}

/// The last day in numbers: the names of the stream's fields and of the REST answer's, and values.
pub(crate) fn day_fields(
    instrument: &Instrument,
    day: &Bar,
    last: &Trade,
    book: &Book,
    now_us: i64,
) -> Vec<(&'static str, &'static str, String)> {
    let price = |price: i64| quoted(|out| push_price(out, instrument, price));
    let quantity = |quantity: i128| quoted(|out| push_quantity(out, instrument, quantity));
    let change = i128::from(day.close) - i128::from(day.open);
    let percent = change * 100_000 / i128::from(day.open.max(1));
    let average = if day.volume == 0 {
        i128::from(day.close)
    } else {
        day.quote_volume / day.volume
    };
    let (bid, ask) = book.top(instrument);
    let now_ms = now_us.div_euclid(1000);
    vec![
        (
            "p",
            "priceChange",
            quoted(|out| write_decimal(out, change, instrument.price_scale, 8)),
        ),
        (
            "P",
            "priceChangePercent",
            quoted(|out| write_decimal(out, percent, 3, 3)),
        ),
        (
            "w",
            "weightedAvgPrice",
            quoted(|out| write_decimal(out, average, instrument.price_scale, 8)),
        ),
        ("x", "prevClosePrice", price(day.open)),
        ("c", "lastPrice", price(day.close)),
        ("Q", "lastQty", quantity(i128::from(last.quantity))),
        ("b", "bidPrice", price(bid.price)),
        ("B", "bidQty", quantity(i128::from(bid.quantity))),
        ("a", "askPrice", price(ask.price)),
        ("A", "askQty", quantity(i128::from(ask.quantity))),
        ("o", "openPrice", price(day.open)),
        ("h", "highPrice", price(day.high)),
        ("l", "lowPrice", price(day.low)),
        ("v", "volume", quantity(day.volume)),
        (
            "q",
            "quoteVolume",
            quoted(|out| push_quote(out, instrument, day.quote_volume)),
        ),
        ("O", "openTime", (now_ms - 86_400_000).to_string()),
        ("C", "closeTime", now_ms.to_string()),
        ("F", "firstId", day.first_id.to_string()),
        ("L", "lastId", day.last_id.to_string()),
        ("n", "count", day.count.to_string()),
    ]
}

/// A `@ticker` event over the last day.
pub(crate) fn ticker(
    instrument: &Instrument,
    fields: &[(&'static str, &'static str, String)],
    now_us: i64,
    micros: Micros,
) -> String {
    let mut out = String::with_capacity(500);
    out.push_str(r#"{"e":"24hrTicker","E":"#);
    push_time(&mut out, now_us, micros);
    let _ = write!(out, r#","s":"{}""#, instrument.symbol);
    for (key, _, value) in fields {
        let _ = write!(out, r#","{key}":{value}"#);
    }
    out.push('}');
    out
}

/// An `@avgPrice` event over the last five minutes.
pub(crate) fn average_price(
    instrument: &Instrument,
    window: &Bar,
    now_us: i64,
    micros: Micros,
) -> String {
    let average = window
        .quote_volume
        .checked_div(window.volume)
        .unwrap_or(i128::from(window.close));
    let mut out = String::with_capacity(120);
    out.push_str(r#"{"e":"avgPrice","E":"#);
    push_time(&mut out, now_us, micros);
    let _ = write!(out, r#","s":"{}","i":"5m","w":""#, instrument.symbol);
    write_decimal(&mut out, average, instrument.price_scale, 8);
    out.push_str(r#"","T":"#);
    push_time(&mut out, window.close_key.0, micros);
    out.push('}');
    out
}

fn quoted(write: impl FnOnce(&mut String)) -> String {
    let mut out = String::with_capacity(26);
    out.push('"');
    write(&mut out);
    out.push('"');
    out
}

/// Wraps a payload for the combined format.
pub(crate) fn combined(stream: &str, payload: &str) -> String {
    format!(r#"{{"stream":"{stream}","data":{payload}}}"#)
}

#[cfg(test)]
mod tests;
