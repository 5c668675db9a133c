//! `history copy`, between embedded stores, an `InfluxDB` and a `ClickHouse`.

use std::process::{Command, Output, Stdio};

use history::BarRow;
use history::store::{
    BarSeries, BarStore, InfluxStore, Instrument, Range, RemoteOptions, Retention, SqliteStore,
    StoreAddress, TradeStore, Watermark,
};
use market_core::{AggressorSide, Price, Quality, Quantity, Timeframe, Trade};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use testkit::clickhouse::ClickHouseServer;
use testkit::directory::Directory;
use testkit::influx::InfluxServer;

use crate::killed::rows_on_disk;
use crate::{open, stderr, succeeded};

/// 2024-02-28T00:00Z.
const START_MS: i64 = 1_709_078_400_000;
const MINUTE_MS: i64 = 60_000;
const BARS: i64 = 4_000;

fn instrument(symbol: &str) -> Instrument {
    Instrument {
        exchange: "binance".into(),
        symbol: symbol.parse().expect("a symbol"),
    }
}

fn minutes(symbol: &str) -> BarSeries {
    BarSeries {
        instrument: instrument(symbol),
        timeframe: Timeframe::MINUTE,
    }
}

fn mark() -> Watermark {
    Watermark {
        stream: "journal.7".into(),
        position: 4_711,
    }
}

fn bar(index: i64, rev: u32) -> BarRow {
    let price = Price::from_parts(i128::from(index % 977) + 5_000_001, 4).expect("above zero");
    let start_ms = START_MS + index * MINUTE_MS;
    BarRow {
        rev,
        quality: match rev {
            0 => Quality::Gap,
            _ => Quality::Backfilled,
        },
        ..BarRow::flat(start_ms, price, start_ms + i64::from(rev))
    }
}

/// Bars of two series with late revisions, trades of which many share a millisecond, and a position.
fn fill(directory: &Directory) {
    let store = open(directory.path());
    for symbol in ["BTC-USDT", "ETH-USDT"] {
        let rows = (0..BARS).map(|index| bar(index, 0)).collect();
        let batch = [(minutes(symbol), rows)];
        store.append_bars(&batch, None).expect("stored");
        store.compact().expect("sealed");
        let late = (0..BARS).step_by(97).map(|index| bar(index, 1)).collect();
        let batch = [(minutes(symbol), late)];
        store.append_bars(&batch, Some(&mark())).expect("stored");
    }
    let trades = (999_000..1_004_000_u64).map(|id| Trade {
        first_id: id,
        last_id: id,
        event_ms: START_MS + (id / 700).cast_signed(),
        price: Price::from_parts(i128::from(id), 18).expect("above zero"),
        quantity: Quantity::from_parts(1, 8).expect("above zero"),
        aggressor_side: AggressorSide::Buy,
        received_us: START_MS * 1_000,
    });
    let batch = [(instrument("BTC-USDT"), trades.collect())];
    store.append_trades(&batch, None).expect("stored");
}

fn sqlite(directory: &Directory) -> String {
    format!("sqlite:{}", directory.path().display())
}

fn command(from: &str, to: &str, flags: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_history"));
    command
        .args(["copy", "--from", from, "--to", to])
        .args(flags);
    command
}

fn copy(from: &str, to: &str, flags: &[&str]) -> Output {
    command(from, to, flags).output().expect("started")
}

/// All revisions, all trades and the position of a store.
fn content(store: &SqliteStore) -> (Vec<BarRow>, Vec<Trade>, Option<u64>) {
    let mut bars = Vec::new();
    for symbol in ["BTC-USDT", "ETH-USDT"] {
        let rows = store.revisions_between(&minutes(symbol), 0, i64::MAX);
        bars.extend(rows.expect("bars"));
    }
    let range = Range::new(0, i64::MAX, usize::MAX);
    let trades = store.trades(&instrument("BTC-USDT"), &range);
    let position = store.watermark("journal.7").expect("a mark");
    (bars, trades.expect("trades").rows, position)
}

#[test]
fn a_copy_has_all_revisions_trades_and_positions() {
    let (from, to) = (Directory::new(), Directory::new());
    fill(&from);
    let said = succeeded(&copy(
        &sqlite(&from),
        &sqlite(&to),
        &["--batch-rows", "777"],
    ));
    assert!(
        said.contains("8084 bars and 5000 trades were copied"),
        "{said}"
    );
    assert!(
        said.contains("1 positions") && said.contains("0 differ"),
        "{said}"
    );
    let expected = content(&open(from.path()));
    assert_eq!(expected.0.len(), 8_084);
    assert_eq!(expected.2, Some(4_711));
    assert_eq!(content(&open(to.path())), expected);
    // Again: everything is there.
    let said = succeeded(&copy(&sqlite(&from), &sqlite(&to), &[]));
    assert!(
        said.contains("0 bars and 0 trades were copied, 13084 rows"),
        "{said}"
    );
}

#[test]
fn a_copy_says_which_days_differ_and_fails() {
    let (from, to) = (Directory::new(), Directory::new());
    fill(&from);
    succeeded(&copy(&sqlite(&from), &sqlite(&to), &[]));
    let more = [(minutes("ETH-USDT"), vec![bar(BARS, 0)])];
    open(to.path()).append_bars(&more, None).expect("stored");
    let output = copy(&sqlite(&from), &sqlite(&to), &["--compare-only"]);
    assert_eq!(output.status.code(), Some(1));
    let told = stderr(&output);
    assert!(
        told.contains("binance ETH-USDT 1m: the day from 1709251200000 differs"),
        "{told}"
    );
    assert_eq!(told.matches("differs").count(), 1, "{told}");
    let output = copy(&sqlite(&from), &sqlite(&from), &[]);
    assert!(stderr(&output).contains("the same store"));
    let output = copy("sqlite:/nowhere/at/all", &sqlite(&to), &[]);
    assert!(stderr(&output).contains("there is no store"));
}

fn opened(influx: &str) -> InfluxStore {
    let Ok(StoreAddress::Influx(url)) = influx.parse() else {
        panic!("{influx} is none of InfluxDB");
    };
    InfluxStore::new(&url, RemoteOptions::default()).expect("no options")
}

#[test]
fn a_copy_to_influxdb_and_back_changes_nothing_though_each_is_killed() {
    let Some(server) = InfluxServer::start(&[]) else {
        return;
    };
    let (from, back) = (Directory::new(), Directory::new());
    fill(&from);
    let influx = server.url("klinecast");
    let remote = opened(&influx);
    let everything = Range::new(0, i64::MAX, usize::MAX);
    let in_influx = || {
        let bars = remote.bars(&minutes("BTC-USDT"), &everything);
        bars.expect("bars").rows.len()
    };
    let on_disk = || rows_on_disk(&back);
    let mut random = StdRng::seed_from_u64(5);
    let ways: [(_, _, &dyn Fn() -> usize); 2] = [
        (&sqlite(&from), &influx, &in_influx),
        (&influx, &sqlite(&back), &on_disk),
    ];
    for (from, to, rows) in ways {
        for _ in 0..3 {
            let wanted = rows() + random.random_range(1..900);
            let mut running = command(from, to, &["--batch-rows", "100"])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("started");
            while running.try_wait().expect("a child").is_none() && rows() < wanted {
                std::thread::yield_now();
            }
            running.kill().expect("killed");
            running.wait().expect("ended");
        }
        let said = succeeded(&copy(from, to, &[]));
        assert!(said.contains("0 differ"), "{said}");
    }
    assert_eq!(content(&open(back.path())), content(&open(from.path())));
}

#[test]
fn a_copy_to_clickhouse_and_back_changes_nothing() {
    let Some(server) = ClickHouseServer::start() else {
        return;
    };
    let (from, back) = (Directory::new(), Directory::new());
    fill(&from);
    let clickhouse = server.url("copied");
    for (from, to) in [(&sqlite(&from), &clickhouse), (&clickhouse, &sqlite(&back))] {
        let said = succeeded(&copy(from, to, &[]));
        assert!(
            said.contains("8084 bars and 5000 trades were copied"),
            "{said}"
        );
        assert!(said.contains("0 differ"), "{said}");
    }
    assert_eq!(content(&open(back.path())), content(&open(from.path())));
}

#[test]
fn what_comes_while_a_copy_is_made_is_copied_too() {
    let Some(server) = InfluxServer::start(&[]) else {
        return;
    };
    let (influx, to) = (server.url("klinecast"), Directory::new());
    let remote = opened(&influx);
    for symbol in ["BTC-USDT", "ETH-USDT"] {
        let rows = (0..500).map(|index| bar(index, 0)).collect();
        let batch = [(minutes(symbol), rows)];
        remote.append_bars(&batch, None).expect("stored");
    }
    let running = command(&influx, &sqlite(&to), &["--batch-rows", "10"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut running = running.expect("started");
    // The first series has been copied, and has not been compared.
    while running.try_wait().expect("a child").is_none() && rows_on_disk(&to) <= 500 {
        std::thread::yield_now();
    }
    let batch = [(minutes("BTC-USDT"), vec![bar(500, 0)])];
    remote.append_bars(&batch, None).expect("stored");
    let said = succeeded(&running.wait_with_output().expect("ended"));
    assert!(said.contains("0 differ"), "{said}");
}

#[test]
fn a_store_that_is_being_filled_is_copied_up_to_where_it_was_and_is_equal() {
    let Some(server) = InfluxServer::start(&[]) else {
        return;
    };
    let (influx, to) = (server.url("klinecast"), Directory::new());
    let remote = opened(&influx);
    let append = |index| {
        let batch = [(minutes("BTC-USDT"), vec![bar(index, 0)])];
        remote.append_bars(&batch, Some(&mark())).expect("stored");
    };
    (0..300).for_each(append);
    let is_done = std::sync::atomic::AtomicBool::new(false);
    let said = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let running = || !is_done.load(std::sync::atomic::Ordering::Acquire);
            (300..).take_while(|_| running()).for_each(append);
        });
        let output = copy(&influx, &sqlite(&to), &[]);
        is_done.store(true, std::sync::atomic::Ordering::Release);
        writer.join().expect("the writer");
        succeeded(&output)
    });
    assert!(
        said.contains("1 positions") && said.contains("0 differ"),
        "{said}"
    );
}

#[test]
fn a_damaged_source_is_an_error_and_not_an_empty_store() {
    let (from, to) = (Directory::new(), Directory::new());
    fill(&from);
    // All months of the series: nothing else names it.
    for month in ["2024-02", "2024-03"] {
        let file = from.path().join(format!("bars-1m-{month}.sqlite"));
        std::fs::metadata(&file).expect("the bars of a month");
        std::fs::write(&file, [0xA5; 8_192]).expect("overwritten");
    }
    let output = copy(&sqlite(&from), &sqlite(&to), &[]);
    let told = stderr(&output);
    assert!(
        !output.status.success() && told.contains("damaged"),
        "{told}"
    );
    assert!(told.contains("2024-02"), "{told}");
}

#[test]
fn what_only_the_other_store_has_is_told_and_a_comparison_makes_nothing() {
    let (from, to) = (Directory::new(), Directory::new());
    fill(&from);
    succeeded(&copy(&sqlite(&from), &sqlite(&to), &[]));
    let more = [(minutes("SOL-USDT"), vec![bar(0, 0)])];
    open(to.path()).append_bars(&more, None).expect("stored");
    let output = copy(&sqlite(&from), &sqlite(&to), &["--compare-only"]);
    let told = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("binance SOL-USDT 1m: only sqlite:"), "{told}");

    let none = to.path().join("none");
    let address = format!("sqlite:{}", none.display());
    let output = copy(&sqlite(&from), &address, &["--compare-only"]);
    assert!(stderr(&output).contains("there is no store"));
    assert!(!none.exists());
    let Some(server) = ClickHouseServer::start() else {
        return;
    };
    let output = copy(&sqlite(&from), &server.url("none"), &["--compare-only"]);
    let told = stderr(&output);
    assert!(told.contains("has no tables of Klinecast's"), "{told}");
    let output = copy(&server.url("none"), &sqlite(&to), &[]);
    assert!(stderr(&output).contains("has no tables of Klinecast's"));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let sql = "SELECT count() FROM system.databases WHERE name = 'none'";
    assert_eq!(runtime.block_on(server.run(sql)).trim(), "0");
}
