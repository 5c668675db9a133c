//! The program on a memory bus.

mod bars;
mod binance;
mod clickhouse;
mod fill;
mod influx;
mod journal;
mod on_demand;
mod outages;
mod put_back;
mod retention;
mod traces;
mod two_histories;
mod venue;

use std::net::SocketAddr;
use std::sync::Arc;

use bus::{Bus, BusConfig, MemoryBus};
use history::store::BarSeries;
use history::{Config, History};
use market_core::{BarState, Timeframe};
use serde_json::Value;
use service::Service;
use testkit::directory::Directory;
use testkit::wait::{holds, until};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A history that runs until it is stopped.
struct Running {
    history: History,
    service: Service,
    address: SocketAddr,
    task: JoinHandle<Result<(), history::Error>>,
}

fn memory_bus() -> Arc<dyn Bus> {
    let bus = MemoryBus::new(&BusConfig::default(), &service::streams());
    Arc::new(bus.expect("a memory bus"))
}

fn config(directory: &Directory) -> Config {
    Config {
        data_dir: Some(directory.path().to_owned()),
        ..Config::default()
    }
}

impl Running {
    async fn start(config: &Config, bus: &Arc<dyn Bus>) -> Self {
        let service = Service::for_test();
        let history = History::open(config, Arc::clone(bus)).await;
        let history = history.expect("a directory that can be used");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let run = history::run(
            history.clone(),
            config.clone(),
            Some(listener),
            service.clone(),
        );
        Self {
            history,
            service,
            address,
            task: tokio::spawn(run),
        }
    }

    async fn get(&self, path: &str) -> Value {
        let url = format!("http://{}{path}", self.address);
        let response = reqwest::get(url).await.expect("an answer");
        response.json().await.expect("JSON")
    }

    async fn stop(self) {
        self.service.shutdown.trigger();
        let ended = self.task.await.expect("no panic");
        ended.expect("drained");
    }
}

#[tokio::test]
async fn the_newest_bars_of_the_bus_are_known_and_a_close_ends_the_forming_bar() {
    let (directory, bus) = (Directory::new(), memory_bus());
    // What was published before history started is retained.
    let minute = bars::minutes("binance", "BTC-USD");
    let forming = bars::publish(&*bus, &minute, 60_000, BarState::Forming, 0).await;
    let running = Running::start(&config(&directory), &bus).await;
    let latest = running.history.latest.clone();
    until("the retained bar", async || {
        let newest = latest.of(&minute).forming;
        holds(newest.as_ref() == Some(&forming), || format!("{newest:?}"))
    })
    .await;
    let closed = bars::publish(&*bus, &minute, 60_000, BarState::Closed, 0).await;
    let next = bars::publish(&*bus, &minute, 120_000, BarState::Forming, 0).await;
    until("the closed bar and the next one", async || {
        let newest = latest.of(&minute);
        let is_it = newest.forming.as_ref() == Some(&next) && newest.closed == [closed.clone()];
        holds(is_it, || format!("{newest:?}"))
    })
    .await;
    let status = running.get("/api/v1/status").await;
    assert_eq!(status["latest_series"], 1, "{status}");
    running.stop().await;
}

#[tokio::test]
async fn bars_whose_intervals_are_over_stay_known_until_their_closes_come() {
    let (directory, bus) = (Directory::new(), memory_bus());
    let running = Running::start(&config(&directory), &bus).await;
    let minute = bars::minutes("binance", "BTC-USD");
    let publish = async |start_ms, state| bars::publish(&*bus, &minute, start_ms, state, 0).await;
    let first = publish(60_000, BarState::Forming).await;
    let latest = running.history.latest.clone();
    // The bus retains only the newest bar for who is not there yet.
    until("the first bar", async || {
        let newest = latest.of(&minute);
        holds(newest.forming.as_ref() == Some(&first), || {
            format!("{newest:?}")
        })
    })
    .await;
    let second = publish(120_000, BarState::Forming).await;
    until("both forming bars", async || {
        let newest = latest.of(&minute);
        let has = newest.closing == [first.clone()] && newest.forming.as_ref() == Some(&second);
        holds(has, || format!("{newest:?}"))
    })
    .await;
    let closed = publish(60_000, BarState::Closed).await;
    // A forming bar after its close is late.
    publish(60_000, BarState::Forming).await;
    let third = publish(120_000, BarState::Forming).await;
    until("the close", async || {
        let newest = latest.of(&minute);
        let has = newest.closing.is_empty()
            && newest.forming.as_ref() == Some(&third)
            && newest.closed == [closed.clone()];
        holds(has, || format!("{newest:?}"))
    })
    .await;
    running.stop().await;
}

#[tokio::test]
async fn the_new_bars_of_an_instrument_are_found_without_those_of_others() {
    let (directory, bus) = (Directory::new(), memory_bus());
    let running = Running::start(&config(&directory), &bus).await;
    let wanted = bars::minutes("binance", "BTC-USD");
    let hour = BarSeries {
        timeframe: Timeframe::HOUR,
        ..wanted.clone()
    };
    let others = [("binance", "BTC-EUR"), ("coinbase", "BTC-USDT")];
    let others = others.map(|(exchange, symbol)| bars::minutes(exchange, symbol));
    // The bus retains one bar of each topic.
    for series in others.iter().chain([&hour, &wanted]) {
        bars::publish(&*bus, series, 0, BarState::Forming, 0).await;
    }
    let latest = running.history.latest.clone();
    until("the bars of the bus", async || {
        let count = latest.known().len();
        holds(count == 4, || count.to_string())
    })
    .await;
    let found = latest.of_instrument(&wanted.instrument);
    assert_eq!(found, [wanted, hour]);
    running.stop().await;
}
