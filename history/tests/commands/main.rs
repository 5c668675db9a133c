//! Commands that work on a store which no program uses.

mod copy;
mod export;
mod files;
mod import;
mod killed;
mod replay;
mod verify;

use std::path::Path;
use std::process::{Command, Output};

use history::BarRow;
use history::store::{
    BarSeries, BarStore, Instrument, Range, SqliteOptions, SqliteStore, TradeStore,
};
use market_core::{Timeframe, Trade};

pub(crate) fn command(store: &Path, name: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_history"));
    command.arg(name).arg("--data-dir").arg(store);
    command
}

/// Runs `history import` for BTC-USDT of Binance.
pub(crate) fn import(store: &Path, flags: &[&str], files: &[&Path]) -> Output {
    let mut command = command(store, "import");
    command.args(["--exchange", "binance", "--symbol", "BTC-USDT"]);
    command.args(flags).args(files);
    command.output().expect("started")
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[track_caller]
pub(crate) fn succeeded(output: &Output) -> String {
    assert!(output.status.success(), "{}", stderr(output));
    stdout(output)
}

pub(crate) fn open(store: &Path) -> SqliteStore {
    SqliteStore::open(store, SqliteOptions::default()).expect("free after the command")
}

pub(crate) fn instrument() -> Instrument {
    Instrument {
        exchange: "binance".into(),
        symbol: "BTC-USDT".parse().expect("a symbol"),
    }
}

const EVERYTHING: usize = 10_000_000;

pub(crate) fn bars(store: &SqliteStore, timeframe: &str) -> Vec<BarRow> {
    bars_of(store, "binance", "BTC-USDT", timeframe)
}

pub(crate) fn bars_of(
    store: &SqliteStore,
    exchange: &str,
    symbol: &str,
    timeframe: &str,
) -> Vec<BarRow> {
    let timeframe: Timeframe = timeframe.parse().expect("a timeframe");
    let instrument = Instrument {
        exchange: exchange.into(),
        symbol: symbol.parse().expect("a symbol"),
    };
    let series = BarSeries {
        instrument,
        timeframe,
    };
    let range = Range::new(0, i64::MAX, EVERYTHING);
    store.bars(&series, &range).expect("a page").rows
}

pub(crate) fn trades(store: &SqliteStore) -> Vec<Trade> {
    let range = Range::new(0, i64::MAX, EVERYTHING);
    store.trades(&instrument(), &range).expect("a page").rows
}
