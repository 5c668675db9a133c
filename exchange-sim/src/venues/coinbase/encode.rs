//! Messages of Coinbase. `side` is the maker's side: the opposite of the taker's.

use std::fmt::Write;

use crate::bar::Bar;
use crate::book::{Book, Level};
use crate::fixed::write_decimal;
use crate::instrument::Instrument;
use crate::interval::iso_us;
use crate::market::mix;
use crate::trade::Trade;

/// Feed events per trade: the sequence counts orders too, so that it jumps between matches.
const EVENTS_PER_TRADE: u64 = 13;

/// Sequence number of the event that a trade is.
pub(crate) fn sequence(trade_id: u64) -> u64 {
    trade_id
        .saturating_mul(EVENTS_PER_TRADE)
        .saturating_add(mix(trade_id) % (EVENTS_PER_TRADE - 1))
}

fn price(instrument: &Instrument, price: i64) -> String {
    crate::fixed::decimal(i128::from(price), instrument.price_scale, 0)
}

fn size(instrument: &Instrument, size: i128) -> String {
    crate::fixed::decimal(size, instrument.quantity_scale, 0)
}

fn maker_side(trade: &Trade) -> &'static str {
    if trade.taker_buys { "sell" } else { "buy" }
}

fn taker_side(trade: &Trade) -> &'static str {
    if trade.taker_buys { "buy" } else { "sell" }
}

/// An order id: made up, but the same for the trades of one order.
fn order_id(key: u64) -> String {
    let (high, low) = (mix(key), mix(key ^ 0xC0DE));
    format!(
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        high >> 32,
        high >> 16 & 0xFFFF,
        high & 0xFFF,
        0x8000 | (low >> 48 & 0x3FFF),
        low & 0xFFFF_FFFF_FFFF
    )
}

/// A `match`, or the `last_match` that a subscription begins with:
/// `{"type":"match","trade_id":280232,"maker_order_id":"2a0da34e-61f7-4c36-88e5-c9dd15927b16","taker_order_id":"3c82abaa-c01e-4608-be59-6a1e69742891","side":"sell","size":"985","price":"0.00001305","product_id":"SKL-BTC","sequence":177100030,"time":"2021-04-17T16:43:37.089723Z"}`
pub(crate) fn matched(instrument: &Instrument, trade: &Trade, kind: &str) -> String {
    let mut out = String::with_capacity(330);
    let _ = write!(
        out,
        r#"{{"type":"{kind}","trade_id":{},"maker_order_id":"{}","taker_order_id":"{}","side":"{}","size":""#,
        trade.id,
        order_id(trade.id),
        order_id(!(trade.event_us as u64)),
        maker_side(trade),
    );
    write_decimal(
        &mut out,
        i128::from(trade.quantity),
        instrument.quantity_scale,
        0,
    );
    out.push_str(r#"","price":""#);
    write_decimal(&mut out, i128::from(trade.price), instrument.price_scale, 0);
    let _ = write!(
        out,
        r#"","product_id":"{}","sequence":{},"time":"{}"}}"#,
        instrument.symbol,
        sequence(trade.id),
        iso_us(trade.event_us)
    );
    out
}

/// A row of `/products/{id}/trades`.
pub(crate) fn trade_row(instrument: &Instrument, trade: &Trade) -> String {
    format!(
        r#"{{"trade_id":{},"side":"{}","size":"{}","price":"{}","time":"{}"}}"#,
        trade.id,
        maker_side(trade),
        size(instrument, i128::from(trade.quantity)),
        price(instrument, trade.price),
        iso_us(trade.event_us)
    )
}

/// A `heartbeat`, once a second; `last_trade_id` 0 is what a feed without trades says.
pub(crate) fn heartbeat(
    instrument: &Instrument,
    sequence: u64,
    last_trade_id: u64,
    now_us: i64,
) -> String {
    format!(
        r#"{{"type":"heartbeat","last_trade_id":{last_trade_id},"product_id":"{}","sequence":{sequence},"time":"{}"}}"#,
        instrument.symbol,
        iso_us(now_us)
    )
}

/// A `ticker`, which names the taker's side.
pub(crate) fn ticker(instrument: &Instrument, trade: &Trade, day: &Bar, book: &Book) -> String {
    let (bid, ask) = book.top(instrument);
    format!(
        concat!(
            r#"{{"type":"ticker","sequence":{},"product_id":"{}","price":"{}","open_24h":"{}","volume_24h":"{}","#,
            r#""low_24h":"{}","high_24h":"{}","volume_30d":"{}","best_bid":"{}","best_bid_size":"{}","#,
            r#""best_ask":"{}","best_ask_size":"{}","side":"{}","time":"{}","trade_id":{},"last_size":"{}"}}"#
        ),
        sequence(trade.id),
        instrument.symbol,
        price(instrument, trade.price),
        price(instrument, day.open),
        size(instrument, day.volume),
        price(instrument, day.low.min(trade.price)),
        price(instrument, day.high.max(trade.price)),
        size(instrument, day.volume * 30),
        price(instrument, bid.price),
        size(instrument, i128::from(bid.quantity)),
        price(instrument, ask.price),
        size(instrument, i128::from(ask.quantity)),
        taker_side(trade),
        iso_us(trade.event_us),
        trade.id,
        size(instrument, i128::from(trade.quantity)),
    )
}

/// `[["price","size"],...]`
pub(crate) fn levels(instrument: &Instrument, levels: &[Level]) -> String {
    let rows: Vec<String> = levels
        .iter()
        .map(|level| {
            format!(
                r#"["{}","{}"]"#,
                price(instrument, level.price),
                size(instrument, i128::from(level.quantity))
            )
        })
        .collect();
    format!("[{}]", rows.join(","))
}

/// A level-2 `snapshot`.
pub(crate) fn snapshot(instrument: &Instrument, book: &Book, depth: i64, now_us: i64) -> String {
    format!(
        r#"{{"type":"snapshot","product_id":"{}","asks":{},"bids":{},"time":"{}"}}"#,
        instrument.symbol,
        levels(instrument, &book.asks(instrument, depth)),
        levels(instrument, &book.bids(instrument, depth)),
        iso_us(now_us)
    )
}

/// An `l2update` from one book to the next; a size of 0 removes the price.
pub(crate) fn level2_update(
    instrument: &Instrument,
    before: &Book,
    book: &Book,
    now_us: i64,
) -> String {
    let (bids, asks) = book.changes_since(before, instrument);
    let rows: Vec<String> = bids
        .iter()
        .map(|level| ("buy", level))
        .chain(asks.iter().map(|level| ("sell", level)))
        .map(|(side, level)| {
            format!(
                r#"["{side}","{}","{}"]"#,
                price(instrument, level.price),
                size(instrument, i128::from(level.quantity))
            )
        })
        .collect();
    format!(
        r#"{{"type":"l2update","product_id":"{}","changes":[{}],"time":"{}"}}"#,
        instrument.symbol,
        rows.join(","),
        iso_us(now_us)
    )
}

/// A row of `/products/{id}/candles`: `[time,low,high,open,close,volume]`, numbers, time in seconds.
pub(crate) fn candle_row(instrument: &Instrument, bar: &Bar) -> String {
    format!(
        "[{},{},{},{},{},{}]",
        bar.start_ms / 1000,
        price(instrument, bar.low),
        price(instrument, bar.high),
        price(instrument, bar.open),
        price(instrument, bar.close),
        size(instrument, bar.volume)
    )
}

#[cfg(test)]
mod tests;
