//! Bars that come from the venues.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bus::{Bus, Headers};
use history::store::{BarSeries, Range, Store};
use market_core::subject::HISTORY_QUERY;
use market_core::wire::archive::{ArchiveBar, ArchivePage, ArchiveQuery};
use market_core::wire::{HistoryOrder, HistoryPage, HistoryQuery};
use market_core::{Amount, BarState, Price, Timeframe, UnixMillis, subject};
use serde_json::Value;
use testkit::directory::Directory;
use testkit::wait::{holds, until};
use tokio::task::JoinHandle;

use crate::{Running, bars, config, memory_bus};

const MINUTE_MS: UnixMillis = 60_000;
/// 2024-02-28T00:00Z.
const START_MS: UnixMillis = 1_709_078_400_000;
/// The bars that the venue gives at once.
const PAGE_BARS: UnixMillis = 40;

/// A venue that has every minute bar from its first one on.
pub(crate) struct Venue {
    asked: Arc<Mutex<Vec<ArchiveQuery>>>,
    task: JoinHandle<()>,
}

impl Venue {
    pub(crate) async fn start(bus: &Arc<dyn Bus>, first_ms: UnixMillis) -> Self {
        let asked: Arc<Mutex<Vec<ArchiveQuery>>> = Arc::default();
        let subject = subject::archive_bars("binance");
        let mut responder = bus
            .requests()
            .serve(&subject, "archive")
            .await
            .expect("served");
        let known = Arc::clone(&asked);
        let task = tokio::spawn(async move {
            while let Some(question) = responder.recv().await {
                let query: ArchiveQuery =
                    serde_json::from_slice(&question.message.payload).expect("a question");
                let from_ms = query.from_ms.max(query.to_ms - PAGE_BARS * MINUTE_MS);
                let starts = (from_ms.max(first_ms)..query.to_ms)
                    .step_by(usize::try_from(MINUTE_MS).expect("small"));
                let page = ArchivePage {
                    bars: starts.map(venue_bar).collect(),
                    complete_from_ms: from_ms,
                    has_width: query.interval == Timeframe::MINUTE,
                };
                known.lock().expect("no panic").push(query);
                let json = serde_json::to_vec(&page).expect("plain fields");
                let answered = question.answer(Headers::new(), json.into()).await;
                answered.expect("answered");
            }
        });
        Self { asked, task }
    }

    pub(crate) fn asked(&self) -> usize {
        self.asked.lock().expect("no panic").len()
    }
}

impl Drop for Venue {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn venue_bar(start_ms: UnixMillis) -> ArchiveBar {
    let price = Price::parse("7.5").expect("a price");
    ArchiveBar {
        start_ms,
        open: price,
        high: price,
        low: price,
        close: price,
        volume: Amount::from_parts(3, 0),
        quote_volume: None,
        taker_buy_volume: None,
        taker_buy_quote_volume: None,
        count: None,
    }
}

/// Starts of the stored bars, and which of them are the venue's.
async fn stored(running: &Running, series: &BarSeries) -> Vec<(UnixMillis, bool)> {
    let series = series.clone();
    let range = Range::new(0, UnixMillis::MAX, 1_000_000);
    let read = move |store: &dyn Store| store.bars(&series, &range);
    let rows = running.history.read(read).await.expect("a page").rows;
    let rows = rows.iter().map(|row| (row.start_ms, row.is_imported));
    rows.collect()
}

#[expect(
    clippy::disallowed_methods,
    reason = "history fills the time before now by the wall clock"
)]
fn now_minute() -> UnixMillis {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = i64::try_from(now.expect("after 1970").as_millis()).expect("fits");
    Timeframe::MINUTE.start_of(now)
}

#[tokio::test]
async fn a_new_series_gets_the_venues_bars_of_the_time_before_it() {
    let (directory, bus) = (Directory::new(), memory_bus());
    let now = now_minute();
    let _venue = Venue::start(&bus, now - 10_000 * MINUTE_MS).await;
    let minute = bars::minutes("binance", "BTC-USD");
    bars::publish(&*bus, &minute, now, BarState::Forming, 0).await;
    let mut config = config(&directory);
    config.fill_bars = 100;
    let running = Running::start(&config, &bus).await;
    until("a hundred bars", async || {
        let stored = stored(&running, &minute).await;
        let starts = (1..=100).rev().map(|back| (now - back * MINUTE_MS, true));
        let expected: Vec<_> = starts.collect();
        // The minute may have passed since.
        holds(
            stored.ends_with(&expected) || stored.starts_with(&expected),
            || format!("{} bars", stored.len()),
        )
    })
    .await;
    running.stop().await;
}

#[tokio::test]
async fn what_a_bus_that_began_anew_does_not_have_comes_from_the_venue() {
    let directory = Directory::new();
    let minute = bars::minutes("binance", "BTC-USD");
    let mut config = config(&directory);
    config.fill_bars = 1;
    // Between the two runs, nobody was there for a hundred minutes.
    for (start, before) in [(0, 0), (100, 1)] {
        let bus = memory_bus();
        let _venue = Venue::start(&bus, 0).await;
        let running = Running::start(&config, &bus).await;
        until("the journal", async || {
            let status = bus.streams().status("journal").await.expect("a status");
            holds(status.is_some(), || "no stream".to_owned())
        })
        .await;
        bars::journal(&*bus, &minute, start * MINUTE_MS, BarState::Closed, 0).await;
        let filled = (before..start).map(|index| (index * MINUTE_MS, true));
        let mut expected: Vec<_> = filled.collect();
        expected.push((start * MINUTE_MS, false));
        expected.splice(0..0, (0..before).map(|_| (0, false)));
        until("the bars of the hole", async || {
            let stored = stored(&running, &minute).await;
            holds(stored == expected, || format!("{stored:?}"))
        })
        .await;
        running.stop().await;
    }
}

#[tokio::test]
async fn a_question_beyond_the_store_asks_the_venue_once() {
    let (directory, bus) = (Directory::new(), memory_bus());
    // The venue's first bar is later than what is asked for.
    let venue = Venue::start(&bus, 50 * MINUTE_MS).await;
    let minute = bars::minutes("binance", "BTC-USD");
    let mut config = config(&directory);
    config.fill_bars = 0;
    let running = Running::start(&config, &bus).await;
    until("the journal", async || {
        let status = bus.streams().status("journal").await.expect("a status");
        holds(status.is_some(), || "no stream".to_owned())
    })
    .await;
    bars::journal(&*bus, &minute, 200 * MINUTE_MS, BarState::Closed, 0).await;
    until("the first bar", async || {
        let stored = stored(&running, &minute).await;
        holds(stored.len() == 1, || format!("{stored:?}"))
    })
    .await;
    let history = &running.history;
    // One question has 40 bars.
    history.fill_back(&minute, 0, 1).await.expect("filled");
    assert_eq!(
        (venue.asked(), stored(&running, &minute).await.len()),
        (1, 41)
    );
    history
        .fill_back(&minute, 180 * MINUTE_MS, 10)
        .await
        .expect("filled");
    assert_eq!(venue.asked(), 1, "the store has it");
    history.fill_back(&minute, 0, 10).await.expect("filled");
    let expected: Vec<_> = (50..=200)
        .map(|index| (index * MINUTE_MS, index < 200))
        .collect();
    assert_eq!(stored(&running, &minute).await, expected);
    let asked = venue.asked();
    history.fill_back(&minute, 0, 10).await.expect("filled");
    assert_eq!(venue.asked(), asked, "the venue has nothing older");
    drop(venue);
    // Nobody answers: it is said, and what is stored stays.
    let error = history
        .fill_back(&bars::minutes("okx", "BTC-USD"), 0, 1)
        .await;
    assert!(error.is_err_and(|error| error.is_retryable()));
    running.stop().await;
}

#[tokio::test]
async fn a_width_that_the_venue_lacks_is_asked_for_once() {
    let (directory, bus) = (Directory::new(), memory_bus());
    let venue = Venue::start(&bus, 0).await;
    let running = Running::start(&config(&directory), &bus).await;
    let history = &running.history;
    for symbol in ["BTC-USD", "ETH-USD"] {
        let hour = BarSeries {
            timeframe: Timeframe::HOUR,
            ..bars::minutes("binance", symbol)
        };
        let filled = history.fill(&hour, 0, 100 * MINUTE_MS, 3).await;
        let error = filled.expect_err("the venue has no hours");
        assert!(matches!(error, history::FillError::NoWidth(_)), "{error}");
        assert!(!error.is_retryable());
    }
    assert_eq!(venue.asked(), 1);
    let minute = bars::minutes("binance", "BTC-USD");
    let filled = history.fill(&minute, 0, 10 * MINUTE_MS, 3).await;
    assert_eq!(filled.expect("it has minutes"), 0);
    running.stop().await;
}

#[tokio::test]
async fn an_answer_says_that_the_venue_has_no_bars_so_wide() {
    let (directory, bus) = (Directory::new(), memory_bus());
    let _venue = Venue::start(&bus, 0).await;
    let mut config = config(&directory);
    config.fill_bars = 0;
    let running = Running::start(&config, &bus).await;
    let minute = bars::minutes("binance", "BTC-USD");
    let second = BarSeries {
        timeframe: Timeframe::SECOND,
        ..minute.clone()
    };
    until("the journal", async || {
        let status = bus.streams().status("journal").await.expect("a status");
        holds(status.is_some(), || "no stream".to_owned())
    })
    .await;
    for series in [&minute, &second] {
        bars::journal(&*bus, series, START_MS, BarState::Closed, 0).await;
    }
    let from_ms = START_MS - 10 * MINUTE_MS;
    // A page that reaches back further than the store asks the venue.
    for (width, has_width) in [("1s", Value::Bool(false)), ("1m", Value::Null)] {
        until("what the venue says", async || {
            let path = format!("/api/v1/bars?symbol=BTC-USD&width={width}&from={from_ms}");
            let page = running.get(&path).await;
            let is_stored = page["bars"].as_array().is_some_and(|bars| !bars.is_empty());
            holds(is_stored && page["venue_has_width"] == has_width, || {
                format!("{width}: {page}")
            })
        })
        .await;
    }
    running.stop().await;
}

#[tokio::test]
async fn a_gateway_that_asks_beyond_the_store_gets_the_venues_bars() {
    let (directory, bus) = (Directory::new(), memory_bus());
    let _venue = Venue::start(&bus, 0).await;
    let mut config = config(&directory);
    config.fill_bars = 0;
    let running = Running::start(&config, &bus).await;
    let minute = bars::minutes("binance", "BTC-USD");
    until("the journal", async || {
        let status = bus.streams().status("journal").await.expect("a status");
        holds(status.is_some(), || "no stream".to_owned())
    })
    .await;
    bars::journal(&*bus, &minute, 200 * MINUTE_MS, BarState::Closed, 0).await;
    until("the bars before the stored one", async || {
        let query = HistoryQuery {
            topic: "kline:1m:BTC-USD".to_owned(),
            exchange: None,
            from_ms: Some(150 * MINUTE_MS),
            to_ms: None,
            limit: 100,
            order: HistoryOrder::Asc,
            as_of_ms: None,
            known_after_ms: None,
            has_flat_bars: true,
            cursor: None,
        };
        let question = serde_json::to_vec(&query).expect("plain fields").into();
        let (requests, wait) = (bus.requests(), Duration::from_secs(30));
        let answer = requests.request(HISTORY_QUERY, Headers::default(), question, wait);
        let answer = match answer.await {
            Ok(answer) => answer,
            // It answers once it has read the bus.
            Err(error) => return holds(false, || error.to_string()),
        };
        let page: HistoryPage = serde_json::from_slice(&answer.payload).expect("a page");
        let bars = page.bars.iter().map(|bar| {
            let bar: Value = serde_json::from_str(bar.get()).expect("JSON");
            bar["start_ms"].as_i64().expect("a start") / MINUTE_MS
        });
        let bars: Vec<i64> = bars.collect();
        holds(bars == (150..=200).collect::<Vec<_>>(), || {
            format!("{bars:?}")
        })
    })
    .await;
    running.stop().await;
}
