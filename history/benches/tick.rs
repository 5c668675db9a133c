//! How long the server takes to say the newest price, with each cache.
//!
//! `cargo bench -p history --bench tick`. Requests go through the router, without sockets. 1,000 symbols
//! have bars of four timeframes, and 4,000 bars a second come from the bus meanwhile. With Redis
//! (`redis-server` on the PATH), the floor is a bare `GET` of the same key in the same run.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use bus::{Bus, BusConfig, MemoryBus};
use history::cache::CacheAddress;
use history::{BarRow, Config, History};
use market_core::wire::{Stamp, encode_row};
use market_core::{BarState, Price, Quality, Symbol, Timeframe, Topic, UnixMillis, Width, subject};
use redis::AsyncCommands as _;
use service::Service;
use testkit::directory::Directory;
use testkit::redis::RedisServer;
use testkit::wait::until;
use tower::ServiceExt;

const SYMBOLS: usize = 1_000;
const CLIENTS: usize = 100;
/// 2024-02-28T00:00Z.
const START_MS: UnixMillis = 1_709_078_400_000;
const TIMEFRAMES: [Timeframe; 4] = [
    Timeframe::SECOND,
    Timeframe::MINUTE,
    Timeframe::HOUR,
    Timeframe::DAY,
];

fn symbol(number: usize) -> Symbol {
    format!("C{number}-USDT").parse().expect("a symbol")
}

/// Publishes the forming bars of a symbol, with a price at `event_ms`.
async fn publish(bus: &dyn Bus, number: usize, event_ms: UnixMillis, seq: u64) {
    let symbol = symbol(number);
    for timeframe in TIMEFRAMES {
        let price = Price::from_parts(6_000_000 + i128::from(event_ms % 10_007), 2);
        let start_ms = timeframe.start_of(event_ms);
        let mut row = BarRow::flat(start_ms, price.expect("above zero"), event_ms);
        row.event_ms = Some(event_ms);
        row.count = Some(1);
        row.quality = Quality::Complete;
        let stamp = Stamp {
            seq,
            epoch: 5,
            published_us: event_ms * 1_000,
        };
        let topic = Topic::bars(timeframe, &symbol);
        let (width, state) = (Width::from(timeframe), BarState::Forming);
        let bytes = encode_row(&topic, "binance", &symbol, width, &row, state, stamp);
        let subject = subject::bars(timeframe, &symbol);
        bus.publish(&subject, bytes).await.expect("published");
    }
}

/// Asks once; returns the time until the whole body was there, and who had the price.
async fn ask(router: &Router, number: usize) -> (Duration, String) {
    let path = format!("/api/v1/tick/binance/C{number}-USDT");
    let request = Request::get(&path).body(Body::empty()).expect("a request");
    let began = Instant::now();
    let answer = router.clone().oneshot(request).await.expect("an answer");
    let source = answer.headers().get("klinecast-source").cloned();
    let status = answer.status();
    let body = axum::body::to_bytes(answer.into_body(), usize::MAX).await;
    let time = began.elapsed();
    assert_eq!(status, 200, "{path}: {body:?}");
    let source = source.expect("a source").to_str().expect("text").to_owned();
    (time, source)
}

fn print(name: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |share: f64| times[(times.len() as f64 * share) as usize].as_secs_f64() * 1e6;
    let (p50, p99, p999) = (at(0.5), at(0.99), at(0.999));
    println!("{name}: p50 {p50:.0} us, p99 {p99:.0} us, p99.9 {p999:.0} us");
}

async fn measure(cache: &str, redis: Option<&RedisServer>) {
    let directory = Directory::new();
    let mut config = Config {
        data_dir: Some(directory.path().to_owned()),
        ..Config::default()
    };
    let address = redis.map_or_else(|| cache.to_owned(), RedisServer::url);
    config.cache.cache = address.parse::<CacheAddress>().expect("never fails");
    let bus = MemoryBus::new(&BusConfig::default(), &service::streams()).expect("a bus");
    let bus: Arc<dyn Bus> = Arc::new(bus);
    let history = History::open(&config, Arc::clone(&bus)).await;
    let history = history.expect("a store");
    let service = Service::for_test();
    let run = history::run(history.clone(), config, None, service.clone());
    let program = tokio::spawn(run);
    let router = history::api::router(history.clone());
    for number in 0..SYMBOLS {
        publish(&*bus, number, START_MS + 500, 1).await;
    }
    let all = SYMBOLS * TIMEFRAMES.len();
    until("all bars are there", async || {
        match history.latest.known().len() {
            n if n == all => Ok(()),
            n => Err(n.to_string()),
        }
    })
    .await;
    if cache != "none" {
        for number in 0..SYMBOLS {
            until("the cache has the price", async || {
                match ask(&router, number).await.1 {
                    source if source == "cache" => Ok(()),
                    source => Err(source),
                }
            })
            .await;
        }
    }
    let live = tokio::spawn(async move {
        let mut every = tokio::time::interval(Duration::from_millis(1));
        for seq in 2.. {
            every.tick().await;
            let number = seq as usize % SYMBOLS;
            publish(&*bus, number, START_MS + 500 + seq as i64, seq).await;
        }
    });
    let mut times = Vec::new();
    for step in 0..20_000 {
        times.push(ask(&router, step * 7_919 % SYMBOLS).await.0);
    }
    print(&format!("{cache}, one client"), times);
    let tasks: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let router = router.clone();
            tokio::spawn(async move {
                let pause = Duration::from_millis(100);
                tokio::time::sleep(pause * client as u32 / CLIENTS as u32).await;
                let mut times = Vec::new();
                for round in 0..100 {
                    times.push(ask(&router, (client * 31 + round) % SYMBOLS).await.0);
                    tokio::time::sleep(pause).await;
                }
                times
            })
        })
        .collect();
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await.expect("no panic"));
    }
    print(
        &format!("{cache}, {CLIENTS} clients, each 10 times a second"),
        times,
    );
    if let Some(redis) = redis {
        let client = redis::Client::open(redis.url()).expect("a URL");
        let connection = client.get_multiplexed_async_connection().await;
        let mut connection = connection.expect("a connection");
        let mut times = Vec::new();
        for step in 0..20_000 {
            let number = step * 7_919 % SYMBOLS;
            let key = format!("market_data:tick:binance:C{number}-USDT");
            let began = Instant::now();
            let value: Vec<u8> = connection.get(&key).await.expect("a value");
            times.push(began.elapsed());
            assert!(!value.is_empty(), "{key}");
        }
        print("floor: a bare GET of Redis, one client", times);
    }
    live.abort();
    service.shutdown.trigger();
    program.await.expect("no panic").expect("drained");
}

#[tokio::main]
async fn main() {
    measure("none", None).await;
    measure("memory:", None).await;
    match RedisServer::start(&[]) {
        Some(redis) => measure("redis:", Some(&redis)).await,
        None => println!("redis: skipped, there is no redis-server on the PATH"),
    }
}
