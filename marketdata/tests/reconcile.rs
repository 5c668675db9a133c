//! `marketdata reconcile`: captures against venues' own klines, from files and over REST.

use std::path::{Path, PathBuf};

use clap::Parser;
use marketdata::reconcile::command::{self, ReconcileConfig, ReconcileError};
use marketdata::reconcile::compare::Cause;
use marketdata::reconcile::report::{Report, Section};
use service::Service;
use tokio::net::TcpListener;

#[derive(Parser)]
struct Reconcile {
    #[command(flatten)]
    config: ReconcileConfig,
}

fn reconcile(flags: &[&str]) -> Result<Report, ReconcileError> {
    let flags = ["reconcile"].iter().chain(flags);
    command::run(&Reconcile::parse_from(flags).config)
}

fn captures(test: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("KLINECAST_CAPTURES").map(PathBuf::from);
    if folder.is_none() {
        println!("{test} is skipped: KLINECAST_CAPTURES does not name the folder of captures");
    }
    folder
}

/// A file of a test, gone with the value.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str, text: &str) -> Self {
        let file = std::env::temp_dir().join(format!("klinecast-{}-{name}", std::process::id()));
        std::fs::write(&file, text).expect("a writable temporary folder");
        Self(file)
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("UTF-8")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// (compared, equal, empty), and the causes.
fn counts(section: &Section) -> ((u64, u64, u64), Vec<(Cause, u64)>) {
    let causes = section.causes.iter().map(|(&cause, &count)| (cause, count));
    (
        (section.compared, section.equal, section.empty),
        causes.collect(),
    )
}

/// A trade, then three minutes of trades: ids 1..=3, the second minute empty.
const TRADES: &str = r#"{"id":0,"price":"10.00","qty":"1.0","time":1700000099999,"isBuyerMaker":false}
{"id":1,"price":"10.00","qty":"1.0","time":1700000100000,"isBuyerMaker":false}
{"id":2,"price":"11.00","qty":"2.0","time":1700000159999,"isBuyerMaker":true}
{"id":3,"price":"12.00","qty":"1.0","time":1700000220000,"isBuyerMaker":false}
"#;
const HEADER: &str = "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore";
const FIRST: &str = "1700000100000,10,11,10,11,3,1700000159999,32,2,1,10,0";
const EMPTY: &str = "1700000160000,11,11,11,11,0,1700000219999,0,0,0,0,0";
const THIRD: &str = "1700000220000,12,12,12,12,1,1700000279999,12,1,1,12,0";

/// The causes of these klines against [`TRADES`].
#[track_caller]
fn check(name: &str, rows: &[&str], expected: &[(Cause, u64)]) {
    let trades = Scratch::new(&format!("{name}.jsonl"), TRADES);
    let csv = format!("{HEADER}\n{}\n", rows.join("\n"));
    let klines = Scratch::new(&format!("{name}.csv"), &csv);
    let flags = ["--exchange", "binance", "--instruments", "binance:A-USDT"];
    let files = ["--file", trades.path(), "--klines", klines.path()];
    let report = reconcile(&[&flags[..], &files[..]].concat()).expect("comparable");
    assert_eq!(counts(&report.sections[0]).1, expected, "{report:?}");
    let is_explained = expected.iter().all(|(cause, _)| cause.is_explained());
    assert_eq!(report.is_explained, is_explained);
}

#[test]
fn equal_bars_are_explained_with_flat_or_absent_intervals() {
    check("flat", &[FIRST, EMPTY, THIRD], &[]);
    check("absent", &[FIRST, THIRD], &[]);
}

#[test]
fn each_difference_has_its_cause() {
    check(
        "differs",
        &[&FIRST.replace(",32,", ",33,"), EMPTY, THIRD],
        &[(Cause::FieldDiffers, 1)],
    );
    let traded = EMPTY.replace("11,0,1700000219999,0,0", "11,5,1700000219999,55,1");
    check(
        "missing",
        &[FIRST, &traded, THIRD],
        &[(Cause::MissingBar, 1)],
    );
    check(
        "extra",
        &[
            &EMPTY.replace("1700000160000", "1700000100000"),
            EMPTY,
            THIRD,
        ],
        &[(Cause::ExtraBar, 1)],
    );
    // The capture ends in the third minute, of which the venue has more.
    let more = THIRD.replace("12,1,1700000279999,12,1", "13,4,1700000279999,50,4");
    check("more", &[FIRST, EMPTY, &more], &[(Cause::Partial, 1)]);
    // Less than what we have is no part of it.
    let less = THIRD.replace("12,1,1700000279999", "12,0.5,1700000279999");
    check("less", &[FIRST, EMPTY, &less], &[(Cause::FieldDiffers, 1)]);
}

#[test]
fn a_gap_in_the_capture_explains_what_its_bars_lack() {
    // Of the first minute's trades the second is missing, and another follows.
    let trades = TRADES.replace("\"id\":2", "\"id\":3").replace(
        "\"id\":3,\"price\":\"12.00\"",
        "\"id\":4,\"price\":\"12.00\"",
    );
    let later = r#"{"id":5,"price":"12.00","qty":"1.0","time":1700000340000,"isBuyerMaker":false}"#;
    let trades = Scratch::new("gap.jsonl", &format!("{trades}{later}\n"));
    let whole = "1700000100000,10,12,9,11,4,1700000159999,44,3,2,22,0";
    let csv = format!("{HEADER}\n{whole}\n{EMPTY}\n{THIRD}\n");
    let klines = Scratch::new("gap.csv", &csv);
    let flags = ["--exchange", "binance", "--instruments", "binance:A-USDT"];
    let files = ["--file", trades.path(), "--klines", klines.path()];
    let report = reconcile(&[&flags[..], &files[..]].concat()).expect("comparable");
    assert_eq!(
        counts(&report.sections[0]).1,
        [(Cause::Gap, 1)],
        "{report:?}"
    );
    assert!(report.is_explained);
}

#[test]
fn what_cannot_be_compared_is_an_error_that_says_what_to_write() {
    let trades = Scratch::new("wrong.jsonl", TRADES);
    let row = Scratch::new(
        "row.csv",
        "time,open,high,low,close,volume\n1700000100,1,1,1,1,1\n",
    );
    let far = Scratch::new("far.csv", "1800000000000,1,1,1,1,1,1800000059999,1,1,1,1\n");
    let run = |klines: &str, more: &[&str]| {
        let flags = ["--exchange", "binance", "--instruments", "binance:A-USDT"];
        let files = ["--file", trades.path(), "--klines", klines];
        let report = reconcile(&[&flags[..], &files[..], more].concat());
        report.map(|report| report.sections.len())
    };
    assert!(matches!(
        run(row.path(), &[]),
        Err(ReconcileError::NoWidth(_))
    ));
    assert!(matches!(run(row.path(), &["--timeframes", "1m"]), Ok(1)));
    assert!(matches!(
        run(far.path(), &[]),
        Err(ReconcileError::NothingInCommon { .. })
    ));
    assert!(matches!(
        run(far.path(), &["--timeframes", "1h,1d"]),
        Err(ReconcileError::OtherWidth { .. })
    ));
    assert!(matches!(
        run("/nowhere.csv", &[]),
        Err(ReconcileError::Read { .. })
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_venues_rest_interface_is_asked_for_the_bars_of_a_capture() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let base = format!("http://{}", listener.local_addr().expect("bound"));
    let sim_config = exchange_sim::Config {
        // A thousand trades last for minutes, in a burst too, so that whole ones are among them.
        rate: 2.0,
        history_minutes: 5,
        ..exchange_sim::Config::default()
    };
    let sim = Service::for_test();
    tokio::spawn(exchange_sim::run(sim_config, listener, sim.clone()));
    for (exchange, symbol, page) in [
        (
            "binance",
            "BTC-USDT",
            "/api/v3/historicalTrades?symbol=BTCUSDT&limit=1000",
        ),
        ("coinbase", "BTC-USD", "/products/BTC-USD/trades?limit=1000"),
        (
            "okx",
            "OKX:BTC-USDT",
            "/api/v5/market/history-trades?instId=BTC-USDT&limit=100",
        ),
    ] {
        let body = reqwest::get(format!("{base}{page}"))
            .await
            .expect("the simulator answers")
            .text()
            .await
            .expect("a body");
        // OKX wraps its rows.
        let rows: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        let rows = rows.get("data").unwrap_or(&rows);
        assert!(rows.as_array().is_some_and(|rows| rows.len() >= 100));
        let text = match exchange {
            "okx" => format!("{{\"code\":\"0\",\"data\":{rows}}}\n"),
            _ => format!("{rows}\n"),
        };
        let capture = Scratch::new(&format!("{exchange}.json"), &text);
        let base = base.clone();
        let report = tokio::task::spawn_blocking(move || {
            let instrument = format!("{exchange}:{symbol}");
            reconcile(&[
                "--exchange",
                exchange,
                "--instruments",
                &instrument,
                "--file",
                capture.path(),
                "--klines",
                &base,
                "--timeframes",
                "1s,1m",
            ])
        })
        .await
        .expect("no panic")
        .expect("comparable");
        assert!(report.is_explained, "{report:?}");
        // Coinbase has no bars of a second.
        let widths = if exchange == "coinbase" { 1 } else { 2 };
        assert_eq!(report.sections.len(), widths);
        let compared: u64 = report.sections.iter().map(|section| section.equal).sum();
        assert!(compared > 0 || exchange == "okx", "{report:?}");
    }
    sim.shutdown.trigger();
}

#[test]
fn the_exchanges_own_klines_equal_ours_in_every_field() {
    let Some(folder) = captures("the exchange's own klines") else {
        return;
    };
    let folder = folder.join("binance-usdm-raw");
    let report = of_files(
        &[folder.join("btcusdt_20240808.gz")],
        &folder.join("official_klines_BTCUSDT-1m_20240808.csv"),
        &[],
    );
    let section = &report.sections[0];
    assert_eq!(counts(section), ((6, 5, 0), vec![(Cause::Partial, 1)]));
    assert_eq!((section.fields.len(), section.outside_of_ours), (9, 1));
    assert_eq!(section.mismatches[0].start_ms, 1_723_161_240_000);
    assert!(report.is_explained);
}

#[test]
fn a_whole_day_equals_an_independent_computation() {
    let Some(folder) = captures("a whole day") else {
        return;
    };
    let folder = folder.join("binance-aggtrades");
    let trades = folder.join("XRPETH-aggTrades-2019-10-11.jsonl.gz");
    for (klines, flags, expected) in [
        (
            "freqtrade_XRPETH-1m-2019-10-11.csv.gz",
            &[][..],
            (1_435, 1_435, 413),
        ),
        ("freqtrade_XRPETH-5m-2019-10-11.csv.gz", &[], (287, 287, 0)),
        (
            "derived_XRPETH-aggTrades-2019-10-11_1s.csv.gz",
            &[],
            (86_062, 86_062, 82_823),
        ),
        (
            "derived_XRPETH-aggTrades-2019-10-11_1m.csv.gz",
            &[],
            (1_435, 1_435, 413),
        ),
        (
            "derived_XRPETH-aggTrades-2019-10-11_1h.csv.gz",
            &[],
            (24, 24, 0),
        ),
        (
            "derived_XRPETH-aggTrades-2019-10-11_1d.csv.gz",
            &["--timeframes", "1d"],
            (1, 1, 0),
        ),
    ] {
        let flags = [&["--instruments", "binance:XRP-ETH"], flags].concat();
        let report = of_files(std::slice::from_ref(&trades), &folder.join(klines), &flags);
        assert_eq!(counts(&report.sections[0]), (expected, vec![]), "{klines}");
    }
}

#[test]
fn spot_across_midnight_with_a_recorders_clock_behind_equals_the_exact_bars() {
    let Some(folder) = captures("spot across midnight") else {
        return;
    };
    let folder = folder.join("binance-spot-raw");
    let files = ["btcusdt_20240808.gz", "btcusdt_20240809.gz"].map(|name| folder.join(name));
    for (interval, expected) in [
        ("1s", (651, 651, 6)),
        ("1m", (12, 12, 0)),
        ("1h", (2, 2, 0)),
    ] {
        let klines = folder.join(format!("derived_btcusdt_{interval}.csv.gz"));
        let report = of_files(&files, &klines, &[]);
        assert_eq!(
            counts(&report.sections[0]),
            (expected, vec![]),
            "{interval}"
        );
    }
}

fn of_files(captures: &[PathBuf], klines: &Path, flags: &[&str]) -> Report {
    let text = |path: &Path| path.to_str().expect("UTF-8").to_owned();
    let mut given = vec!["--exchange".to_owned(), "binance".to_owned()];
    for capture in captures {
        given.extend(["--file".to_owned(), text(capture)]);
    }
    given.extend(["--klines".to_owned(), text(klines)]);
    given.extend(flags.iter().map(|&flag| flag.to_owned()));
    let given: Vec<&str> = given.iter().map(String::as_str).collect();
    reconcile(&given).expect("comparable")
}
