//! Bars of the bus in `InfluxDB`, whatever happens to the server.

use history::store::Store;
use market_core::BarState;
use testkit::directory::Directory;
use testkit::influx::InfluxServer;
use testkit::wait::{holds, until};

use crate::clickhouse::{journal, until_stored, until_unmet};
use crate::{Running, bars, config, memory_bus};

const MINUTE_MS: i64 = 60_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_bar_is_lost_or_doubled_while_influxdb_hangs_is_killed_or_comes_late() {
    let Some(mut server) = InfluxServer::start(&[]) else {
        return;
    };
    let (directory, bus) = (Directory::new(), memory_bus());
    let mut config = config(&directory);
    config.fill_bars = 0;
    config.store.store = Some(server.url("bars").parse().expect("never fails"));
    config.store.store_timeout_ms = 2_000;
    config.store_batch_ms = 0;
    let minute = bars::minutes("binance", "BTC-USD");
    let running = Running::start(&config, &bus).await;
    until("the journal", async || {
        let status = bus.streams().status("journal").await;
        holds(matches!(status, Ok(Some(_))), || format!("{status:?}"))
    })
    .await;
    journal(&bus, &minute, 0..5).await;
    until_stored(&running, &minute, 0..5).await;

    // It hangs. What comes from the bus is known as before, and the lag is told.
    server.suspend();
    journal(&bus, &minute, 5..10).await;
    until_unmet(&running, "no answer").await;
    let forming = bars::publish(&*bus, &minute, 10 * MINUTE_MS, BarState::Forming, 0).await;
    let latest = running.history.latest.clone();
    until("the forming bar", async || {
        let newest = latest.of(&minute).forming;
        holds(newest.as_ref() == Some(&forming), || format!("{newest:?}"))
    })
    .await;
    until("the lag", async || {
        let lag = running.get("/api/v1/status").await["streams"]["bars"]["lag_messages"].clone();
        holds(lag.as_u64() >= Some(5), || lag.to_string())
    })
    .await;
    server.resume();
    until_stored(&running, &minute, 0..10).await;
    until("readiness", async || {
        let unmet = running.service.readiness.unmet();
        let is_met = unmet.iter().all(|unmet| unmet.name != "store");
        holds(is_met, || format!("{unmet:?}"))
    })
    .await;

    // It is killed while rows come.
    journal(&bus, &minute, 10..12).await;
    server.kill();
    journal(&bus, &minute, 12..20).await;
    until_unmet(&running, "away").await;
    server.start_again();
    until_stored(&running, &minute, 0..20).await;
    running.stop().await;

    // A history that starts while it is away goes on by itself.
    server.kill();
    let running = Running::start(&config, &bus).await;
    until_unmet(&running, "away").await;
    server.start_again();
    journal(&bus, &minute, 20..25).await;
    until_stored(&running, &minute, 0..25).await;
    let series = minute.clone();
    let read = move |store: &dyn Store| store.revisions_between(&series, 0, i64::MAX);
    let revisions = running.history.read(read).await.expect("they are read");
    assert_eq!(revisions.len(), 25, "nothing is there twice");
    running.stop().await;
}
