//! The program with a cache on Redis.

use std::net::SocketAddr;
use std::sync::Arc;

use bus::{Bus, BusConfig, MemoryBus};
use bytes::Bytes;
use history::cache::CacheAddress;
use history::store::{BarSeries, Instrument};
use history::{BarRow, Config, History};
use market_core::wire::{Stamp, encode_row};
use market_core::{
    Amount, BarState, IdSpan, Price, Quality, Timeframe, Topic, UnixMillis, Width, subject,
};
use redis::AsyncCommands as _;
use reqwest::Response;
use serde_json::Value;
use service::Service;
use testkit::directory::Directory;
use testkit::redis::RedisServer;
use testkit::wait::{holds, until};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// 2024-02-28T00:00Z.
const START_MS: UnixMillis = 1_709_078_400_000;
pub(crate) const TICK: &str = "market_data:tick:binance:BTC-USDT";
pub(crate) const TICKS: &str = "market_data:tick_history:binance:BTC-USDT";

/// A history on a memory bus.
pub(crate) struct Program {
    pub(crate) history: History,
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) service: Service,
    address: SocketAddr,
    task: JoinHandle<Result<(), history::Error>>,
    directory: Directory,
}

impl Program {
    pub(crate) async fn start(cache: &str) -> Self {
        Self::with(cache, Config::default()).await
    }

    pub(crate) async fn with(cache: &str, mut config: Config) -> Self {
        let directory = Directory::new();
        config.data_dir = Some(directory.path().join("store"));
        config.cache.cache = cache.parse::<CacheAddress>().expect("never fails");
        let bus = MemoryBus::new(&BusConfig::default(), &service::streams());
        let bus: Arc<dyn Bus> = Arc::new(bus.expect("a memory bus"));
        let history = History::open(&config, Arc::clone(&bus)).await;
        let history = history.expect("a directory that can be used");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let service = Service::for_test();
        let run = history::run(history.clone(), config, Some(listener), service.clone());
        Self {
            history,
            bus,
            address,
            service,
            task: tokio::spawn(run),
            directory,
        }
    }

    pub(crate) async fn stop(self) {
        self.service.shutdown.trigger();
        let ended = self.task.await.expect("no panic");
        ended.expect("drained");
    }

    /// Publishes a second as marketdata does, with a trade at `event_ms` after [`START_MS`].
    pub(crate) async fn publish(&self, event_ms: i64, state: BarState) -> Bytes {
        self.publish_row("BTC-USDT", &row(event_ms), state).await
    }

    async fn publish_row(&self, symbol: &str, row: &BarRow, state: BarState) -> Bytes {
        let mut series = seconds();
        series.instrument.symbol = symbol.parse().expect("a symbol");
        let Instrument { exchange, symbol } = &series.instrument;
        let topic = Topic::bars(series.timeframe, symbol);
        let stamp = Stamp {
            seq: (row.known_ms - START_MS).unsigned_abs(),
            epoch: 5,
            published_us: row.known_ms * 1_000,
        };
        let width = Width::from(series.timeframe);
        let bytes = encode_row(&topic, exchange, symbol, width, row, state, stamp);
        let subject = subject::bars(series.timeframe, symbol);
        let published = self.bus.publish(&subject, bytes.clone()).await;
        published.expect("published");
        bytes
    }

    /// Publishes a closed second to the journal, which is what the store reads.
    async fn publish_closed(&self, event_ms: i64) {
        let (series, row) = (seconds(), row(event_ms));
        let Instrument { exchange, symbol } = &series.instrument;
        let topic = Topic::bars(series.timeframe, symbol);
        let width = Width::from(series.timeframe);
        let bytes = row.encode(&topic, exchange, symbol, width);
        let record = subject::closed_bars(series.timeframe, symbol);
        let subject = subject::journal(&record).expect("a record");
        let published = self.bus.publish(&subject, bytes).await;
        published.expect("published");
    }

    /// Puts a file where the store has its directory: no month can be opened.
    fn break_store(&self) {
        let path = self.directory.path().join("store");
        std::fs::remove_dir_all(&path).expect("a directory");
        std::fs::write(&path, "").expect("a file");
    }

    pub(crate) async fn ask(&self, path: &str) -> Response {
        let url = format!("http://{}{path}", self.address);
        reqwest::get(url).await.expect("an answer")
    }

    /// The newest price, who had it, and what is away.
    pub(crate) async fn tick(&self) -> Told {
        let response = self.ask("/api/v1/tick/binance/BTC-USDT").await;
        let status = response.status();
        let header = |name: &str| {
            let value = response.headers().get(name);
            value.map(|value| value.to_str().expect("text").to_owned())
        };
        let (source, degraded) = (header("klinecast-source"), header("klinecast-degraded"));
        let text = response.text().await.expect("text");
        assert_eq!(status, 200, "{text}");
        let body: Value = serde_json::from_str(&text).expect("JSON");
        let event_ms = body["event_ms"].as_i64().expect("a time");
        Told {
            source: source.expect("a source"),
            degraded: degraded.unwrap_or_default(),
            event_ms: event_ms - START_MS,
        }
    }

    /// Waits for an answer that is no error.
    pub(crate) async fn until_known(&self) {
        self.until_knows("BTC-USDT").await;
    }

    async fn until_knows(&self, symbol: &str) {
        until("the market", async || {
            let response = self.ask(&format!("/api/v1/tick/binance/{symbol}")).await;
            holds(response.status() == 200, || response.status().to_string())
        })
        .await;
    }

    /// Waits for this answer.
    pub(crate) async fn until_told(&self, source: &str, degraded: &str, event_ms: i64) {
        self.until_known().await;
        let expected = Told {
            source: source.to_owned(),
            degraded: degraded.to_owned(),
            event_ms,
        };
        until("the price", async || {
            let told = self.tick().await;
            holds(told == expected, || format!("{told:?} for {expected:?}"))
        })
        .await;
    }

    /// Waits until `/readyz` has a note with this text, or none of the cache.
    pub(crate) async fn until_note(&self, text: Option<&str>) {
        until("the note", async || {
            let notes = self.service.readiness.notes();
            let is_it = match text {
                Some(text) => notes.iter().any(|note| note.contains(text)),
                None => notes.is_empty(),
            };
            holds(is_it, || format!("{notes:?}"))
        })
        .await;
    }
}

#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Told {
    pub(crate) source: String,
    pub(crate) degraded: String,
    pub(crate) event_ms: i64,
}

pub(crate) fn seconds() -> BarSeries {
    BarSeries {
        instrument: Instrument {
            exchange: "binance".into(),
            symbol: "BTC-USDT".parse().expect("a symbol"),
        },
        timeframe: Timeframe::SECOND,
    }
}

pub(crate) fn row(event_ms: i64) -> BarRow {
    let at = START_MS + event_ms;
    let price = Price::from_parts(i128::from(5_000_000 + event_ms), 2).expect("above zero");
    let id = event_ms.unsigned_abs() + 1;
    BarRow {
        start_ms: at - at.rem_euclid(1_000),
        open: price,
        high: price,
        low: price,
        close: price,
        volume: Amount::from_parts(7, 5),
        quote_volume: Some(Amount::from_parts(7, 5)),
        taker_buy_volume: Some(Amount::from_parts(3, 5)),
        taker_buy_quote_volume: Some(Amount::from_parts(3, 5)),
        count: Some(1),
        ids: Some(IdSpan {
            first: id,
            last: id,
        }),
        event_ms: Some(at),
        received_us: Some(at * 1_000),
        rev: 0,
        quality: Quality::Complete,
        is_imported: false,
        known_ms: at + 1,
    }
}

/// A connection as other programs have it.
pub(crate) async fn connection(server: &RedisServer) -> redis::aio::MultiplexedConnection {
    let client = redis::Client::open(server.url()).expect("a URL");
    let connected = client.get_multiplexed_async_connection().await;
    connected.expect("connected")
}

/// Waits until a program that reads Redis finds these bytes.
pub(crate) async fn until_value(
    redis: &mut redis::aio::MultiplexedConnection,
    name: &str,
    bytes: &Bytes,
) {
    until(name, async || {
        let value: Option<Vec<u8>> = redis.get(name).await.expect("it answers");
        holds(value.as_deref() == Some(&bytes[..]), || {
            format!("{:?}", value.map(Bytes::from))
        })
    })
    .await;
}

#[tokio::test]
async fn what_the_bus_carries_is_in_redis_for_an_hour_under_the_names_that_others_read() {
    let Some(server) = RedisServer::start(&[]) else {
        return;
    };
    let program = Program::start(&server.url()).await;
    let mut redis = connection(&server).await;
    let mut bytes = program.publish(0, BarState::Forming).await;
    program.until_known().await;
    for at in 1..1_200 {
        bytes = program.publish(at, BarState::Forming).await;
    }
    let book = Bytes::from_static(
        br#"{"topic":"book:BTC-USDT","seq":3,"epoch":5,"exchange":"binance","symbol":"BTC-USDT","bids":[]}"#,
    );
    let published = program.bus.publish("book.BTC-USDT", book.clone()).await;
    published.expect("published");
    until_value(&mut redis, TICK, &bytes).await;
    until_value(&mut redis, "market_data:kline:binance:BTC-USDT:1s", &bytes).await;
    let name = "market_data:orderbook:binance:BTC-USDT";
    until_value(&mut redis, name, &book).await;
    for name in [TICK, name, TICKS] {
        let seconds: i64 = redis.ttl(name).await.expect("it answers");
        assert!((3_000..=3_600).contains(&seconds), "{name}: {seconds}");
    }
    // The newest values come before the ticks.
    let expected: Vec<i64> = (200..1_200).collect();
    until("the last ticks", async || {
        let ticks: Vec<(Vec<u8>, i64)> = redis
            .zrange_withscores(TICKS, 0, -1)
            .await
            .expect("it answers");
        let times: Vec<i64> = ticks.iter().map(|tick| tick.1 - START_MS).collect();
        holds(times == expected, || format!("{times:?}"))
    })
    .await;
    let ticks: Vec<Vec<u8>> = redis.zrange(TICKS, -1, -1).await.expect("it answers");
    assert_eq!(ticks, [&bytes[..]]);
    program.stop().await;
}

#[tokio::test]
async fn the_cache_answers_then_the_store_and_then_the_cache_is_filled() {
    let Some(server) = RedisServer::start(&[]) else {
        return;
    };
    let program = Program::start(&server.url()).await;
    let mut redis = connection(&server).await;
    let batch = vec![(seconds(), vec![row(7)])];
    let stored = program.history.append_bars(batch, None).await;
    stored.expect("stored");
    program.until_note(None).await;
    // The first answer is of the store, and the next ones of the cache.
    let exists: bool = redis.exists(TICK).await.expect("it answers");
    assert!(!exists);
    let told = program.tick().await;
    assert_eq!((told.source.as_str(), told.event_ms), ("store", 7));
    program.until_told("cache", "", 7).await;
    // A newer one of the bus takes its place.
    program.publish(50, BarState::Forming).await;
    program.until_told("cache", "", 50).await;
    // Something that is no bar of this market is no answer.
    let () = redis.set(TICK, "{}").await.expect("it answers");
    let told = program.tick().await;
    assert_eq!((told.source.as_str(), told.event_ms), ("bus", 50));
    program.stop().await;
}

#[tokio::test]
async fn a_second_without_trades_is_no_newer_price() {
    let program = Program::start("memory:").await;
    program.publish(10, BarState::Forming).await;
    program.until_told("cache", "", 10).await;
    let traded = row(10);
    let (start_ms, known_ms) = (traded.start_ms + 1_000, traded.known_ms + 2_000);
    let flat = BarRow::flat(start_ms, traded.close, known_ms);
    program
        .publish_row("BTC-USDT", &flat, BarState::Closed)
        .await;
    // The bus keeps the order, so history has the flat bar when it knows this market.
    program
        .publish_row("ETH-USDT", &row(10), BarState::Forming)
        .await;
    program.until_knows("ETH-USDT").await;
    let told = program.tick().await;
    assert_eq!((told.source.as_str(), told.event_ms), ("cache", 10));
    program.stop().await;
}

#[tokio::test]
async fn with_the_store_down_the_cache_answers_and_says_so() {
    let Some(server) = RedisServer::start(&[]) else {
        return;
    };
    let program = Program::start(&server.url()).await;
    program.break_store();
    program.publish(7, BarState::Closed).await;
    // The journal exists once history asks for it.
    until("a failure of the store", async || {
        program.publish_closed(7).await;
        let unmet = program.service.readiness.unmet();
        let is_away = unmet.iter().any(|unmet| unmet.why.contains("store"));
        holds(is_away, || format!("{unmet:?}"))
    })
    .await;
    program.until_told("cache", "store", 7).await;
    let unmet = program.service.readiness.unmet();
    assert!(unmet.iter().any(|unmet| unmet.name == "store"), "{unmet:?}");
    program.stop().await;
    // A history that never had a store that answers knows the market from the cache alone.
    let program = Program::start(&server.url()).await;
    program.until_told("cache", "", 7).await;
    let unknown = program.ask("/api/v1/tick/binance/ETH-USDT").await;
    assert_eq!(unknown.status(), 404);
    program.stop().await;
}

#[tokio::test]
async fn memory_is_the_cache_unless_another_one_is_named() {
    let program = Program::start("memory:").await;
    assert_eq!(Config::default().cache.cache, CacheAddress::Memory);
    program.publish(7, BarState::Forming).await;
    program.until_told("cache", "", 7).await;
    program.stop().await;
    let program = Program::start("none").await;
    let batch = vec![(seconds(), vec![row(9)])];
    program
        .history
        .append_bars(batch, None)
        .await
        .expect("stored");
    for _ in 0..2 {
        let told = program.tick().await;
        assert_eq!((told.source.as_str(), told.event_ms), ("store", 9));
    }
    program.stop().await;
}
