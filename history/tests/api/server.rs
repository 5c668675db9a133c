//! A history that runs on a memory bus, with bars whose content follows from their position.

use std::net::SocketAddr;
use std::sync::Arc;

use bus::{Bus, BusConfig, MemoryBus};
use history::store::{BarSeries, Instrument};
use history::{BarRow, Config, History};
use market_core::wire::{Stamp, encode_row};
use market_core::{
    Amount, BarState, IdSpan, Price, Quality, Timeframe, Topic, UnixMillis, Width, subject,
};
use reqwest::{Response, StatusCode};
use serde_json::Value;
use service::Service;
use testkit::directory::Directory;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// 2024-02-28T00:00Z, two days before the end of a month.
pub(crate) const START_MS: UnixMillis = 1_709_078_400_000;
pub(crate) const MINUTE_MS: i64 = 60_000;

pub(crate) struct Server {
    pub(crate) history: History,
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) address: SocketAddr,
    service: Service,
    task: JoinHandle<Result<(), history::Error>>,
    _directory: Directory,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::with(Config::default()).await
    }

    pub(crate) async fn with(config: Config) -> Self {
        let directory = Directory::new();
        let config = Config {
            data_dir: Some(directory.path().to_owned()),
            ..config
        };
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
            _directory: directory,
        }
    }

    /// A server with minutes of one symbol.
    pub(crate) async fn with_minutes(count: i64) -> Self {
        let server = Self::start().await;
        server
            .store(&minutes("coinbase", "BTC-USD"), 0..count)
            .await;
        server
    }

    /// Stores the minutes of a range of positions.
    pub(crate) async fn store(&self, series: &BarSeries, positions: std::ops::Range<i64>) {
        let rows: Vec<BarRow> = positions.map(row).collect();
        let batch = vec![(series.clone(), rows)];
        let stored = self.history.append_bars(batch, None).await;
        stored.expect("stored");
    }

    pub(crate) async fn answer(&self, path: &str) -> Response {
        let url = format!("http://{}{path}", self.address);
        reqwest::get(url).await.expect("an answer")
    }

    /// The JSON of an answer that is no error.
    pub(crate) async fn get(&self, path: &str) -> Value {
        let response = self.answer(path).await;
        let status = response.status();
        let text = response.text().await.expect("text");
        assert_eq!(status, StatusCode::OK, "{path}: {text}");
        serde_json::from_str(&text).expect("JSON")
    }

    /// Publishes a bar as marketdata does.
    pub(crate) async fn publish(&self, series: &BarSeries, row: &BarRow, state: BarState) {
        let symbol = &series.instrument.symbol;
        let payload = encode_row(
            &Topic::bars(series.timeframe, symbol),
            &series.instrument.exchange,
            symbol,
            Width::from(series.timeframe),
            row,
            state,
            Stamp {
                seq: 1,
                epoch: 1,
                published_us: row.known_ms * 1_000,
            },
        );
        let subject = subject::bars(series.timeframe, symbol);
        self.bus
            .publish(&subject, payload)
            .await
            .expect("published");
    }

    pub(crate) async fn stop(self) {
        self.service.shutdown.trigger();
        let ended = self.task.await.expect("no panic");
        ended.expect("drained");
    }
}

pub(crate) fn minutes(exchange: &str, symbol: &str) -> BarSeries {
    BarSeries {
        instrument: Instrument {
            exchange: exchange.into(),
            symbol: symbol.parse().expect("a symbol"),
        },
        timeframe: Timeframe::MINUTE,
    }
}

/// The minute at a position.
pub(crate) fn row(position: i64) -> BarRow {
    let start_ms = START_MS + position * MINUTE_MS;
    let seed = i128::from(position.rem_euclid(997)) + 100;
    let price = |cents: i128| Price::from_parts(cents, 2).expect("above zero");
    let id = 1_000_000 + position.unsigned_abs();
    BarRow {
        start_ms,
        open: price(seed),
        high: price(seed + 9),
        low: price(seed - 9),
        close: price(seed + 3),
        volume: Amount::from_parts(seed * 7, 5),
        quote_volume: Some(Amount::from_parts(seed * seed * 7, 7)),
        taker_buy_volume: Some(Amount::from_parts(seed * 3, 5)),
        taker_buy_quote_volume: Some(Amount::from_parts(seed * seed * 3, 7)),
        count: Some(1),
        ids: Some(IdSpan {
            first: id,
            last: id,
        }),
        event_ms: Some(start_ms + 59_000),
        received_us: Some((start_ms + 59_000) * 1_000 + 321),
        rev: 0,
        quality: Quality::Complete,
        is_imported: false,
        known_ms: start_ms + 62_000,
    }
}

/// The starts of the bars of an answer, as positions.
pub(crate) fn positions(page: &Value) -> Vec<i64> {
    let bars = page["bars"].as_array().expect("bars");
    let start = |bar: &Value| bar["start_ms"].as_i64().expect("a start");
    bars.iter()
        .map(|bar| (start(bar) - START_MS) / MINUTE_MS)
        .collect()
}
