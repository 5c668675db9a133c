//! What is too old is deleted.

use history::store::{Range, Store};
use history::{Keep, read_bar};
use market_core::{BarState, UnixMillis};
use testkit::directory::Directory;
use testkit::wait::{holds, until};

use crate::{Running, bars, config, memory_bus};

const DAY_MS: UnixMillis = 86_400_000;

#[tokio::test]
async fn rows_older_than_configured_are_deleted_and_the_status_knows_it() {
    let (directory, bus) = (Directory::new(), memory_bus());
    let minute = bars::minutes("binance", "BTC-USD");
    let mut config = config(&directory);
    config.fill_bars = 0;
    config.history_keep_days = Vec::new();
    // Bars of 1970 and of 2096.
    let starts = [0, 40 * DAY_MS, 46_000 * DAY_MS];
    let running = Running::start(&config, &bus).await;
    until("the journal", async || {
        let status = bus.streams().status("journal").await.expect("a status");
        holds(status.is_some(), || "no stream".to_owned())
    })
    .await;
    for start in starts {
        bars::journal(&*bus, &minute, start, BarState::Closed, 0).await;
    }
    until("the bars", async || {
        let stored = running.history.index.get(&minute);
        let last = stored.as_ref().map(|info| info.last_end_ms);
        holds(last == Some(starts[2] + 60_000), || format!("{stored:?}"))
    })
    .await;
    running.stop().await;

    let keep: Keep = "1m=365".parse().expect("a rule");
    config.history_keep_days = vec![keep];
    let running = Running::start(&config, &bus).await;
    until("the old months to be deleted", async || {
        let stored = running.history.index.get(&minute);
        let first = stored.as_ref().map(|info| info.first_ms);
        holds(first == Some(starts[2]), || format!("{stored:?}"))
    })
    .await;
    let series = minute.clone();
    let read = move |store: &dyn Store| store.bars(&series, &Range::new(0, UnixMillis::MAX, 10));
    let rows = running.history.read(read).await.expect("a page").rows;
    assert_eq!(
        rows.iter().map(|row| row.start_ms).collect::<Vec<_>>(),
        [starts[2]]
    );
    running.stop().await;
}

#[tokio::test]
async fn rows_are_old_beside_the_newest_bar_so_that_a_clock_ahead_deletes_nothing() {
    let (directory, bus) = (Directory::new(), memory_bus());
    let minute = bars::minutes("binance", "BTC-USD");
    let mut config = config(&directory);
    config.fill_bars = 0;
    config.history_keep_days = Vec::new();
    // For these bars of January and February 1970, the clock of this host is decades ahead.
    let running = Running::start(&config, &bus).await;
    let rows = [0, 40 * DAY_MS].map(|start| {
        let payload = bars::encoded(&minute, start, BarState::Closed, 0);
        read_bar(&payload).expect("a bar").1
    });
    let batch = vec![(minute.clone(), rows.to_vec())];
    let stored = running.history.append_bars(batch, None).await;
    stored.expect("stored");
    running.stop().await;

    let keep: Keep = "1m=5".parse().expect("a rule");
    config.history_keep_days = vec![keep];
    let running = Running::start(&config, &bus).await;
    until("January to be deleted, and nothing else", async || {
        let stored = running.history.index.get(&minute);
        let first = stored.as_ref().map(|info| info.first_ms);
        holds(first == Some(40 * DAY_MS), || format!("{stored:?}"))
    })
    .await;
    running.stop().await;
}
