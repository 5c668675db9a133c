//! A bus whose files are put back from an older copy.

use std::sync::Arc;

use bus::{Bus, BusConfig};
use history::store::{BarSeries, Range, Store};
use market_core::{BarState, UnixMillis};
use testkit::directory::Directory;
use testkit::nats::{NatsServer, NatsServerError};
use testkit::wait::{holds, until};

use crate::{Running, bars, config};

const MINUTE_MS: UnixMillis = 60_000;

fn server() -> Option<NatsServer> {
    match NatsServer::start() {
        Ok(server) => Some(server),
        Err(NatsServerError::NotFound) if std::env::var_os("KLINECAST_REQUIRE_NATS").is_none() => {
            println!("skipped: {}", NatsServerError::NotFound);
            None
        }
        Err(error) => panic!("{error}"),
    }
}

async fn connect(server: &NatsServer) -> Arc<dyn Bus> {
    let config = BusConfig {
        bus: server.url().parse().expect("a url"),
        ..BusConfig::default()
    };
    let bus = bus::connect(&config, &service::streams()).await;
    bus.expect("the server runs")
}

async fn journal(bus: &Arc<dyn Bus>, series: &BarSeries, minutes: std::ops::Range<i64>) {
    until("the connection", async || {
        holds(bus.is_connected(), || "none".to_owned())
    })
    .await;
    for minute in minutes {
        bars::journal(&**bus, series, minute * MINUTE_MS, BarState::Closed, 0).await;
    }
}

async fn until_stored(running: &Running, series: &BarSeries, expected: &[i64]) {
    until("the bars", async || {
        let series = series.clone();
        let range = Range::new(0, UnixMillis::MAX, 1_000);
        let read = move |store: &dyn Store| store.bars(&series, &range);
        let rows = running.history.read(read).await.expect("a page").rows;
        let minutes: Vec<i64> = rows.iter().map(|row| row.start_ms / MINUTE_MS).collect();
        holds(minutes == expected, || format!("{minutes:?}"))
    })
    .await;
}

/// The bus counts on from the copy, so new messages have numbers that were read already.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bars_of_a_bus_that_was_put_back_are_stored_although_their_numbers_were_read() {
    let Some(mut server) = server() else {
        return;
    };
    let directory = Directory::new();
    let mut config = config(&directory);
    config.fill_bars = 0;
    let minute = bars::minutes("binance", "BTC-USD");
    let bus = connect(&server).await;
    let running = Running::start(&config, &bus).await;
    until("the journal", async || {
        let status = bus.streams().status("journal").await.expect("a status");
        holds(status.is_some(), || "no stream".to_owned())
    })
    .await;
    journal(&bus, &minute, 0..5).await;
    until_stored(&running, &minute, &[0, 1, 2, 3, 4]).await;
    let backup = server.back_up().expect("copied");
    server.restart().expect("started");
    journal(&bus, &minute, 5..8).await;
    until_stored(&running, &minute, &[0, 1, 2, 3, 4, 5, 6, 7]).await;
    // While history runs: it has read up to 8, and the bus counts on from 5.
    server.put_back(&backup).expect("copied");
    server.restart().expect("started");
    journal(&bus, &minute, 10..12).await;
    let mut expected: Vec<i64> = (0..8).chain(10..12).collect();
    until_stored(&running, &minute, &expected).await;
    journal(&bus, &minute, 12..15).await;
    expected.extend(12..15);
    until_stored(&running, &minute, &expected).await;
    running.stop().await;
    // While it is down, the bus comes back to the number that was read, and beyond.
    server.put_back(&backup).expect("copied");
    server.restart().expect("started");
    journal(&bus, &minute, 20..27).await;
    let running = Running::start(&config, &bus).await;
    expected.extend(20..27);
    until_stored(&running, &minute, &expected).await;
    running.stop().await;
    // The place in the stream that was put back last is found again.
    let running = Running::start(&config, &bus).await;
    journal(&bus, &minute, 27..28).await;
    expected.push(27);
    until_stored(&running, &minute, &expected).await;
    running.stop().await;
}
