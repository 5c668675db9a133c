//! Bytes a row, column by column, and the same rows as CSV for other stores.

use std::fmt::Write as _;
use std::path::Path;

use history::BarRow;
use history::block::{encode_bars, encode_trades};
use market_core::{Timeframe, Trade};

use crate::BLOCK_ROWS;
use crate::tapes::{bars_of, tapes};

/// The columns of a block whose decimals have one scale, in their order.
const BAR_COLUMNS: [&str; 20] = [
    "start",
    "flags",
    "(scale)",
    "open",
    "high",
    "low",
    "close",
    "(scale)",
    "volume",
    "taker's volume",
    "(scale)",
    "quote volume",
    "taker's quote volume",
    "count",
    "first id",
    "last id",
    "event time",
    "receive time",
    "known",
    "rev",
];
const TRADE_COLUMNS: [&str; 10] = [
    "event time",
    "first id",
    "last id",
    "(scale)",
    "price",
    "(scale)",
    "quantity",
    "side",
    "receive time",
    "receive time in a burst",
];
/// What only this system knows of a bar.
const OWN_COLUMNS: [&str; 4] = ["event time", "receive time", "known", "rev"];
const HEAD_BYTES: usize = 6;
const COLUMN_HEAD_BYTES: usize = 5;

/// Bytes of each column of blocks.
fn column_bytes(blocks: &[Vec<u8>], columns: usize) -> Vec<usize> {
    let mut sizes = vec![0; columns];
    for block in blocks {
        let mut at = HEAD_BYTES;
        for size in &mut sizes {
            let length = block[at + 1..at + COLUMN_HEAD_BYTES].try_into();
            let length = u32::from_le_bytes(length.expect("four bytes")) as usize;
            *size += COLUMN_HEAD_BYTES + length;
            at += COLUMN_HEAD_BYTES + length;
        }
        assert_eq!(at + 4, block.len(), "the columns as they are named here");
    }
    sizes
}

fn print_columns(what: &str, rows: usize, names: &[&str], blocks: &[Vec<u8>], left_out: &[&str]) {
    let sizes = column_bytes(blocks, names.len());
    let each = |bytes: usize| bytes as f64 / rows as f64;
    let own = names.iter().zip(&sizes);
    let own = own.filter(|(name, _)| left_out.contains(name));
    let own: usize = own.map(|(_, bytes)| bytes).sum();
    let all: usize = blocks.iter().map(Vec::len).sum();
    print!(
        "  {rows} {what}: {:.2} bytes a row, {:.2} without {}:",
        each(all),
        each(all - own),
        left_out.join(", ")
    );
    for (name, bytes) in names.iter().zip(sizes) {
        if *name != "(scale)" {
            print!(" {name} {:.2};", each(bytes));
        }
    }
    println!();
}

pub(crate) fn print_sizes() {
    for tape in tapes() {
        println!("{}", tape.name);
        let blocks = tape.trades.chunks(BLOCK_ROWS);
        let blocks: Vec<_> = blocks
            .map(|rows| encode_trades(rows).expect("trades"))
            .collect();
        let trades = tape.trades.len();
        print_columns(
            "trades",
            trades,
            &TRADE_COLUMNS,
            &blocks,
            &TRADE_COLUMNS[8..],
        );
        for timeframe in [Timeframe::SECOND, Timeframe::MINUTE] {
            let bars = bars_of(&tape.trades, timeframe);
            let blocks = bars.chunks(BLOCK_ROWS);
            let blocks: Vec<_> = blocks
                .map(|rows| encode_bars(timeframe, rows).expect("bars"))
                .collect();
            let what = format!("bars of {timeframe}");
            print_columns(&what, bars.len(), &BAR_COLUMNS, &blocks, &OWN_COLUMNS);
        }
    }
}

/// Writes the rows of all tapes as CSV into a directory: the input of `scripts/bench-history.py`.
pub(crate) fn write_csv(directory: &Path) {
    for (index, tape) in tapes().iter().enumerate() {
        let write = |kind: &str, text: String| {
            let file = directory.join(format!("{index}-{kind}.csv"));
            std::fs::write(&file, text).expect("space for CSV");
        };
        std::fs::write(directory.join(format!("{index}-name.txt")), tape.name).expect("space");
        write("trades", trades_csv(&tape.trades));
        write("bars", bars_csv(&bars_of(&tape.trades, Timeframe::SECOND)));
    }
}

fn trades_csv(trades: &[Trade]) -> String {
    let mut text = "event_ms,first_id,last_id,price,quantity,is_buy\n".to_owned();
    for trade in trades {
        let is_buy = trade.aggressor_side == market_core::AggressorSide::Buy;
        let _ = writeln!(
            text,
            "{},{},{},{},{},{}",
            trade.event_ms,
            trade.first_id,
            trade.last_id,
            trade.price,
            trade.quantity,
            u8::from(is_buy)
        );
    }
    text
}

fn bars_csv(bars: &[BarRow]) -> String {
    let mut text = "start_ms,open,high,low,close,volume,quote_volume,taker_buy_volume,taker_buy_quote_volume,count,first_id,last_id\n".to_owned();
    for bar in bars {
        let ids = bar.ids.expect("bars of trades");
        let _ = writeln!(
            text,
            "{},{},{},{},{},{},{},{},{},{},{},{}",
            bar.start_ms,
            bar.open,
            bar.high,
            bar.low,
            bar.close,
            bar.volume,
            told(bar.quote_volume),
            told(bar.taker_buy_volume),
            told(bar.taker_buy_quote_volume),
            told(bar.count),
            ids.first,
            ids.last
        );
    }
    text
}

fn told(value: Option<impl std::fmt::Display>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}
