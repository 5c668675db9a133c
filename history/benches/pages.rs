//! How long the server takes for a page of 1,000 bars, with 100 clients at once.
//!
//! `cargo bench -p history --bench pages`. Requests go through the router, without sockets: the
//! time is that of the limits, the turn at the store, the read, the fold, the JSON and its tag.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use bus::{Bus, BusConfig, MemoryBus};
use history::store::{BarSeries, Instrument};
use history::{BarRow, Config, History};
use market_core::{Amount, IdSpan, Price, Quality, Timeframe};
use testkit::directory::Directory;
use tower::ServiceExt;

const CLIENTS: usize = 100;
const START_MS: i64 = 1_709_251_200_000;
/// Two months of minutes.
const MINUTES: i64 = 2 * 30 * 1_440;

fn row(position: i64) -> BarRow {
    let start_ms = START_MS + position * 60_000;
    let wave = i128::from((position * 7_919).rem_euclid(10_007));
    let price = |cents: i128| Price::from_parts(6_000_000 + cents, 2).expect("above zero");
    let id = position.unsigned_abs() * 40;
    BarRow {
        start_ms,
        open: price(wave),
        high: price(wave + 950),
        low: price(wave - 870),
        close: price(wave + 310),
        volume: Amount::from_parts(wave * 131 + 77, 5),
        quote_volume: Some(Amount::from_parts((wave * 131 + 77) * 6_000_123, 7)),
        taker_buy_volume: Some(Amount::from_parts(wave * 61 + 13, 5)),
        taker_buy_quote_volume: Some(Amount::from_parts((wave * 61 + 13) * 6_000_077, 7)),
        count: Some(40),
        ids: Some(IdSpan {
            first: id,
            last: id + 39,
        }),
        event_ms: Some(start_ms + 59_321),
        received_us: Some((start_ms + 59_400) * 1_000),
        rev: 0,
        quality: Quality::Complete,
        is_imported: false,
        known_ms: start_ms + 62_000,
    }
}

/// Asks once; returns the time until the whole body was there.
async fn ask(router: &Router, path: &str) -> Duration {
    let request = Request::get(path).body(Body::empty()).expect("a request");
    let began = Instant::now();
    let answer = router.clone().oneshot(request).await.expect("an answer");
    assert_eq!(answer.status(), 200, "{path}");
    let body = axum::body::to_bytes(answer.into_body(), usize::MAX).await;
    assert!(body.expect("a body").len() > 1_000);
    began.elapsed()
}

fn print(name: &str, mut times: Vec<Duration>, all: Duration) {
    times.sort_unstable();
    let at = |share: f64| {
        let index = (times.len() as f64 * share) as usize;
        times[index.min(times.len() - 1)].as_secs_f64() * 1e3
    };
    println!(
        "{name}: p50 {:.2} ms, p90 {:.2} ms, p99 {:.2} ms, {:.0} answers a second",
        at(0.5),
        at(0.9),
        at(0.99),
        times.len() as f64 / all.as_secs_f64(),
    );
}

/// `CLIENTS` clients, each of which asks every `pause`, or again and again.
async fn clients(
    router: &Router,
    paths: &Arc<[String]>,
    pause: Duration,
    rounds: usize,
) -> Vec<Duration> {
    let tasks: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let (router, paths) = (router.clone(), Arc::clone(paths));
            tokio::spawn(async move {
                let mut times = Vec::new();
                tokio::time::sleep(pause * u32::try_from(client).expect("small") / 100).await;
                for round in 0..rounds {
                    let path = &paths[(client * 31 + round) % paths.len()];
                    times.push(ask(&router, path).await);
                    if !pause.is_zero() {
                        tokio::time::sleep(pause).await;
                    }
                }
                times
            })
        })
        .collect();
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await.expect("no panic"));
    }
    times
}

#[tokio::main]
async fn main() {
    let directory = Directory::new();
    let config = Config {
        data_dir: Some(directory.path().to_owned()),
        ..Config::default()
    };
    let bus = MemoryBus::new(&BusConfig::default(), &service::streams()).expect("a bus");
    let bus: Arc<dyn Bus> = Arc::new(bus);
    let history = History::open(&config, bus).await.expect("a store");
    let series = BarSeries {
        instrument: Instrument {
            exchange: "binance".into(),
            symbol: "BTC-USDT".parse().expect("a symbol"),
        },
        timeframe: Timeframe::MINUTE,
    };
    let rows: Vec<BarRow> = (0..MINUTES).map(row).collect();
    let stored = history.append_bars(vec![(series, rows)], None).await;
    stored.expect("stored");
    let router = history::api::router(history);

    for (name, width) in [("1m", 1), ("7m, folded", 7)] {
        let query = |position: i64| {
            let from = START_MS + position * 60_000;
            format!("/api/v1/bars?symbol=BTC-USDT&width={width}m&limit=1000&from={from}")
        };
        let last = MINUTES - 1_001 * width;
        let paths: Arc<[String]> = (0..997).map(|step| query(step * 7_919 % last)).collect();
        let began = Instant::now();
        let mut times = Vec::new();
        for path in paths.iter().cycle().take(2_000) {
            times.push(ask(&router, path).await);
        }
        print(&format!("{name}, one client"), times, began.elapsed());
        let began = Instant::now();
        let times = clients(&router, &paths, Duration::from_secs(1), 10).await;
        let title = format!("{name}, {CLIENTS} clients, each once a second");
        print(&title, times, began.elapsed());
        let began = Instant::now();
        let times = clients(&router, &paths, Duration::ZERO, 30).await;
        let title = format!("{name}, {CLIENTS} clients, as fast as they can");
        print(&title, times, began.elapsed());
    }
}
