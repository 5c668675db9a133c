//! Processes that are stopped and go on: no bar is invented for the time that nobody looked.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bus::{BusConfig, Delivery};
use loadtest::bar::{Bar, Quality, State};
use loadtest::fleet::{Fleet, FleetConfig, INSTRUMENTS};
use loadtest::process::Process;
use loadtest::program::arguments;
use loadtest::truth;
use loadtest::wait::{holds, until};

/// Every closed second that was published, in order.
type Published = Arc<Mutex<Vec<Bar>>>;

/// Reads what marketdata publishes, from the bus.
async fn read_bus(fleet: &Fleet) -> Published {
    let config = BusConfig {
        bus: fleet.nats.url().parse().expect("an address"),
        ..BusConfig::default()
    };
    let bus = bus::connect(&config, &[]).await.expect("NATS is there");
    let mut subscription = bus.subscribe("kline.1s.>").await.expect("NATS is there");
    let published = Published::default();
    tokio::spawn({
        let published = Arc::clone(&published);
        async move {
            // The bus lives as long as it is read.
            let _bus = bus;
            while let Some(delivery) = subscription.recv().await {
                let Delivery::Message(message) = delivery else {
                    panic!("the test's own reader lost messages: {delivery:?}");
                };
                let bar: Bar = serde_json::from_slice(&message.payload).expect("a bar");
                if bar.state == State::Closed {
                    published.lock().expect("not poisoned").push(bar);
                }
            }
        }
    });
    published
}

fn closed_until_ms(published: &Published, symbol: &str) -> i64 {
    let published = published.lock().expect("not poisoned");
    let of_symbol = published.iter().filter(|bar| bar.symbol == symbol);
    of_symbol.map(|bar| bar.end_ms).max().unwrap_or(0)
}

/// Waits until every symbol has closed so many more seconds.
async fn until_later(published: &Published, seconds: i64) {
    for instrument in INSTRUMENTS {
        let symbol = instrument.symbol;
        let target_ms = closed_until_ms(published, symbol) + seconds * 1_000;
        until("more seconds close", async || {
            let newest_ms = closed_until_ms(published, symbol);
            holds(newest_ms >= target_ms, || format!("{symbol}: {newest_ms}"))
        })
        .await;
    }
}

/// Stops a process for so long.
async fn stand_still(process: &Process, time: Duration) {
    process.signal("STOP");
    let stopped = Instant::now();
    until("the time passes", async || {
        holds(stopped.elapsed() >= time, || "not yet".to_owned())
    })
    .await;
    process.signal("CONT");
}

/// Each closed second that was ever published as `complete` or `filled` is what was traded.
async fn check_no_lies(fleet: &Fleet, published: &Published) {
    for instrument in INSTRUMENTS {
        let trades = fleet
            .simulator
            .trades(instrument.venue, instrument.native)
            .await;
        let published = published.lock().expect("not poisoned").clone();
        let is_sure = |bar: &&Bar| {
            bar.symbol == instrument.symbol
                && matches!(bar.quality, Quality::Complete | Quality::Filled)
        };
        let sure: Vec<&Bar> = published.iter().filter(is_sure).collect();
        assert!(sure.len() > 10, "{}: {}", instrument.symbol, sure.len());
        for bar in sure {
            let one = BTreeMap::from([(bar.start_ms, bar.clone())]);
            if let Err(why) = truth::compare(&one, &trades, 1_000) {
                panic!("{}: {why}", instrument.symbol);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_marketdata_publishes_no_invented_bar_when_it_goes_on() {
    let config = FleetConfig {
        has_no_nginx: true,
        ..FleetConfig::default()
    };
    let Some(fleet) = Fleet::start(config).await else {
        return;
    };
    let published = read_bus(&fleet).await;
    until_later(&published, 3).await;
    for seconds in [5, 20] {
        stand_still(&fleet.marketdata.process, Duration::from_secs(seconds)).await;
        until_later(&published, 4).await;
    }
    check_no_lies(&fleet, &published).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_venues_leave_no_bar_that_says_complete_without_its_trades() {
    let config = FleetConfig {
        // As in production: a narrower one closes bars before a silence is one.
        marketdata: arguments(&["--reorder-window-ms", "2000"]),
        has_no_nginx: true,
        ..FleetConfig::default()
    };
    let Some(fleet) = Fleet::start(config).await else {
        return;
    };
    let published = read_bus(&fleet).await;
    until_later(&published, 3).await;
    for seconds in [5, 20] {
        stand_still(
            &fleet.simulator.program.process,
            Duration::from_secs(seconds),
        )
        .await;
        until_later(&published, 4).await;
    }
    check_no_lies(&fleet, &published).await;
}
