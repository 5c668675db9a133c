//! An `InfluxDB` that stops, dies, is full, or refuses.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use history::BarRow;
use history::store::{
    BarStore, InfluxStore, Kind, Range, Retention, StoreError, TradeStore, Watermark,
};
use market_core::Timeframe;
use serde_json::Value;
use testkit::influx::InfluxServer;

use super::{Influx, open, open_with};
use crate::rows::{START_MS, bar, instrument, minutes, trade};

const MINUTE_MS: i64 = 60_000;

/// Asks the server itself.
fn ask(server: &InfluxServer, statement: &str) -> Value {
    let url = format!("http://{}/query", server.address());
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let request = reqwest::Client::new().post(url);
        let request = request.query(&[("db", "klinecast"), ("q", statement)]);
        let answer = request.send().await.expect("it answers");
        answer.json().await.expect("JSON")
    })
}

fn mark(position: u64) -> Watermark {
    Watermark {
        stream: "closed".into(),
        position,
    }
}

/// Stores the bar and the trades of a position, with its watermark.
fn append(store: &InfluxStore, position: u64) -> Result<(), StoreError> {
    let at_ms = START_MS + i64::try_from(position).expect("small") * MINUTE_MS;
    let trades = (0..20).map(|index| trade(position * 20 + index, at_ms));
    store.append_trades(&[(instrument("BTC-USD"), trades.collect())], None)?;
    let rows = vec![bar(at_ms, 0, at_ms), bar(at_ms, 1, at_ms + 1)];
    store.append_bars(&[(minutes("BTC-USD"), rows)], Some(&mark(position)))
}

/// Holds all that is stored against the positions up to one.
fn check(store: &InfluxStore, newest: u64) {
    let everything = Range::new(0, i64::MAX, usize::MAX);
    let count = usize::try_from(newest + 1).expect("small");
    let bars = store.bars(&minutes("BTC-USD"), &everything).expect("bars");
    let starts = (0..).map(|step| START_MS + step * MINUTE_MS).take(count);
    let expected: Vec<BarRow> = starts.map(|at| bar(at, 1, at + 1)).collect();
    assert_eq!(bars.rows, expected);
    let end_ms = START_MS + i64::try_from(count).expect("small") * MINUTE_MS;
    let revisions = store.revisions_between(&minutes("BTC-USD"), START_MS, end_ms);
    assert_eq!(revisions.expect("revisions").len(), 2 * count);
    let trades = store.trades(&instrument("BTC-USD"), &everything);
    let ids = trades.expect("trades").rows.into_iter();
    let ids: Vec<u64> = ids.map(|row| row.first_id).collect();
    assert_eq!(ids, (0..(newest + 1) * 20).collect::<Vec<_>>());
    assert_eq!(store.watermark("closed").expect("a mark"), Some(newest));
}

/// As history does: the same call until it succeeds. Only errors that can pass are expected.
fn append_until_stored(store: &InfluxStore, position: u64) -> u32 {
    let mut failures = 0;
    while let Err(error) = append(store, position) {
        assert!(error.is_retryable(), "{error}");
        failures += 1;
        std::thread::yield_now();
    }
    failures
}

#[test]
fn a_server_that_stops_is_away_and_gets_what_it_missed() {
    let Some(Influx(server)) = Influx::start() else {
        return;
    };
    let store = open_with(&server.url("klinecast"), Duration::from_millis(500));
    append_until_stored(&store, 0);
    server.suspend();
    let error = append(&store, 1).expect_err("nobody answers");
    assert!(matches!(error, StoreError::Away { .. }), "{error:?}");
    // The others do not wait for the deadline again: they get the reason at once.
    let error = store.latest_bar(&minutes("BTC-USD")).expect_err("away");
    assert!(error.to_string().contains("no answer within"), "{error}");
    server.resume();
    for position in 1..5 {
        append_until_stored(&store, position);
    }
    check(&open(&server.url("klinecast")), 4);
}

#[test]
fn a_server_killed_in_the_middle_of_writes_misses_nothing_and_has_nothing_twice() {
    let Some(Influx(mut server)) = Influx::start() else {
        return;
    };
    let store = open(&server.url("klinecast"));
    append_until_stored(&store, 0);
    let (newest, stored) = (40, AtomicU64::new(0));
    let failures = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let positions = (1..=newest).map(|position| {
                let failures = append_until_stored(&store, position);
                stored.store(position, Ordering::Release);
                failures
            });
            positions.sum::<u32>()
        });
        for round in 1..=4 {
            while stored.load(Ordering::Acquire) < round * 8 {
                std::thread::yield_now();
            }
            server.kill();
            server.start_again();
        }
        writer.join().expect("the writer")
    });
    eprintln!("{failures} calls failed");
    check(&store, newest);
    drop(store);
    check(&open(&server.url("klinecast")), newest);
}

#[test]
fn a_request_that_is_too_large_is_divided() {
    let options = [("INFLUXDB_HTTP_MAX_BODY_SIZE", "3000")];
    let Some(server) = InfluxServer::start(&options) else {
        return;
    };
    let store = open(&server.url("klinecast"));
    for position in 0..3 {
        append(&store, position).expect("in parts");
    }
    check(&store, 2);
}

#[test]
fn a_server_without_room_for_another_series_says_so() {
    let options = [("INFLUXDB_DATA_MAX_SERIES_PER_DATABASE", "60")];
    let Some(server) = InfluxServer::start(&options) else {
        return;
    };
    let store = open(&server.url("klinecast"));
    append(&store, 0).expect("three measurements and the positions");
    let batch: Vec<_> = (0..100)
        .map(|index| {
            let series = minutes(&format!("A{index}-USD"));
            (series, vec![bar(START_MS, 0, START_MS)])
        })
        .collect();
    let error = store.append_bars(&batch, Some(&mark(9))).expect_err("full");
    assert!(matches!(error, StoreError::ServerFull { .. }), "{error:?}");
    assert!(error.is_retryable());
    check(&store, 0);
}

#[test]
fn a_measurement_of_another_program_is_a_refusal_and_no_row_is_left_out() {
    let Some(Influx(server)) = Influx::start() else {
        return;
    };
    let store = open(&server.url("klinecast"));
    append(&store, 0).expect("stored");
    ask(&server, "DROP MEASUREMENT \"market_klines\"");
    let url = format!("http://{}/write?db=klinecast", server.address());
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let foreign = format!("market_klines row=7 {}000000", START_MS + MINUTE_MS);
    let request = reqwest::Client::new().post(url).body(foreign);
    let answer = runtime.block_on(request.send()).expect("it answers");
    assert!(answer.status().is_success());
    let error = append(&store, 1).expect_err("another type");
    assert!(matches!(error, StoreError::Refused { .. }), "{error:?}");
    assert!(error.to_string().contains("field type conflict"), "{error}");
    assert_eq!(store.watermark("closed").expect("a mark"), Some(0));
}

#[test]
fn rows_beyond_the_retention_policy_do_not_hold_up_the_others() {
    let Some(Influx(server)) = Influx::start() else {
        return;
    };
    ask(&server, "CREATE DATABASE \"klinecast\" WITH DURATION 7d");
    let store = open(&server.url("klinecast"));
    let now_ms = service::wall_clock_ms();
    let start_ms = now_ms - now_ms.rem_euclid(MINUTE_MS);
    let rows = vec![bar(START_MS, 0, 0), bar(start_ms, 0, 0)];
    store
        .append_bars(&[(minutes("BTC-USD"), rows)], Some(&mark(3)))
        .expect("the newer one");
    let everything = Range::new(0, i64::MAX, 10);
    let rows = store.bars(&minutes("BTC-USD"), &everything).expect("bars");
    assert_eq!(rows.rows, [bar(start_ms, 0, 0)]);
    assert_eq!(store.watermark("closed").expect("a mark"), Some(3));
}

#[test]
fn rows_of_another_retention_policy_are_never_deleted() {
    let Some(Influx(server)) = Influx::start() else {
        return;
    };
    ask(&server, "CREATE DATABASE \"klinecast\"");
    ask(
        &server,
        "CREATE RETENTION POLICY \"wide\" ON \"klinecast\" DURATION INF REPLICATION 1",
    );
    let store = open(&server.url("klinecast"));
    append(&store, 0).expect("stored");
    let wide = open(&server.url("klinecast?rp=wide"));
    let later_ms = START_MS + 31 * 86_400_000;
    let rows = vec![bar(START_MS, 0, 0), bar(later_ms, 0, 0)];
    let batch = [(minutes("BTC-USD"), rows)];
    wide.append_bars(&batch, None).expect("stored");
    let kind = Kind::Bars(Timeframe::MINUTE);
    let error = store.drop_before(kind, later_ms).expect_err("refused");
    assert!(error.to_string().contains("wide"), "{error}");
    check(&store, 0);
    // Trades are in the one policy alone.
    assert_eq!(
        store.drop_before(Kind::Trades, later_ms).expect("deleted"),
        1
    );
    let everything = Range::new(0, i64::MAX, 10);
    let rows = wide.bars(&minutes("BTC-USD"), &everything).expect("bars");
    assert_eq!(rows.rows.len(), 2);
}

#[test]
fn a_retention_policy_of_hours_cannot_keep_positions_and_says_so() {
    let Some(Influx(server)) = Influx::start() else {
        return;
    };
    ask(&server, "CREATE DATABASE \"klinecast\" WITH DURATION 1h");
    let store = open(&server.url("klinecast"));
    let now_ms = service::wall_clock_ms();
    let rows = vec![bar(now_ms - now_ms.rem_euclid(MINUTE_MS), 0, 0)];
    let batch = [(minutes("BTC-USD"), rows)];
    // Where the day is so young or the place so late that the point is kept, it is the right one.
    for position in 1..20 {
        let mark = Watermark {
            stream: format!("journal.{position}").into(),
            position,
        };
        match store.append_bars(&batch, Some(&mark)) {
            Ok(()) => {
                let kept = store.watermark(&mark.stream).expect("a mark");
                assert_eq!(kept, Some(position));
            }
            Err(error) => assert!(error.to_string().contains("two days"), "{error}"),
        }
    }
}

#[test]
fn of_two_histories_on_one_database_one_writes() {
    let Some(Influx(server)) = Influx::start() else {
        return;
    };
    let (first, second) = (
        open(&server.url("klinecast")),
        open(&server.url("klinecast")),
    );
    append(&first, 0).expect("stored");
    append(&first, 1).expect("stored");
    // It takes the first for an earlier run, and so takes over.
    append(&second, 2).expect("stored");
    for position in [2, 3] {
        let error = append(&first, position).expect_err("another one writes");
        assert!(error.to_string().contains("another history"), "{error}");
        append(&second, position + 1).expect("stored");
    }
    check(&second, 4);
}

#[test]
fn revisions_trades_and_streams_make_no_series_of_their_own() {
    let Some(Influx(server)) = Influx::start() else {
        return;
    };
    let store = open(&server.url("klinecast"));
    for position in 0..30 {
        append(&store, position).expect("stored");
        let stream = Watermark {
            stream: format!("import:{position}").into(),
            position,
        };
        store.append_bars(&[], Some(&stream)).expect("stored");
    }
    let answer = ask(&server, "SHOW SERIES");
    let series = answer["results"][0]["series"][0]["values"].as_array();
    assert_eq!(series.map(Vec::len), Some(4), "{answer}");
    assert_eq!(store.watermarks("import:").expect("marks").len(), 30);
}

#[test]
fn a_wrong_password_is_a_refusal_that_shows_no_password() {
    let options = [("INFLUXDB_HTTP_AUTH_ENABLED", "true")];
    let Some(server) = InfluxServer::start(&options) else {
        return;
    };
    ask(
        &server,
        "CREATE USER \"admin\" WITH PASSWORD 's3cret' WITH ALL PRIVILEGES",
    );
    let url = |password| format!("influxdb://admin:{password}@{}/k", server.address());
    let error = append(&open(&url("s3cres")), 0).expect_err("refused");
    assert!(matches!(error, StoreError::Refused { .. }), "{error:?}");
    assert!(!error.to_string().contains("s3cre"), "{error}");
    append(&open(&url("s3cret")), 0).expect("stored");
}

/// Whether a request's body is there.
fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request).to_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head.split("content-length: ").nth(1);
    let length = length.and_then(|rest| rest.split("\r\n").next());
    length.is_none_or(|length| length.parse() == Ok(body.len()))
}

#[test]
fn a_proxy_that_answers_without_results_does_not_pass_for_an_empty_database() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    // It ends with the test's process.
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let Ok(mut connection) = connection else {
                return;
            };
            let (mut request, mut bytes) = (Vec::new(), [0; 16_384]);
            while !is_whole(&request) {
                match connection.read(&mut bytes) {
                    Ok(count @ 1..) => request.extend_from_slice(&bytes[..count]),
                    _ => break,
                }
            }
            let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
            let _ = connection.write_all(answer.as_bytes());
        }
    });
    let url = format!("influxdb://{address}/klinecast");
    let page = open(&url).latest_bar(&minutes("BTC-USD"));
    let error = page.expect_err("nothing was answered");
    assert!(error.to_string().contains("0 of 1 questions"), "{error}");
    // Rows that are stored could be replaced by older ones.
    let error = append(&open(&url), 0).expect_err("nothing was answered");
    assert!(matches!(error, StoreError::Away { .. }), "{error:?}");
}
