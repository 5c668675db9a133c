//! Messages of OKX. `side` is the taker's side.

use std::fmt::Write;

use crate::bar::Bar;
use crate::book::{Book, Level};
use crate::fixed::decimal;
use crate::instrument::Instrument;
use crate::trade::Trade;

fn price(instrument: &Instrument, price: i64) -> String {
    decimal(i128::from(price), instrument.price_scale, 0)
}

fn size(instrument: &Instrument, size: i128) -> String {
    decimal(size, instrument.quantity_scale, 0)
}

fn side(trade: &Trade) -> &'static str {
    if trade.taker_buys { "buy" } else { "sell" }
}

/// The frame of a channel around its data.
pub(crate) fn frame(channel: &str, instrument: &Instrument, data: &str) -> String {
    format!(
        r#"{{"arg":{{"channel":"{channel}","instId":"{}"}},"data":[{data}]}}"#,
        instrument.symbol
    )
}

/// One aggregate of the `trades` channel: its last trade's id, and how many trades it is.
pub(crate) fn aggregate(instrument: &Instrument, run: &[Trade]) -> String {
    let last = &run[run.len() - 1];
    let quantity: i128 = run.iter().map(|trade| i128::from(trade.quantity)).sum();
    let count: u32 = run.iter().map(|trade| trade.count).sum();
    let mut out = trade_fields(instrument, last, &size(instrument, quantity));
    let _ = write!(
        out,
        r#","count":"{count}","source":"0","seqId":{}}}"#,
        3 * last.id
    );
    out
}

/// One trade of the `trades-all` channel and of the REST answers.
pub(crate) fn trade(instrument: &Instrument, trade: &Trade) -> String {
    let mut out = trade_fields(
        instrument,
        trade,
        &size(instrument, i128::from(trade.quantity)),
    );
    out.push_str(r#","source":"0"}"#);
    out
}

fn trade_fields(instrument: &Instrument, trade: &Trade, quantity: &str) -> String {
    format!(
        r#"{{"instId":"{}","tradeId":"{}","px":"{}","sz":"{quantity}","side":"{}","ts":"{}""#,
        instrument.symbol,
        trade.id,
        price(instrument, trade.price),
        side(trade),
        trade.event_ms()
    )
}

/// A ticker of the last day.
pub(crate) fn ticker(
    instrument: &Instrument,
    last: &Trade,
    day: &Bar,
    book: &Book,
    now_ms: i64,
) -> String {
    let (bid, ask) = book.top(instrument);
    format!(
        concat!(
            r#"{{"instType":"SPOT","instId":"{}","last":"{}","lastSz":"{}","askPx":"{}","askSz":"{}","bidPx":"{}","#,
            r#""bidSz":"{}","open24h":"{open}","high24h":"{}","low24h":"{}","sodUtc0":"{open}","sodUtc8":"{open}","#,
            r#""volCcy24h":"{}","vol24h":"{}","ts":"{}"}}"#
        ),
        instrument.symbol,
        price(instrument, last.price),
        size(instrument, i128::from(last.quantity)),
        price(instrument, ask.price),
        size(instrument, i128::from(ask.quantity)),
        price(instrument, bid.price),
        size(instrument, i128::from(bid.quantity)),
        price(instrument, day.high.max(last.price)),
        price(instrument, day.low.min(last.price)),
        decimal(
            day.quote_volume,
            instrument.price_scale + instrument.quantity_scale,
            0
        ),
        size(instrument, day.volume),
        now_ms,
        open = price(instrument, day.open),
    )
}

/// `[["price","size","0","orders"],...]`
fn levels(instrument: &Instrument, levels: &[Level]) -> String {
    let rows: Vec<String> = levels
        .iter()
        .map(|level| {
            let orders = if level.quantity == 0 {
                0
            } else {
                1 + level.price % 7
            };
            format!(
                r#"["{}","{}","0","{orders}"]"#,
                price(instrument, level.price),
                size(instrument, i128::from(level.quantity))
            )
        })
        .collect();
    format!("[{}]", rows.join(","))
}

/// A book of so many levels, as of `books5`, `bbo-tbt` and REST.
pub(crate) fn book(instrument: &Instrument, book: &Book, depth: i64, now_ms: i64) -> String {
    format!(
        r#"{{"asks":{},"bids":{},"instId":"{}","ts":"{now_ms}","seqId":{}}}"#,
        levels(instrument, &book.asks(instrument, depth)),
        levels(instrument, &book.bids(instrument, depth)),
        instrument.symbol,
        book.update_id
    )
}

/// A frame of `books`: a snapshot, or what has changed since `before`.
pub(crate) fn books_frame(
    instrument: &Instrument,
    before: Option<&Book>,
    book: &Book,
    now_ms: i64,
) -> String {
    let (action, previous, bids, asks) = match before {
        None => {
            let depth = crate::book::LEVELS;
            (
                "snapshot",
                -1,
                book.bids(instrument, depth),
                book.asks(instrument, depth),
            )
        }
        Some(before) => {
            let (bids, asks) = book.changes_since(before, instrument);
            ("update", before.update_id as i64, bids, asks)
        }
    };
    // The checksum is deprecated: sequences are what a client relies on.
    format!(
        r#"{{"arg":{{"channel":"books","instId":"{}"}},"action":"{action}","data":[{{"asks":{},"bids":{},"ts":"{now_ms}","checksum":0,"seqId":{},"prevSeqId":{previous}}}]}}"#,
        instrument.symbol,
        levels(instrument, &asks),
        levels(instrument, &bids),
        book.update_id
    )
}

/// A candle row `[ts,o,h,l,c,vol,volCcy,volCcyQuote,confirm]`; confirm "1" is closed. On spot
/// `vol` is base, `volCcy` and `volCcyQuote` are quote.
pub(crate) fn candle(instrument: &Instrument, bar: &Bar, closed: bool) -> String {
    let quote = decimal(
        bar.quote_volume,
        instrument.price_scale + instrument.quantity_scale,
        0,
    );
    format!(
        r#"["{}","{}","{}","{}","{}","{}","{quote}","{quote}","{}"]"#,
        bar.start_ms,
        price(instrument, bar.open),
        price(instrument, bar.high),
        price(instrument, bar.low),
        price(instrument, bar.close),
        size(instrument, bar.volume),
        u8::from(closed)
    )
}

#[cfg(test)]
mod tests;
