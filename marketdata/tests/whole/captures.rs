//! Recorded captures of real exchanges, and the bars that they are known to make.
//!
//! They are not in the repository: the folder is named by `KLINECAST_CAPTURES`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Parser;
use flate2::read::MultiGzDecoder;
use marketdata::replay::{self, ReplayConfig, Summary};

#[derive(Parser)]
struct Replay {
    #[command(flatten)]
    config: ReplayConfig,
}

/// A CSV's rows by name of column.
type Rows = Vec<BTreeMap<String, String>>;

pub(crate) fn captures(test: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("KLINECAST_CAPTURES").map(PathBuf::from);
    if folder.is_none() {
        println!("{test} is skipped: KLINECAST_CAPTURES does not name the folder of captures");
    }
    folder
}

fn replay(flags: &[&str], files: &[PathBuf]) -> (Rows, Summary) {
    let mut given = vec!["replay".to_owned(), "--format".to_owned(), "csv".to_owned()];
    given.extend(flags.iter().map(|&flag| flag.to_owned()));
    for file in files {
        given.extend(["--file".to_owned(), file.display().to_string()]);
    }
    let config = Replay::parse_from(given).config;
    let mut csv = Vec::new();
    let summary = replay::run(&config, &mut csv).expect("a readable capture");
    (rows(&String::from_utf8(csv).expect("UTF-8")), summary)
}

fn rows(csv: &str) -> Rows {
    let mut lines = csv.lines();
    let names: Vec<&str> = lines.next().expect("a header").split(',').collect();
    let row = |line: &str| {
        let pairs = names.iter().zip(line.split(','));
        pairs
            .map(|(name, value)| ((*name).to_owned(), value.to_owned()))
            .collect()
    };
    lines.map(row).collect()
}

pub(crate) fn read(file: &Path) -> String {
    let mut bytes = Vec::new();
    File::open(file)
        .expect("the capture")
        .read_to_end(&mut bytes)
        .expect("readable");
    if bytes.starts_with(&[0x1f, 0x8b]) {
        let mut plain = Vec::new();
        MultiGzDecoder::new(&bytes[..])
            .read_to_end(&mut plain)
            .expect("gzip");
        bytes = plain;
    }
    String::from_utf8(bytes).expect("UTF-8")
}

/// `1.50` and `1.5` are one value.
fn plain(decimal: &str) -> &str {
    if decimal.contains('.') {
        decimal.trim_end_matches('0').trim_end_matches('.')
    } else {
        decimal
    }
}

/// Every row of `expected` equals our bar, and we have no other bar with trades. Columns: (ours,
/// theirs).
#[track_caller]
fn check(ours: &Rows, interval: &str, expected: &Rows, columns: &[(&str, &str)]) {
    let mut bars: BTreeMap<&str, &BTreeMap<String, String>> = ours
        .iter()
        .filter(|bar| bar["interval"] == interval && bar["quality"] != "filled")
        .map(|bar| (bar["open_time"].as_str(), bar))
        .collect();
    for row in expected {
        let bar = bars.remove(row["open_time"].as_str());
        let bar = bar.unwrap_or_else(|| panic!("no {interval} bar for {row:?}"));
        for &(our, their) in columns {
            assert_eq!(plain(&bar[our]), plain(&row[their]), "{our} of {bar:?}");
        }
    }
    assert!(
        bars.is_empty(),
        "{interval} bars that nobody expects: {bars:?}"
    );
}

const DERIVED: [(&str, &str); 11] = [
    ("open", "open"),
    ("high", "high"),
    ("low", "low"),
    ("close", "close"),
    ("volume", "volume"),
    ("quote_volume", "quote_volume"),
    ("trades", "trades"),
    ("taker_buy_volume", "taker_buy_volume"),
    ("taker_buy_quote", "taker_buy_quote"),
    ("first_id", "first_id"),
    ("last_id", "last_id"),
];

#[test]
fn binance_spot_across_midnight_equals_the_exact_bars() {
    let Some(folder) = captures("binance spot") else {
        return;
    };
    let folder = folder.join("binance-spot-raw");
    let files = ["btcusdt_20240808.gz", "btcusdt_20240809.gz"].map(|name| folder.join(name));
    let (ours, summary) = replay(&["--exchange", "binance"], &files);
    assert_eq!(
        (
            summary.trades,
            summary.duplicates,
            summary.late,
            summary.gaps
        ),
        (19_904, 0, 0, 0)
    );
    for interval in ["1s", "1m", "1h"] {
        let expected = rows(&read(
            &folder.join(format!("derived_btcusdt_{interval}.csv.gz")),
        ));
        check(&ours, interval, &expected, &DERIVED);
    }
    // Both days have a bar, the first closed by midnight.
    let days: Vec<&str> = ours
        .iter()
        .filter(|bar| bar["interval"] == "1d")
        .map(|bar| bar["state"].as_str())
        .collect();
    assert_eq!(days, ["closed", "forming"]);
}

#[test]
fn binance_futures_equal_the_exchanges_own_klines() {
    let Some(folder) = captures("binance futures") else {
        return;
    };
    let folder = folder.join("binance-usdm-raw");
    let (ours, _) = replay(
        &["--exchange", "binance"],
        &[folder.join("btcusdt_20240808.gz")],
    );
    let official = rows(&read(
        &folder.join("official_klines_BTCUSDT-1m_20240808.csv"),
    ));
    // The capture has only part of the first minute, and nothing of the last.
    let whole: Rows = official[1..6].to_vec();
    let ours: Rows = ours
        .into_iter()
        .filter(|bar| bar["quality"] != "partial")
        .collect();
    let columns: Vec<(&str, &str)> = DERIVED[..9]
        .iter()
        .map(|&(our, their)| match their {
            "trades" => (our, "count"),
            "taker_buy_quote" => (our, "taker_buy_quote_volume"),
            _ => (our, their),
        })
        .collect();
    check(&ours, "1m", &whole, &columns);
}

#[test]
fn a_whole_day_of_rest_aggregates_equals_the_exact_and_an_independent_computation() {
    let Some(folder) = captures("binance aggTrades") else {
        return;
    };
    let folder = folder.join("binance-aggtrades");
    let file = folder.join("XRPETH-aggTrades-2019-10-11.jsonl.gz");
    let flags = ["--exchange", "binance", "--instruments", "binance:XRP-ETH"];
    let (ours, _) = replay(&flags, &[file]);
    for interval in ["1s", "1m", "1h", "1d"] {
        let name = format!("derived_XRPETH-aggTrades-2019-10-11_{interval}.csv.gz");
        check(&ours, interval, &rows(&read(&folder.join(name))), &DERIVED);
    }
    // Empty minutes between the first and the last are there, flat.
    let filled = ours
        .iter()
        .filter(|bar| bar["interval"] == "1m" && bar["quality"] == "filled");
    assert_eq!(filled.clone().count(), 413);
    assert!(
        filled
            .clone()
            .all(|bar| bar["open"] == bar["low"] && bar["volume"] == "0")
    );
}

#[test]
fn a_day_as_the_venues_csv_file_gives_the_bars_of_its_rest_rows() {
    let Some(folder) = captures("binance CSV files of trades") else {
        return;
    };
    let rest = folder.join("binance-aggtrades/XRPETH-aggTrades-2019-10-11.jsonl.gz");
    let mut csv = String::from(
        "agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker\n",
    );
    for row in read(&rest).lines() {
        let row: serde_json::Value = serde_json::from_str(row).expect("JSON");
        let columns = ["a", "p", "q", "f", "l", "T", "m"].map(|name| match &row[name] {
            serde_json::Value::String(text) => text.clone(),
            other => other.to_string(),
        });
        csv += &(columns.join(",") + "\n");
    }
    let name = format!("klinecast-{}-aggTrades.csv", std::process::id());
    let file = std::env::temp_dir().join(name);
    std::fs::write(&file, csv).expect("a temporary file");
    let flags = ["--exchange", "binance", "--instruments", "binance:XRP-ETH"];
    let (of_csv, summary) = replay(&flags, std::slice::from_ref(&file));
    std::fs::remove_file(&file).expect("it is there");
    assert_eq!((summary.malformed, summary.unreadable_lines), (0, 0));
    assert!(of_csv == replay(&flags, &[rest]).0);
}

/// The fold of the trades in captured frames, computed plainly: count and volume a second.
fn plain_fold(trades: impl Iterator<Item = (i64, f64)>) -> BTreeMap<i64, (u64, f64)> {
    let mut seconds = BTreeMap::new();
    for (event_ms, quantity) in trades {
        let second = seconds
            .entry(event_ms - event_ms.rem_euclid(1_000))
            .or_insert((0, 0.0));
        second.0 += 1;
        second.1 += quantity;
    }
    seconds
}

#[track_caller]
fn check_fold(ours: &Rows, symbol: &str, expected: &BTreeMap<i64, (u64, f64)>) {
    let bars = ours.iter().filter(|bar| {
        bar["symbol"] == symbol && bar["interval"] == "1s" && bar["quality"] != "filled"
    });
    let mut seen = 0;
    for bar in bars {
        let start_ms: i64 = bar["open_time"].parse().expect("a time");
        let (count, volume) = expected[&start_ms];
        assert_eq!(bar["trades"], count.to_string(), "{bar:?}");
        let our_volume: f64 = bar["volume"].parse().expect("a number");
        assert!(
            (our_volume - volume).abs() < 1e-9 * volume.max(1.0),
            "{bar:?}"
        );
        seen += 1;
    }
    assert_eq!(seen, expected.len());
}

#[test]
fn okx_frames_give_every_trade_to_its_second() {
    let Some(folder) = captures("okx") else {
        return;
    };
    let file = folder.join("okx-raw/okx_v5_20220513_BTC-USDT.txt.gz");
    let (ours, summary) = replay(&["--exchange", "okx"], std::slice::from_ref(&file));
    assert_eq!(
        (summary.trades, summary.gaps, summary.malformed),
        (69, 0, 0)
    );
    let text = read(&file);
    let trades = text
        .lines()
        .filter_map(|line| line.split_once(": "))
        .flat_map(|(_, frame)| {
            let frame: serde_json::Value = serde_json::from_str(frame).unwrap_or_default();
            let is_trades = frame["arg"]["channel"] == "trades";
            frame["data"]
                .as_array()
                .filter(|_| is_trades)
                .cloned()
                .unwrap_or_default()
        });
    let number = |value: &serde_json::Value| {
        value
            .as_str()
            .expect("text")
            .parse::<f64>()
            .expect("a number")
    };
    let expected =
        plain_fold(trades.map(|trade| (number(&trade["ts"]) as i64, number(&trade["sz"]))));
    check_fold(&ours, "BTC-USDT", &expected);
}

#[test]
fn coinbase_frames_give_every_match_to_its_second_old_ones_too() {
    let Some(folder) = captures("coinbase") else {
        return;
    };
    let file = folder.join("coinbase-raw/coinbase_exchange_20210417_A.txt.gz");
    let (ours, summary) = replay(&["--exchange", "coinbase"], std::slice::from_ref(&file));
    // 68 matches, and 5 last matches from before the subscription.
    assert_eq!(
        (
            summary.trades,
            summary.gaps,
            summary.malformed,
            summary.duplicates
        ),
        (73, 0, 0, 0)
    );
    let text = read(&file);
    let matches: Vec<serde_json::Value> = text
        .lines()
        .filter_map(|line| serde_json::from_str(line.split_once(": ")?.1).ok())
        .filter(|frame: &serde_json::Value| {
            frame["type"] == "match" || frame["type"] == "last_match"
        })
        .collect();
    for symbol in ["SKL-USD", "SKL-BTC", "BAND-BTC", "YFI-BTC", "CRV-EUR"] {
        let of_symbol = matches.iter().filter(|frame| frame["product_id"] == symbol);
        let expected = plain_fold(of_symbol.map(|frame| {
            let time = frame["time"].as_str().expect("a time");
            // All frames are of one hour: 2021-04-17T16.
            let minute: i64 = time[14..16].parse().expect("minutes");
            let second: i64 = time[17..19].parse().expect("seconds");
            let quantity = frame["size"]
                .as_str()
                .expect("a size")
                .parse()
                .expect("a number");
            (1_618_675_200_000 + (minute * 60 + second) * 1_000, quantity)
        }));
        check_fold(&ours, symbol, &expected);
    }
}

#[test]
fn trades_of_a_quiet_okx_pair_are_all_in_bars_though_its_first_push_is_hours_old() {
    let push = |received_s: i64, id: u64, event_ms: i64| {
        format!(
            r#"{received_s}.5: {{"arg":{{"channel":"trades","instId":"BTC-USDT"}},"data":[{{"instId":"BTC-USDT","tradeId":"{id}","px":"30236","sz":"0.5","side":"buy","ts":"{event_ms}"}}]}}"#
        )
    };
    let ack = |received_s: i64| {
        format!(
            r#"{received_s}.1: {{"event":"subscribe","arg":{{"channel":"trades","instId":"BTC-USDT"}}}}"#
        )
    };
    let start_s = 1_652_459_225;
    // The last trade is 9.7 h old, and the next ones come each 20 s.
    let mut lines = vec![ack(start_s), push(start_s, 1, (start_s - 34_920) * 1_000)];
    for id in 2..5 {
        let at_s = start_s + 20 * id as i64;
        lines.push(push(at_s, id, at_s * 1_000 + 480));
    }
    // A new subscription brings the last trade again.
    lines.push(ack(start_s + 200));
    lines.push(push(start_s + 200, 4, (start_s + 80) * 1_000 + 480));
    lines.push(push(start_s + 220, 5, (start_s + 220) * 1_000 + 480));
    let name = format!("klinecast-{}-quiet-okx.txt", std::process::id());
    let file = std::env::temp_dir().join(name);
    std::fs::write(&file, lines.join("\n") + "\n").expect("a temporary file");
    let flags = ["--exchange", "okx", "--timeframes", "1m"];
    let (bars, summary) = replay(&flags, std::slice::from_ref(&file));
    std::fs::remove_file(&file).expect("it is there");
    assert_eq!(
        (summary.trades, summary.duplicates, summary.gaps),
        (6, 1, 0)
    );
    let minute = |bar: &BTreeMap<String, String>| {
        let open_s = bar["open_time"].parse::<i64>().expect("a time") / 1_000;
        (open_s - start_s).div_euclid(60) + 1
    };
    let with_trades = bars.iter().filter(|bar| bar["trades"] != "0");
    let counts: Vec<(i64, &str)> = with_trades
        .map(|bar| (minute(bar), bar["trades"].as_str()))
        .collect();
    // What happened long before the subscription is in a bar of its own; all since is in bars.
    assert_eq!((summary.beyond_horizon, summary.future), (0, 0));
    assert_eq!(counts, [(-582, "1"), (0, "1"), (1, "2"), (3, "1")]);
    assert!(bars.len() < 10, "no flat bars of the hours between");
}
