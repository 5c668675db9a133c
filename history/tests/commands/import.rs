//! `history import`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use history::store::{SqliteOptions, SqliteStore};
use market_core::Quality;
use testkit::directory::Directory;

use crate::files::{KLINE_HEADER, START_MS, gzip, klines, trade_lines, write, zip};
use crate::{bars, bars_of, command, import, open, stderr, stdout, succeeded, trades};

#[test]
fn klines_are_the_same_plain_packed_with_or_without_a_header_in_ms_or_us() {
    let files = Directory::new();
    let plain = klines(500, 1);
    let forms = [
        write(files.path(), "plain.csv", plain.as_bytes()),
        write(
            files.path(),
            "header.csv",
            format!("{KLINE_HEADER}{plain}").as_bytes(),
        ),
        write(files.path(), "us.csv", klines(500, 1_000).as_bytes()),
        gzip(files.path(), "packed.csv.gz", &plain),
        zip(
            files.path(),
            "packed.zip",
            &format!("{KLINE_HEADER}{plain}"),
        ),
    ];
    for file in forms {
        let store = Directory::new();
        let said = succeeded(&import(store.path(), &[], &[&file]));
        assert!(said.starts_with("500 bars, 0 trades"), "{said}");
        let store = open(store.path());
        let rows = bars(&store, "1m");
        assert_eq!(rows.len(), 500, "{}", file.display());
        let row = &rows[499];
        assert_eq!(row.start_ms, START_MS + 499 * 60_000);
        assert_eq!(row.close.to_string(), "61499.25");
        assert_eq!(row.volume.to_string(), "500.5");
        assert_eq!(row.quote_volume.expect("told").to_string(), "9499.125");
        assert_eq!(
            row.taker_buy_quote_volume.expect("told").to_string(),
            "8499.5"
        );
        assert_eq!((row.count, row.rev, row.ids), (Some(7), 0, None));
        assert!(row.is_imported && row.quality == Quality::Complete);
    }
}

#[test]
fn rows_of_rest_and_bars_of_replay_are_read_too() {
    let files = Directory::new();
    let rest = format!(
        r#"[{START_MS},"1.5","2.5","1.25","2","3",{},"4.5",5,"1","1.5","0"]"#,
        START_MS + 3_599_999
    );
    let rest = write(files.path(), "rest.jsonl", rest.as_bytes());
    let bar = |exchange: &str, symbol: &str, state: &str| {
        format!(
            r#"{{"exchange":"{exchange}","symbol":"{symbol}","interval":"1s","start_ms":{START_MS},"open":"1.5","high":"2.5","low":"1.25","close":"2","volume":"3","quote_volume":"4.5","taker_buy_volume":"1","taker_buy_quote_volume":"1.5","count":5,"first_id":"11","last_id":"15","state":"{state}","rev":0,"quality":"complete"}}"#
        )
    };
    let lines = [
        bar("binance", "BTC-USDT", "closed"),
        bar("binance", "ETH-USDT", "closed"),
        bar("okx", "BTC-USDT", "closed"),
        bar("binance", "BTC-USDT", "forming"),
    ];
    let replayed = write(files.path(), "bars.jsonl", lines.join("\n").as_bytes());
    let store = Directory::new();
    let said = succeeded(&import(store.path(), &[], &[&rest, &replayed]));
    assert!(
        said.starts_with("2 bars, 0 trades") && said.contains("3 left out"),
        "{said}"
    );
    let store = open(store.path());
    let (hours, seconds) = (bars(&store, "1h"), bars(&store, "1s"));
    assert_eq!((hours.len(), seconds.len()), (1, 1));
    assert_eq!(hours[0].quote_volume, seconds[0].quote_volume);
    // A bar of a capture gives way to a live one, as a venue's own bar does.
    assert!(seconds[0].is_imported);
    assert_eq!(
        seconds[0].ids.map(|ids| (ids.first, ids.last)),
        Some((11, 15))
    );
}

fn import_of(exchange: &str, symbol: &str, store: &Path, file: &Path) -> Output {
    let mut import = command(store, "import");
    import.args(["--exchange", exchange, "--symbol", symbol, "--width", "1m"]);
    import.arg(file).output().expect("started")
}

#[test]
fn pages_of_coinbase_and_okx_are_read_and_say_what_they_do_not_know() {
    let files = Directory::new();
    let coinbase = format!(
        "[[{},1.25,2.5,1.5,2,3.5],[{},1,2,1.5,1.75,0.5]]",
        START_MS / 1_000 + 60,
        START_MS / 1_000
    );
    let row = |minute: i64, confirm: u8| {
        let start_ms = START_MS + minute * 60_000;
        format!(r#"["{start_ms}","1.5","2.5","1.25","2","3.5","7.1","7.25","{confirm}"]"#)
    };
    let okx = format!(
        r#"{{"code":"0","msg":"","data":[{},{}]}}"#,
        row(1, 0),
        row(0, 1)
    );
    for (exchange, symbol, page, expected) in [
        ("coinbase", "BTC-USD", coinbase, vec![(0, None), (1, None)]),
        ("okx", "OKX:BTC-USDT", okx, vec![(0, Some("7.25"))]),
    ] {
        let store = Directory::new();
        let file = write(files.path(), "page.json", page.as_bytes());
        let said = succeeded(&import_of(exchange, symbol, store.path(), &file));
        let bars_said = format!("{} bars, 0 trades", expected.len());
        assert!(said.starts_with(&bars_said), "{said}");
        let rows = bars_of(&open(store.path()), exchange, symbol, "1m");
        let told = rows.iter().map(|row| {
            assert_eq!((row.count, row.taker_buy_volume), (None, None));
            assert!(row.is_imported && row.quality == Quality::Complete);
            let minute = (row.start_ms - START_MS) / 60_000;
            (minute, row.quote_volume.map(|sum| sum.to_string()))
        });
        let told: Vec<_> = told.collect();
        let expected: Vec<_> = expected
            .into_iter()
            .map(|(minute, sum)| (minute, sum.map(str::to_owned)))
            .collect();
        assert_eq!(told, expected);
    }
    // The width is not in the rows.
    let store = Directory::new();
    let file = files.path().join("page.json");
    let output = import(store.path(), &[], &[&file]);
    assert!(stderr(&output).contains("--width"), "{}", stderr(&output));
}

#[test]
fn trades_and_aggregate_trades_are_read() {
    let files = Directory::new();
    let aggregates = format!(
        "26129,0.016,4.7,10,12,{START_MS},true,true\n26130,0.017,1,13,13,{},false,true\n",
        START_MS + 1
    );
    let aggregates = write(files.path(), "agg.csv", aggregates.as_bytes());
    let header = "id,price,qty,quote_qty,time,is_buyer_maker,is_best_match\n";
    let plain = zip(
        files.path(),
        "t.zip",
        &format!("{header}{}", trade_lines(1_000)),
    );
    let store = Directory::new();
    let said = succeeded(&import(store.path(), &[], &[&aggregates, &plain]));
    assert!(said.starts_with("0 bars, 1002 trades"), "{said}");
    let rows = trades(&open(store.path()));
    assert_eq!(rows.len(), 1_002);
    let spans: Vec<_> = rows.iter().map(|row| (row.first_id, row.last_id)).collect();
    assert!(spans.contains(&(10, 12)) && spans.contains(&(1_899, 1_899)));
}

#[test]
fn a_file_is_read_once_and_again_only_if_it_is_asked_for_or_has_changed() {
    let (files, store) = (Directory::new(), Directory::new());
    let file = write(files.path(), "BTCUSDT-1m.csv", klines(300, 1).as_bytes());
    succeeded(&import(store.path(), &[], &[&file]));
    let first = bars(&open(store.path()), "1m");
    let said = succeeded(&import(store.path(), &[], &[&file]));
    assert!(
        said.starts_with("0 bars") && said.contains("300 lines were stored before"),
        "{said}"
    );
    // What was deleted comes back.
    for path in store.files("sqlite") {
        if path.to_string_lossy().contains("2024-08") {
            fs::remove_file(path).expect("deleted");
        }
    }
    succeeded(&import(store.path(), &["--again"], &[&file]));
    let again = bars(&open(store.path()), "1m");
    assert_eq!(again.len(), first.len());
    assert!(again.iter().zip(&first).all(|(a, b)| a.says_the_same(b)));
    // A month that was published again, with more rows.
    let file = write(files.path(), "BTCUSDT-1m.csv", klines(400, 1).as_bytes());
    let said = succeeded(&import(store.path(), &[], &[&file]));
    assert!(said.starts_with("400 bars"), "{said}");
    assert_eq!(bars(&open(store.path()), "1m").len(), 400);
}

#[test]
fn a_bad_line_is_named_by_file_and_line_and_what_was_before_it_is_stored() {
    let (files, store) = (Directory::new(), Directory::new());
    let mut lines: Vec<String> = klines(100, 1).lines().map(str::to_owned).collect();
    lines[60] = "1722474000000,61000,60000,60999,61000,1".to_owned();
    let file = write(files.path(), "bad.csv", lines.join("\n").as_bytes());
    let output = import(store.path(), &[], &[&file]);
    assert!(!output.status.success());
    let said = stderr(&output);
    assert!(
        said.contains("line 61 of") && said.contains("bad.csv"),
        "{said}"
    );
    assert!(said.contains("--skip-bad-lines"), "{said}");
    assert_eq!(bars(&open(store.path()), "1m").len(), 60);

    // The rest, without the bad line; the exit code says that there was one.
    let output = import(store.path(), &["--skip-bad-lines"], &[&file]);
    assert_eq!(output.status.code(), Some(1));
    let said = stdout(&output);
    assert!(
        said.contains("60 lines were stored before") && said.contains("1 bad"),
        "{said}"
    );
    assert!(stderr(&output).contains("line 61 of"));
    assert_eq!(bars(&open(store.path()), "1m").len(), 99);
}

#[test]
fn impossible_bars_are_bad_lines() {
    let files = Directory::new();
    for (line, why) in [
        ("1722470400001,1,2,1,2,1,1722470460000,1,1,1,1,0", "starts"),
        (
            "1722470400000,1,2,1.5,2,1,1722470459999,1,1,1,1,0",
            "outside",
        ),
        ("1722470400000,1,2,1,2,x,1722470459999,1,1,1,1,0", "number"),
        ("1722470400000,1,2,1,2,1,1722470400007,1,1,1,1,0", "--width"),
        ("99999999999999999,1,2,1,2,1,3,1,1,1,1,0", "--width"),
        ("[1,2]", "row of bars"),
        ("{\"p\":1}", "trade"),
        ("hello", "neither"),
        ("1,2,3", "trade"),
        ("5 {", "frame"),
    ] {
        let store = Directory::new();
        let file = write(files.path(), "line.csv", line.as_bytes());
        let output = import(store.path(), &[], &[&file]);
        assert!(!output.status.success(), "{line}");
        let said = stderr(&output);
        assert!(
            said.contains("line 1 of") && said.contains(why),
            "{line}: {said}"
        );
    }
}

#[test]
fn a_bar_that_is_not_closed_yet_is_left_out() {
    let (files, store) = (Directory::new(), Directory::new());
    let far = 4_102_444_800_000_i64;
    let line = format!("{far},1,2,1,2,1,{},1,1,1,1,0\n", far + 59_999);
    let content = format!("{}{line}", klines(2, 1));
    let file = write(files.path(), "open.csv", content.as_bytes());
    let said = succeeded(&import(store.path(), &[], &[&file]));
    assert!(
        said.starts_with("2 bars") && said.contains("1 left out"),
        "{said}"
    );
}

#[test]
fn a_store_in_use_is_an_error_that_names_it() {
    let (files, store) = (Directory::new(), Directory::new());
    let file = write(files.path(), "rows.csv", klines(2, 1).as_bytes());
    let user = SqliteStore::open(store.path(), SqliteOptions::default()).expect("free");
    let output = import(store.path(), &[], &[&file]);
    drop(user);
    let said = stderr(&output);
    assert!(
        !output.status.success() && said.contains("in use by another process"),
        "{said}"
    );
    assert!(said.contains(&store.path().display().to_string()), "{said}");
}

#[test]
fn a_full_disk_ends_an_import_with_the_line_at_which_it_goes_on() {
    let (files, store) = (Directory::new(), Directory::new());
    let file = write(files.path(), "trades.csv", trade_lines(120_000).as_bytes());
    let bound = ["--history-file-bytes-max", "90112", "--batch-rows", "1000"];
    let output = import(store.path(), &bound, &[&file]);
    let said = stderr(&output);
    assert!(!output.status.success(), "90,112 bytes are too few");
    assert!(said.contains("free disk space"), "{said}");
    let held = trades(&open(store.path())).len();
    assert!(
        held > 0 && held < 120_000 && held.is_multiple_of(1_000),
        "{held}"
    );
    let goes_on = format!("goes on at line {} of", held + 1);
    assert!(said.contains(&goes_on), "{held}: {said}");
    let said = succeeded(&import(store.path(), &[], &[&file]));
    assert!(
        said.contains(&format!("{held} lines were stored before")),
        "{said}"
    );
    let ids: Vec<_> = trades(&open(store.path()))
        .iter()
        .map(|row| row.first_id)
        .collect();
    assert!(ids.into_iter().eq(900..120_900), "each trade once");
}

#[test]
fn captured_trades_and_rows_of_rest_come_in_whole() {
    let Some(captures) = std::env::var_os("KLINECAST_CAPTURES").map(PathBuf::from) else {
        println!("the captures are skipped: KLINECAST_CAPTURES does not name their folder");
        return;
    };
    let store = Directory::new();
    let files = ["20240808", "20240809"]
        .map(|day| captures.join(format!("binance-spot-raw/btcusdt_{day}.gz")));
    let said = succeeded(&import(store.path(), &[], &[&files[0], &files[1]]));
    assert!(said.starts_with("0 bars, 19904 trades"), "{said}");
    let rows = trades(&open(store.path()));
    let ids: Vec<_> = rows.iter().map(|row| row.first_id).collect();
    assert!(
        ids.into_iter().eq(3_735_683_259..=3_735_703_162),
        "no gap and no double"
    );
    let hours = captures.join("binance-rest/BTCUSDT-1h-2020-05-01_1000.jsonl.gz");
    let said = succeeded(&import(store.path(), &[], &[&hours]));
    assert!(said.starts_with("1000 bars"), "{said}");
    let rows = bars(&open(store.path()), "1h");
    assert_eq!(rows.len(), 1_000);
    assert_eq!(
        rows[0].taker_buy_quote_volume.expect("told").to_string(),
        "13666586.86496907"
    );
}
