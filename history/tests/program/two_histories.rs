//! Two histories on one bus share the questions of gateways.

use std::time::Duration;

use bus::{Bus, Headers};
use market_core::BarState;
use market_core::subject::HISTORY_QUERY;
use market_core::wire::{HistoryOrder, HistoryPage, HistoryQuery};
use testkit::directory::Directory;
use testkit::wait::{holds, until};

use crate::journal::put_journal;
use crate::{Running, bars, config, memory_bus};

const MINUTE_MS: i64 = 60_000;
const BARS: i64 = 1_000;

/// How many bars the answer to a question for the last ten has.
async fn newest(bus: &dyn Bus) -> usize {
    let query = HistoryQuery {
        topic: "kline:1m:BTC-USD".to_owned(),
        exchange: None,
        from_ms: None,
        to_ms: None,
        limit: 10,
        order: HistoryOrder::Desc,
        as_of_ms: None,
        known_after_ms: None,
        has_flat_bars: true,
        cursor: None,
    };
    let question = serde_json::to_vec(&query).expect("plain fields").into();
    let deadline = Duration::from_secs(30);
    let requests = bus.requests();
    let asked = requests.request(HISTORY_QUERY, Headers::default(), question, deadline);
    let answer = asked.await.expect("an answer");
    let page: HistoryPage = serde_json::from_slice(&answer.payload).expect("a page");
    page.bars.len()
}

#[tokio::test]
async fn a_history_answers_gateways_once_it_has_what_the_bus_keeps() {
    let bus = memory_bus();
    put_journal(&*bus, 1 << 22).await;
    let minute = bars::minutes("binance", "BTC-USD");
    for index in 0..BARS {
        let start_ms = index * MINUTE_MS;
        bars::journal(&*bus, &minute, start_ms, BarState::Closed, 0).await;
    }
    let (first, second) = (Directory::new(), Directory::new());
    let first = Running::start(&config(&first), &bus).await;
    until("the first history answers", async || {
        let lag = first.get("/api/v1/status").await["streams"]["bars"]["lag_messages"].clone();
        holds(lag == 0, || lag.to_string())
    })
    .await;
    assert_eq!(newest(&*bus).await, 10);
    // Another one, with an empty store, reads one message after the other.
    let mut slow = config(&second);
    slow.history_batch_messages_max = 1;
    let second = Running::start(&slow, &bus).await;
    until("the second history has all bars", async || {
        for _ in 0..10 {
            assert_eq!(newest(&*bus).await, 10, "no bars in an answer");
        }
        let stored = second.get("/api/v1/status").await["streams"]["bars"]["stored_to"].clone();
        holds(stored == BARS, || stored.to_string())
    })
    .await;
    // From now on it answers, too.
    first.stop().await;
    until("the second history answers", async || {
        let lag = second.get("/api/v1/status").await["streams"]["bars"]["lag_messages"].clone();
        holds(lag == 0, || lag.to_string())
    })
    .await;
    assert_eq!(newest(&*bus).await, 10);
    second.stop().await;
}
