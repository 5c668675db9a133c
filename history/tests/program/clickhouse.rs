//! Bars of the bus in ClickHouse, whatever happens to the server.

use std::sync::Arc;

use bus::Bus;
use history::store::{BarSeries, Range, Store};
use market_core::{BarState, UnixMillis};
use testkit::clickhouse::ClickHouseServer;
use testkit::directory::Directory;
use testkit::wait::{holds, until};

use crate::{Running, bars, config, memory_bus};

const MINUTE_MS: UnixMillis = 60_000;

pub(crate) async fn journal(bus: &Arc<dyn Bus>, series: &BarSeries, minutes: std::ops::Range<i64>) {
    for minute in minutes {
        bars::journal(&**bus, series, minute * MINUTE_MS, BarState::Closed, 0).await;
    }
}

/// Waits until exactly these minutes are stored, each once.
pub(crate) async fn until_stored(
    running: &Running,
    series: &BarSeries,
    minutes: std::ops::Range<i64>,
) {
    let expected: Vec<i64> = minutes.collect();
    until("the bars", async || {
        let series = series.clone();
        let range = Range::new(0, UnixMillis::MAX, 1_000);
        let read = move |store: &dyn Store| store.bars(&series, &range);
        let page = running.history.read(read).await;
        let page = page.map_err(|error| error.to_string())?;
        let stored: Vec<i64> = page
            .rows
            .iter()
            .map(|row| row.start_ms / MINUTE_MS)
            .collect();
        holds(stored == expected, || format!("{stored:?}"))
    })
    .await;
}

/// Waits until readiness says why nothing can be stored.
pub(crate) async fn until_unmet(running: &Running, text: &str) {
    until(text, async || {
        let unmet = running.service.readiness.unmet();
        let is_said = unmet
            .iter()
            .any(|unmet| unmet.name == "store" && unmet.why.contains(text));
        holds(is_said, || format!("{unmet:?}"))
    })
    .await;
}

async fn publish_book(bus: &Arc<dyn Bus>, seq: u64) {
    let book = format!(
        r#"{{"topic":"book:BTC-USD","seq":{seq},"epoch":1,"exchange":"binance","symbol":"BTC-USD","state":"valid","reason":null,"update_id":"7","bids":[["100","1"]],"asks":[["101.5","0.25"]],"event_ms":60000,"received_us":60000001,"published_us":{seq}000000}}"#
    );
    let published = bus.publish("book.BTC-USD", book.into()).await;
    published.expect("the memory bus takes it");
}

/// Waits until the newest book of the store is this one.
async fn until_book(running: &Running, seq: u64) {
    until("the book", async || {
        let read = |store: &dyn Store| {
            let instrument = bars::minutes("binance", "BTC-USD").instrument;
            store.books(&instrument, &Range::new(0, UnixMillis::MAX, 10))
        };
        let page = running.history.read(read).await;
        let page = page.map_err(|error| error.to_string())?;
        let newest = page.rows.last().map(|book| book.seq);
        holds(newest == Some(seq), || format!("{newest:?}"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_bar_is_lost_or_doubled_while_clickhouse_hangs_is_killed_full_or_refuses_a_row() {
    let Some(mut server) = ClickHouseServer::start() else {
        return;
    };
    let (directory, bus) = (Directory::new(), memory_bus());
    let mut config = config(&directory);
    config.fill_bars = 0;
    config.store.store = Some(server.url("bars").parse().expect("never fails"));
    config.store.store_timeout_ms = 2_000;
    config.store_batch_ms = 0;
    config.books.store_books_ms = 50;
    let minute = bars::minutes("binance", "BTC-USD");
    let running = Running::start(&config, &bus).await;
    until("the journal", async || {
        let status = bus.streams().status("journal").await;
        holds(matches!(status, Ok(Some(_))), || format!("{status:?}"))
    })
    .await;
    journal(&bus, &minute, 0..5).await;
    until_stored(&running, &minute, 0..5).await;
    until("the end of the batch", async || {
        let status = running.get("/api/v1/status").await;
        holds(status["series"] == 1, || status.to_string())
    })
    .await;

    // Order books are written, too.
    publish_book(&bus, 1).await;
    until_book(&running, 1).await;

    // It hangs: connections stay, and nothing is answered.
    server.suspend();
    journal(&bus, &minute, 5..10).await;
    until_unmet(&running, "no answer").await;
    // What needs no store is answered.
    let status = running.get("/api/v1/status").await;
    assert_eq!(status["series"], 1, "{status}");
    server.resume();
    until_stored(&running, &minute, 0..10).await;

    // It is killed after it has taken rows, and before it says so.
    server.set_fault("torn");
    journal(&bus, &minute, 10..15).await;
    until_unmet(&running, "away").await;
    server.kill();
    server.set_fault("");
    server.start_again();
    until_stored(&running, &minute, 0..15).await;

    server.set_fault("full");
    journal(&bus, &minute, 15..20).await;
    until_unmet(&running, "is full").await;
    server.set_fault("slow");
    until_stored(&running, &minute, 0..20).await;
    publish_book(&bus, 2).await;
    until_book(&running, 2).await;

    // One row is refused: the others are stored, and the stream goes on.
    let poison = bars::minutes("binance", "POISON-USD");
    server.set_fault("refuse POISON-USD");
    journal(&bus, &poison, 0..1).await;
    journal(&bus, &minute, 20..25).await;
    until_stored(&running, &minute, 0..25).await;
    until_stored(&running, &poison, 0..0).await;

    // It refuses every row, as a broken view of the table does: nothing is left out, and all waits.
    server.set_fault("refuse -USD");
    journal(&bus, &minute, 25..28).await;
    until_unmet(&running, "every row that was tried").await;
    server.set_fault("");
    until_stored(&running, &minute, 0..28).await;
    running.stop().await;

    // A history that starts while it is away knows nothing, says so, and goes on by itself.
    server.kill();
    let running = Running::start(&config, &bus).await;
    until_unmet(&running, "away").await;
    let answer = running.get("/api/v1/bars?symbol=BTC-USD&width=1m").await;
    assert_eq!(answer["error"]["code"], "store_failed", "{answer}");
    server.set_fault("");
    server.start_again();
    journal(&bus, &minute, 28..30).await;
    until_stored(&running, &minute, 0..30).await;
    running.stop().await;
}
