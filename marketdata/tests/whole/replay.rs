//! What `marketdata replay` makes of files: of any order, packed, damaged, or of another venue.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use clap::Parser;
use marketdata::replay::{self, ReplayConfig, ReplayError, Summary};

mod extremes;
mod packed;

#[derive(Parser)]
struct Replay {
    #[command(flatten)]
    config: ReplayConfig,
}

/// 2024-08-08T00:00Z.
const DAY_MS: i64 = 1_723_075_200_000;
const HOUR_MS: i64 = 3_600_000;
const OF_BTC: [&str; 4] = ["--exchange", "binance", "--instruments", "binance:BTC-USDT"];

/// A file that is gone when the test is.
struct TempFile(PathBuf);

impl Drop for TempFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn temp_file(bytes: &[u8]) -> TempFile {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("klinecast-replay-{}-{number}", std::process::id());
    let path = std::env::temp_dir().join(name);
    std::fs::write(&path, bytes).expect("a temporary file");
    TempFile(path)
}

fn replay_of(flags: &[&str], files: &[&Path]) -> Result<(String, Summary), ReplayError> {
    let mut given = vec!["replay".to_owned(), "--format".to_owned(), "csv".to_owned()];
    given.extend(flags.iter().map(|&flag| flag.to_owned()));
    for file in files {
        given.extend(["--file".to_owned(), file.display().to_string()]);
    }
    let config = Replay::parse_from(given).config;
    let mut csv = Vec::new();
    let summary = replay::run(&config, &mut csv)?;
    Ok((String::from_utf8(csv).expect("UTF-8"), summary))
}

fn replayed(flags: &[&str], contents: &[&str]) -> Result<(String, Summary), ReplayError> {
    let files: Vec<TempFile> = contents
        .iter()
        .map(|content| temp_file(content.as_bytes()))
        .collect();
    let paths: Vec<&Path> = files.iter().map(|file| file.0.as_path()).collect();
    replay_of(flags, &paths)
}

/// A line of a CSV file of trades.
fn csv_line(id: u64, at_ms: i64) -> String {
    format!(
        "{id},{}.5,2,123.0,{at_ms},{}\n",
        100 + id % 7,
        id.is_multiple_of(2)
    )
}

/// A frame of Binance's trade stream, received when it was sent.
fn frame(symbol: &str, id: u64, sent_ms: i64, at_ms: i64) -> String {
    format!(
        "{sent_ms} {{\"e\":\"trade\",\"E\":{sent_ms},\"s\":\"{symbol}\",\"t\":{id},\"p\":\"{}\",\"q\":\"1\",\"T\":{at_ms},\"m\":false,\"M\":true}}\n",
        100 + id
    )
}

fn columns(csv: &str) -> Vec<Vec<&str>> {
    csv.lines()
        .skip(1)
        .map(|line| line.split(',').collect())
        .collect()
}

#[test]
fn files_in_any_order_give_the_bars_of_their_times() {
    let first: String = (1..200)
        .map(|id| csv_line(id, DAY_MS + 40_000 * id as i64))
        .collect();
    let second: String = (200..400)
        .map(|id| csv_line(id, DAY_MS + 24 * HOUR_MS + 40_000 * id as i64))
        .collect();
    let in_order = replayed(&OF_BTC, &[&first, &second]).expect("bars");
    assert_eq!((in_order.1.trades, in_order.1.beyond_horizon), (399, 0));
    let reversed = replayed(&OF_BTC, &[&second, &first]).expect("bars");
    assert!(in_order == reversed);
    // One file is what two are.
    assert!(in_order == replayed(&OF_BTC, &[&(first + &second)]).expect("bars"));
}

#[test]
fn a_file_that_is_not_sorted_by_time_is_refused_with_its_line() {
    let content = csv_line(1, DAY_MS + 24 * HOUR_MS) + &csv_line(2, DAY_MS);
    let error = replayed(&OF_BTC, &[&content]).expect_err("no order");
    let text = error.to_string();
    assert!(matches!(error, ReplayError::OutOfOrder { .. }), "{text}");
    for part in [
        "line 2 of ",
        "2024-08-08T00:00:00Z",
        "2024-08-09T00:00:00Z",
        "Sort the file",
    ] {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn captures_of_one_time_are_merged() {
    let of = |symbol: &str| -> String {
        (1..100)
            .map(|id| {
                frame(
                    symbol,
                    id,
                    DAY_MS + 1_000 * id as i64,
                    DAY_MS + 1_000 * id as i64 - 3,
                )
            })
            .collect()
    };
    let (btc, eth) = (of("BTCUSDT"), of("ETHUSDT"));
    let both: String = btc
        .lines()
        .zip(eth.lines())
        .map(|(one, other)| format!("{one}\n{other}\n"))
        .collect();
    let flags = ["--exchange", "binance", "--late-horizon-ms", "5000"];
    let merged = replayed(&flags, &[&btc, &eth]).expect("bars");
    assert_eq!((merged.1.trades, merged.1.beyond_horizon), (198, 0));
    assert!(merged == replayed(&flags, &[&both]).expect("bars"));
}

#[test]
fn rows_without_a_symbol_want_exactly_one_instrument() {
    let content = csv_line(1, DAY_MS);
    for (flags, count) in [
        (&["--exchange", "binance"][..], "has 0"),
        (
            &[
                "--exchange",
                "binance",
                "--instruments",
                "binance:BTC-USDT,binance:ETH-USDT",
            ],
            "has 2",
        ),
    ] {
        let error = replayed(flags, &[&content]).expect_err("whose trade is it?");
        let text = error.to_string();
        assert!(matches!(error, ReplayError::NoSymbol { .. }), "{text}");
        assert!(
            text.contains(count) && text.contains("line 1 of "),
            "{text}"
        );
    }
}

#[test]
fn bars_that_ended_before_the_newest_trade_close_though_the_clock_trails() {
    // Stamped 1.2 s before the trades: the venue's clock seems to be that far behind.
    let content: String = (0..5)
        .map(|id| {
            frame(
                "BTCUSDT",
                1 + id,
                DAY_MS + 1_000 * id as i64,
                DAY_MS + 1_000 * id as i64 + 1_200,
            )
        })
        .collect();
    let flags = ["--exchange", "binance", "--timeframes", "1s"];
    let (csv, _) = replayed(&flags, &[&content]).expect("bars");
    let rows = columns(&csv);
    let starts: Vec<i64> = rows
        .iter()
        .map(|row| row[3].parse().expect("a time"))
        .collect();
    let expected: Vec<i64> = (1..6).map(|second| DAY_MS + 1_000 * second).collect();
    assert_eq!(starts, expected, "{csv}");
    let states: Vec<&str> = rows.iter().map(|row| row[16]).collect();
    assert_eq!(states, ["closed", "closed", "closed", "closed", "forming"]);
}

#[test]
fn a_capture_with_missing_trades_closes_no_bar_beyond_its_end() {
    // 58 s of trades at 10/s. One in a hundred is missing, also near the end.
    let content: String = (0..580)
        .filter(|id| id % 100 != 77 && *id != 577)
        .map(|id| csv_line(1 + id, DAY_MS + 100 * id as i64))
        .collect();
    let flags = [&OF_BTC[..], &["--timeframes", "1s,1m"]].concat();
    let (csv, _) = replayed(&flags, &[&content]).expect("bars");
    let newest_ms = DAY_MS + 57_900;
    let rows = columns(&csv);
    let mut closed = 0;
    for row in &rows {
        let end_ms: i64 = row[4].parse().expect("a time");
        assert_eq!(row[16] == "closed", end_ms <= newest_ms, "{row:?}");
        closed += usize::from(end_ms <= newest_ms);
    }
    // The bars of the capture's end are there, and say what they lack.
    assert!(closed >= 57, "{csv}");
    let of_minute: Vec<_> = rows.iter().filter(|row| row[2] == "1m").collect();
    assert_eq!(of_minute.len(), 1, "{csv}");
    assert_eq!(of_minute[0][17], "gap", "{csv}");
}

#[test]
fn garbage_another_venues_file_and_files_without_trades_are_errors() {
    let good = csv_line(1, DAY_MS);
    let garbage = "\u{1}\u{2}nonsense\nmore of it\n";
    let is_garbage = |error: &ReplayError| matches!(error, ReplayError::Garbage { lines: 2, .. });
    let error = replayed(&OF_BTC, &[garbage]).expect_err("garbage");
    assert!(is_garbage(&error), "{error}");
    // Beside a good file as well.
    let error = replayed(&OF_BTC, &[&good, garbage]).expect_err("garbage");
    assert!(is_garbage(&error), "{error}");

    let other = [
        "--exchange",
        "coinbase",
        "--instruments",
        "coinbase:BTC-USD",
    ];
    let error = replayed(&other, &[&good]).expect_err("a file of Binance");
    assert!(error.to_string().contains("is --exchange right"), "{error}");

    let header = "id,price,qty,quote_qty,time,is_buyer_maker\n";
    for nothing in ["", header] {
        let error = replayed(&OF_BTC, &[nothing]).expect_err("no trade");
        assert!(
            matches!(error, ReplayError::NothingPlayed { .. }),
            "{error}"
        );
    }
    let eth = frame("ETHUSDT", 1, DAY_MS, DAY_MS);
    let error = replayed(&OF_BTC, &[&eth]).expect_err("another instrument");
    assert!(error.to_string().contains("ETHUSDT"), "{error}");
}

#[test]
fn a_trade_that_is_missed_and_comes_minutes_later_is_in_its_bar() {
    for late_s in [5, 30, 240, 700] {
        // Trade 100 comes late; all others in their order, one a second.
        let mut sent: Vec<(i64, u64)> = (1..900)
            .map(|id| {
                (
                    1_000 * id as i64 + if id == 100 { 1_000 * late_s } else { 0 },
                    id,
                )
            })
            .collect();
        sent.sort_unstable();
        let content: String = sent
            .iter()
            .map(|&(sent_ms, id)| {
                frame("BTCUSDT", id, DAY_MS + sent_ms, DAY_MS + 1_000 * id as i64)
            })
            .collect();
        let flags = [
            "--exchange",
            "binance",
            "--timeframes",
            "1s,1m",
            "--final-only",
        ];
        let (csv, summary) = replayed(&flags, &[&content]).expect("bars");
        assert_eq!(
            (summary.duplicates, summary.missing_ids),
            (0, 0),
            "{late_s} s"
        );
        let rows = columns(&csv);
        let counts: Vec<&str> = rows
            .iter()
            .filter(|row| row[2] == "1s")
            .map(|row| row[11])
            .collect();
        assert_eq!(counts, vec!["1"; 899], "{late_s} s");
        let minute = rows
            .iter()
            .find(|row| row[2] == "1m" && row[3] == (DAY_MS + 60_000).to_string());
        let minute = minute.expect("the minute of the late trade");
        assert_eq!((minute[11], minute[16]), ("60", "closed"), "{late_s} s");
        assert_ne!(minute[17], "gap", "{late_s} s");
    }
}

#[test]
fn missing_ids_are_listed() {
    let ids = [1u64, 2, 5, 6, 4, 9];
    let content: String = ids
        .iter()
        .map(|&id| csv_line(id, DAY_MS + 100 * id as i64))
        .collect();
    let gaps = temp_file(b"");
    let gaps_file = gaps.0.display().to_string();
    let flags = [&OF_BTC[..], &["--gaps-file", &gaps_file]].concat();
    let (_, summary) = replayed(&flags, &[&content]).expect("bars");
    assert_eq!((summary.missing_ids, summary.missing_spans), (3, 2));
    let listed = std::fs::read_to_string(&gaps.0).expect("the list");
    let at = |id: i64| DAY_MS + 100 * id;
    assert_eq!(
        listed,
        format!(
            "exchange,symbol,first_id,last_id,count,after_ms,before_ms\n\
             binance,BTC-USDT,3,3,1,{},{}\nbinance,BTC-USDT,7,8,2,{},{}\n",
            at(2),
            at(4),
            at(6),
            at(9)
        )
    );
}

#[test]
fn final_bars_come_once_as_their_last_revisions() {
    // Every tenth trade tells of five seconds ago, when its second has closed.
    let content: String = (1..400u64)
        .map(|id| {
            let sent_ms = DAY_MS + 250 * id as i64;
            let late_ms = if id.is_multiple_of(10) { 5_000 } else { 0 };
            frame("BTCUSDT", id, sent_ms, sent_ms - late_ms)
        })
        .collect();
    let flags = ["--exchange", "binance", "--timeframes", "1s,1m"];
    let (all, _) = replayed(&flags, &[&content]).expect("bars");
    let mut last: BTreeMap<(String, String), Vec<&str>> = BTreeMap::new();
    let rows = columns(&all);
    for row in &rows {
        last.insert((row[2].to_owned(), row[3].to_owned()), row.clone());
    }
    assert!(last.len() < rows.len(), "there are revisions");
    let flags = [&flags[..], &["--final-only"]].concat();
    let (only, summary) = replayed(&flags, &[&content]).expect("bars");
    let mut finals = columns(&only);
    assert_eq!(summary.bars, finals.len() as u64);
    let ends: Vec<i64> = finals
        .iter()
        .map(|row| row[4].parse().expect("a time"))
        .collect();
    assert!(ends.is_sorted());
    finals.sort_by_key(|row| (row[2].to_owned(), row[3].to_owned()));
    assert_eq!(finals, last.into_values().collect::<Vec<_>>());
}

#[test]
fn bars_between_from_and_until_are_whole() {
    let content: String = (0..24 * 60 + 30)
        .map(|minute| csv_line(1 + minute, DAY_MS + 60_000 * minute as i64 + 9_000))
        .collect();
    let day_of = |flags: &[&str]| {
        let flags = [
            &OF_BTC[..],
            &["--timeframes", "1m,1d", "--final-only"],
            flags,
        ]
        .concat();
        let (csv, _) = replayed(&flags, &[&content]).expect("bars");
        let rows = columns(&csv);
        let minutes = rows.iter().filter(|row| row[2] == "1m").count();
        let days: Vec<(String, String, String)> = rows
            .iter()
            .filter(|row| row[2] == "1d")
            .map(|row| (row[11].to_owned(), row[16].to_owned(), row[17].to_owned()))
            .collect();
        (minutes, days)
    };
    let row = |count: &str, state: &str, quality: &str| {
        (count.to_owned(), state.to_owned(), quality.to_owned())
    };
    let (_, days) = day_of(&[]);
    assert_eq!(days[0], row("1440", "closed", "partial"));
    let inside = day_of(&["--from", "2024-08-08", "--until", "2024-08-09"]);
    assert_eq!(inside, (1_440, vec![row("1440", "closed", "complete")]));
    // A file that ends before the day does: a user who writes --until says that this was all.
    let last = day_of(&["--from", "2024-08-09", "--until", "2024-08-10"]);
    assert_eq!(last, (1_440, vec![row("30", "closed", "complete")]));
}

#[test]
fn trades_that_are_in_no_bar_are_told() {
    let ahead_ms = 2 * HOUR_MS;
    let content = frame("BTCUSDT", 1, DAY_MS, DAY_MS)
        + &frame("BTCUSDT", 2, DAY_MS + 1_000, DAY_MS + 1_000 + ahead_ms)
        + &frame("BTCUSDT", 3, DAY_MS + 2_000, DAY_MS + 2_000);
    let (_, summary) = replayed(&["--exchange", "binance"], &[&content]).expect("bars");
    assert_eq!(summary.future, 1);
    assert!(summary.to_string().contains("1 of the future"), "{summary}");
}
