//! What the bus keeps for history is stored once and completely.

use bus::{Bus, StreamSpec};
use history::store::{BarSeries, Range, Store};
use market_core::{BarState, UnixMillis};
use testkit::directory::Directory;
use testkit::wait::{holds, until};

use crate::{Running, bars, config, memory_bus};

const MINUTE_MS: UnixMillis = 60_000;

pub(crate) async fn put_journal(bus: &dyn Bus, bytes_max: u64) {
    let journal = StreamSpec {
        bytes_max: Some(bytes_max),
        ..service::JournalConfig::default()
            .stream()
            .expect("a journal")
    };
    let put = bus.streams().put_stream(journal).await;
    put.expect("a stream");
}

async fn starts(running: &Running, series: &BarSeries) -> Vec<UnixMillis> {
    let series = series.clone();
    let range = Range::new(0, UnixMillis::MAX, 1_000_000);
    let read = move |store: &dyn Store| store.bars(&series, &range);
    let rows = running.history.read(read).await.expect("a page").rows;
    rows.iter().map(|row| row.start_ms).collect()
}

pub(crate) async fn until_stored(running: &Running, series: &BarSeries, expected: &[UnixMillis]) {
    until("the stored bars", async || {
        let starts = starts(running, series).await;
        holds(starts == expected, || format!("{starts:?}"))
    })
    .await;
}

#[tokio::test]
async fn bars_of_the_time_when_history_was_down_are_stored_at_its_next_start() {
    let (directory, bus) = (Directory::new(), memory_bus());
    put_journal(&*bus, 1 << 20).await;
    let minute = bars::minutes("binance", "BTC-USD");
    let mut expected = Vec::new();
    for run in 1..=3 {
        // More than the bus retains for gateways.
        for index in (run - 1) * 50..run * 50 {
            let start = MINUTE_MS * index;
            bars::journal(&*bus, &minute, start, BarState::Closed, 0).await;
            expected.push(start);
        }
        let mut config = config(&directory);
        config.history_batch_messages_max = 7;
        let running = Running::start(&config, &bus).await;
        until_stored(&running, &minute, &expected).await;
        let info = running.history.index.get(&minute).expect("it is stored");
        assert_eq!((info.first_ms, info.last_end_ms), (0, run * 50 * MINUTE_MS));
        until("the status", async || {
            let status = running.get("/api/v1/status").await;
            let bars = &status["streams"]["bars"];
            let is_it = bars["stored_to"] == run * 50 && bars["lag_messages"] == 0;
            holds(is_it && bars["lost_messages"] == 0, || status.to_string())
        })
        .await;
        running.stop().await;
    }
}

#[tokio::test]
async fn a_message_that_is_no_closed_bar_is_skipped_and_the_others_are_stored() {
    let (directory, bus) = (Directory::new(), memory_bus());
    put_journal(&*bus, 1 << 20).await;
    let minute = bars::minutes("binance", "BTC-USD");
    bars::journal(&*bus, &minute, 0, BarState::Closed, 0).await;
    bars::publish_to_journal(&*bus, &minute, "no bar".into()).await;
    bars::journal(&*bus, &minute, MINUTE_MS, BarState::Forming, 0).await;
    // No store has a year 10000: it is refused, and its page is not.
    bars::journal(&*bus, &minute, 253_402_300_800_000, BarState::Closed, 0).await;
    bars::journal(&*bus, &minute, 2 * MINUTE_MS, BarState::Closed, 0).await;
    let running = Running::start(&config(&directory), &bus).await;
    until_stored(&running, &minute, &[0, 2 * MINUTE_MS]).await;
    until("the position", async || {
        let status = running.get("/api/v1/status").await;
        let stored_to = &status["streams"]["bars"]["stored_to"];
        holds(stored_to == 5, || status.to_string())
    })
    .await;
    running.stop().await;
}

#[tokio::test]
async fn messages_that_the_bus_keeps_no_longer_are_told_and_the_next_ones_are_stored() {
    let (directory, bus) = (Directory::new(), memory_bus());
    put_journal(&*bus, 1 << 20).await;
    let minute = bars::minutes("binance", "BTC-USD");
    bars::journal(&*bus, &minute, 0, BarState::Closed, 0).await;
    let mut config = config(&directory);
    let running = Running::start(&config, &bus).await;
    until_stored(&running, &minute, &[0]).await;
    running.stop().await;
    // The bus has room for few of the bars that come while history is down.
    config.journal.journal_bytes_max = Some(1_500);
    put_journal(&*bus, 1_500).await;
    for index in 1..=10 {
        bars::journal(&*bus, &minute, index * MINUTE_MS, BarState::Closed, 0).await;
    }
    let status = bus.streams().status("journal").await;
    let first = status.expect("a status").expect("a stream").first_sequence;
    assert!(first > 2, "{first}");
    let running = Running::start(&config, &bus).await;
    let kept = (i64::try_from(first).expect("few") - 1..=10).map(|index| index * MINUTE_MS);
    let expected: Vec<_> = std::iter::once(0).chain(kept).collect();
    until_stored(&running, &minute, &expected).await;
    until("the status", async || {
        let status = running.get("/api/v1/status").await;
        let lost = &status["streams"]["bars"]["lost_messages"];
        holds(*lost == first - 2, || status.to_string())
    })
    .await;
    running.stop().await;
}

/// A memory bus starts again with every process; so does NATS whose files were deleted.
#[tokio::test]
async fn a_bus_that_begins_anew_is_read_from_its_beginning() {
    let directory = Directory::new();
    let minute = bars::minutes("binance", "BTC-USD");
    for run in 0..3 {
        let bus = memory_bus();
        put_journal(&*bus, 1 << 20).await;
        bars::journal(&*bus, &minute, run * MINUTE_MS, BarState::Closed, 0).await;
        let running = Running::start(&config(&directory), &bus).await;
        let expected: Vec<_> = (0..=run).map(|run| run * MINUTE_MS).collect();
        until_stored(&running, &minute, &expected).await;
        running.stop().await;
    }
}

#[tokio::test]
async fn a_store_that_refuses_rows_makes_history_unready_and_loses_none() {
    let (directory, bus) = (Directory::new(), memory_bus());
    put_journal(&*bus, 16 << 20).await;
    let minute = bars::minutes("binance", "BTC-USD");
    let mut config = config(&directory);
    // Room for the tables of a file and few rows.
    config.history_file_bytes_max = 32_768;
    let running = Running::start(&config, &bus).await;
    let mut starts = Vec::new();
    let readiness = running.service.readiness.clone();
    until("the store to refuse rows", async || {
        for _ in 0..100 {
            let start = MINUTE_MS * i64::try_from(starts.len()).expect("few");
            bars::journal(&*bus, &minute, start, BarState::Closed, 0).await;
            starts.push(start);
        }
        let unmet = readiness.unmet();
        let is_told =
            |one: &service::UnmetCondition| one.name == "store" && one.why.contains("cannot grow");
        let is_refused = unmet.iter().any(is_told);
        holds(is_refused, || format!("{} bars, {unmet:?}", starts.len()))
    })
    .await;
    running.stop().await;
    // With room again, nothing is missing.
    config.history_file_bytes_max = 0;
    let running = Running::start(&config, &bus).await;
    until_stored(&running, &minute, &starts).await;
    assert!(running.service.readiness.is_ready());
    running.stop().await;
}

#[tokio::test]
async fn trades_are_stored_if_that_was_asked_for() {
    let (directory, bus) = (Directory::new(), memory_bus());
    let mut config = config(&directory);
    config.trades = true;
    config.history_poll_ms = 10;
    let running = Running::start(&config, &bus).await;
    let instrument = bars::minutes("okx", "OKX:BTC-USDT").instrument;
    until("the stream of trades", async || {
        let status = bus.streams().status("market").await.expect("a status");
        holds(status.is_some(), || "no stream".to_owned())
    })
    .await;
    let mut expected = Vec::new();
    for id in 1..=20 {
        expected.push(bars::publish_trade(&*bus, &instrument, id).await);
    }
    until("the trades", async || {
        let instrument = instrument.clone();
        let range = Range::new(0, UnixMillis::MAX, 1_000);
        let read = move |store: &dyn Store| store.trades(&instrument, &range);
        let rows = running.history.read(read).await.expect("a page").rows;
        holds(rows == expected, || format!("{} trades", rows.len()))
    })
    .await;
    running.stop().await;
}
