//! What is too old is deleted.

use history::Keep;
use history::store::{Range, Store};
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
