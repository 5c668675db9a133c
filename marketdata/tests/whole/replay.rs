//! What `marketdata replay` makes of files: of any order, packed, damaged, or of another venue.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use clap::Parser;
use flate2::Compression;
use flate2::write::GzEncoder;
use marketdata::replay::{self, ReplayConfig, ReplayError, Summary};
use proptest::prelude::*;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

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

fn zipped(files: &[(&str, &str)], method: zip::CompressionMethod) -> Vec<u8> {
    let mut writer = ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(method);
    for (name, content) in files {
        writer.start_file(*name, options).expect("a file");
        writer.write_all(content.as_bytes()).expect("its content");
    }
    writer.finish().expect("an archive").into_inner()
}

#[test]
fn packed_files_are_read_and_damaged_ones_are_errors() {
    let lines: Vec<String> = (1..3_000)
        .map(|id| csv_line(id, DAY_MS + 700 * id as i64))
        .collect();
    let content = lines.concat();
    let plain = replayed(&OF_BTC, &[&content]).expect("bars");
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(content.as_bytes()).expect("written");
    let gz = encoder.finish().expect("gzip");
    let (one, other) = (lines[..1_000].concat(), lines[1_000..].concat());
    for packed in [
        gz,
        zipped(
            &[("trades.csv", &content)],
            zip::CompressionMethod::Deflated,
        ),
        zipped(&[("trades.csv", &content)], zip::CompressionMethod::Stored),
        // Several files, by name; the first lacks its last line's end.
        zipped(
            &[("b.csv", &other), ("a.csv", one.trim_end())],
            zip::CompressionMethod::Deflated,
        ),
    ] {
        let file = temp_file(&packed);
        assert!(replay_of(&OF_BTC, &[&file.0]).expect("bars") == plain);
        // Cut off, or with a byte of its middle changed.
        let cut = temp_file(&packed[..packed.len() / 2]);
        let error = replay_of(&OF_BTC, &[&cut.0]).expect_err("half an archive");
        assert!(matches!(error, ReplayError::Read { .. }), "{error}");
        let mut changed = packed.clone();
        changed[packed.len() / 2] ^= 0x55;
        let changed = temp_file(&changed);
        assert!(replay_of(&OF_BTC, &[&changed.0]).is_err());
    }
    let empty = temp_file(&zipped(&[], zip::CompressionMethod::Stored));
    assert!(replay_of(&OF_BTC, &[&empty.0]).is_err());
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
    // A file that ends before the day does: whoever says --until says that this was all.
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

/// Numbers at the edges of what types hold.
const EXTREMES: [&str; 14] = [
    "0",
    "-1",
    "1",
    "9223372036854775807",
    "-9223372036854775808",
    "18446744073709551615",
    "99999999999999999999999999",
    "1e400",
    "NaN",
    "",
    "null",
    "\"\"",
    "1723075200000000000",
    "4102444799999",
];

/// One valid line of each format that a reader knows.
fn valid_lines() -> [(&'static str, String); 6] {
    [
        ("binance:BTC-USDT", csv_line(7, DAY_MS)),
        (
            "binance:BTC-USDT",
            format!("26129,0.01633102,4.7,27781,27783,{DAY_MS},true\n"),
        ),
        ("binance:BTC-USDT", frame("BTCUSDT", 7, DAY_MS, DAY_MS)),
        (
            "binance:BTC-USDT",
            format!(
                "{{\"a\":1,\"p\":\"0.5\",\"q\":\"1\",\"f\":1,\"l\":2,\"T\":{DAY_MS},\"m\":true}}\n"
            ),
        ),
        (
            "coinbase:BTC-USD",
            format!(
                "{}.5: {{\"type\":\"match\",\"trade_id\":7,\"maker_order_id\":\"a\",\"taker_order_id\":\"b\",\"side\":\"sell\",\"size\":\"1\",\"price\":\"2\",\"product_id\":\"BTC-USD\",\"sequence\":1,\"time\":\"2024-08-08T00:00:00.000000Z\"}}\n",
                DAY_MS / 1_000
            ),
        ),
        (
            "okx:BTC-USDT",
            format!(
                "{DAY_MS} {{\"arg\":{{\"channel\":\"trades\",\"instId\":\"BTC-USDT\"}},\"data\":[{{\"instId\":\"BTC-USDT\",\"tradeId\":\"7\",\"px\":\"1\",\"sz\":\"1\",\"side\":\"buy\",\"ts\":\"{DAY_MS}\",\"count\":\"1\"}}]}}\n"
            ),
        ),
    ]
}

/// The numbers of a line: where they begin and end.
fn numbers(line: &str) -> Vec<(usize, usize)> {
    let mut spans = Vec::new();
    let mut start = None;
    for (at, byte) in line.bytes().enumerate() {
        match (byte.is_ascii_digit(), start) {
            (true, None) => start = Some(at),
            (false, Some(from)) => {
                spans.push((from, at));
                start = None;
            }
            _ => {}
        }
    }
    spans
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]
    /// Whatever stands in a line's numbers, and however lines are cut or joined: bars or an error.
    #[test]
    fn lines_of_extreme_numbers_give_bars_or_an_error(
        format in 0usize..6,
        changes in proptest::collection::vec((0usize..1_000, 0usize..EXTREMES.len()), 1..8),
        cut in proptest::option::of(0usize..200),
        is_split in any::<bool>(),
    ) {
        let (instrument, valid) = valid_lines()[format].clone();
        let mut content = valid.clone();
        for (at, extreme) in changes {
            let mut line = valid.clone();
            let places = numbers(&line);
            let (from, to) = places[at % places.len()];
            line.replace_range(from..to, EXTREMES[extreme]);
            content += &line;
        }
        content += &valid;
        if let Some(cut) = cut {
            content.truncate(cut);
        }
        let exchange = instrument.split(':').next().expect("a name");
        let flags = ["--exchange", exchange, "--instruments", instrument, "--timeframes", "1d", "--final-only"];
        let files = if is_split { vec![content.as_str(), valid.as_str()] } else { vec![content.as_str()] };
        if let Ok((csv, summary)) = replayed(&flags, &files) {
            prop_assert!(summary.trades > 0);
            // Two widths of a century's days: nothing is invented without end.
            prop_assert!(csv.lines().count() < 80_000);
        }
    }

    #[test]
    fn arbitrary_bytes_give_bars_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let file = temp_file(&bytes);
        let magics: [&[u8]; 3] = [b"", b"PK\x03\x04", &[0x1f, 0x8b, 8]];
        for magic in magics {
            let packed = temp_file(&[magic, &bytes].concat());
            let _ = replay_of(&OF_BTC, &[&packed.0, &file.0]);
        }
    }
}

#[test]
fn a_line_without_an_end_does_not_fill_the_memory() {
    // 40 MB without a newline: more than a line may have.
    let mut content = csv_line(1, DAY_MS).into_bytes();
    content.extend(std::iter::repeat_n(b'7', 40 << 20));
    content.push(b'\n');
    content.extend(csv_line(2, DAY_MS + 1).bytes());
    let file = temp_file(&content);
    let (_, summary) = replay_of(&OF_BTC, &[&file.0]).expect("bars");
    assert_eq!((summary.trades, summary.unreadable_lines), (2, 1));
}
