//! Bars that come from the venues.

use std::time::Duration;

use bus::Headers;
use history::store::{BarSeries, Range, Store};
use market_core::subject::HISTORY_QUERY;
use market_core::wire::{HistoryOrder, HistoryPage, HistoryQuery};
use market_core::{BarState, Quality, Timeframe, UnixMillis};
use serde_json::Value;
use testkit::directory::Directory;
use testkit::wait::{holds, until};

use crate::venue::Venue;
use crate::{Running, bars, config, memory_bus};

pub(crate) const MINUTE_MS: UnixMillis = 60_000;
/// 2024-02-28T00:00Z.
const START_MS: UnixMillis = 1_709_078_400_000;
/// Starts of the stored bars, and which of them are the venue's.
pub(crate) async fn stored(running: &Running, series: &BarSeries) -> Vec<(UnixMillis, bool)> {
    let series = series.clone();
    let range = Range::new(0, UnixMillis::MAX, 1_000_000);
    let read = move |store: &dyn Store| store.bars(&series, &range);
    let rows = running.history.read(read).await.expect("a page").rows;
    let rows = rows.iter().map(|row| (row.start_ms, row.is_imported));
    rows.collect()
}

#[tokio::test]
async fn a_new_series_gets_the_venues_bars_of_the_time_before_it() {
    let (directory, bus) = (Directory::new(), memory_bus());
    let now = Timeframe::MINUTE.start_of(service::wall_clock_ms());
    let _venue = Venue::since(now - 10_000 * MINUTE_MS).start(&bus).await;
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
        let _venue = Venue::since(0).start(&bus).await;
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
    let venue = Venue::since(50 * MINUTE_MS).start(&bus).await;
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
    let venue = Venue::since(0).start(&bus).await;
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
    let _venue = Venue::since(0).start(&bus).await;
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
    let _venue = Venue::since(0).start(&bus).await;
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

#[tokio::test]
async fn a_quiet_time_longer_than_a_page_does_not_end_a_fill() {
    let (directory, bus) = (Directory::new(), memory_bus());
    // No trade in two pages.
    let venue = Venue {
        quiet: 50 * MINUTE_MS..160 * MINUTE_MS,
        ..Venue::default()
    };
    let _serving = venue.start(&bus).await;
    let running = Running::start(&config(&directory), &bus).await;
    let minute = bars::minutes("binance", "BTC-USD");
    let filled = running.history.fill(&minute, 0, 200 * MINUTE_MS, 10).await;
    assert_eq!(filled.expect("filled"), 0);
    let expected = (0..50).chain(160..200);
    let expected: Vec<_> = expected.map(|minute| (minute * MINUTE_MS, true)).collect();
    assert_eq!(stored(&running, &minute).await, expected);
    running.stop().await;
}

#[tokio::test]
async fn a_venue_without_bars_in_twenty_pages_is_not_asked_for_older_ones() {
    let (directory, bus) = (Directory::new(), memory_bus());
    let serving = Venue::since(9_900 * MINUTE_MS).start(&bus).await;
    let running = Running::start(&config(&directory), &bus).await;
    let minute = bars::minutes("binance", "BTC-USD");
    let end_ms = 10_000 * MINUTE_MS;
    let filled = running.history.fill(&minute, 0, end_ms, 1_000).await;
    assert_eq!(filled.expect("filled"), 0);
    assert_eq!(stored(&running, &minute).await.len(), 100);
    assert_eq!(serving.asked(), 3 + 20);
    running.stop().await;
}

#[tokio::test]
async fn a_partial_bar_of_a_day_is_replaced_by_the_whole_one_of_the_venue() {
    let (directory, bus) = (Directory::new(), memory_bus());
    let _serving = Venue::default().start(&bus).await;
    let running = Running::start(&config(&directory), &bus).await;
    let minute = bars::minutes("binance", "BTC-USD");
    let day = BarSeries {
        timeframe: Timeframe::DAY,
        ..minute.clone()
    };
    until("the journal", async || {
        let status = bus.streams().status("journal").await.expect("a status");
        holds(status.is_some(), || "no stream".to_owned())
    })
    .await;
    for series in [&day, &minute] {
        let partial = bars::of_quality(series, START_MS, BarState::Closed, 0, Quality::Partial);
        bars::publish_to_journal(&*bus, series, partial).await;
    }
    until("the venue's bar", async || {
        let stored = stored(&running, &day).await;
        holds(stored == [(START_MS, true)], || format!("{stored:?}"))
    })
    .await;
    // It comes again, as after a restart, and another one after it.
    let again = bars::of_quality(&day, START_MS, BarState::Closed, 1, Quality::Partial);
    bars::publish_to_journal(&*bus, &day, again).await;
    let next_ms = Timeframe::DAY.end_of(START_MS);
    bars::journal(&*bus, &day, next_ms, BarState::Closed, 0).await;
    until("the next day", async || {
        let stored = stored(&running, &day).await;
        let expected = [(START_MS, true), (next_ms, false)];
        holds(stored == expected, || format!("{stored:?}"))
    })
    .await;
    // One bar of a minute is soon one of many.
    assert!(stored(&running, &minute).await.contains(&(START_MS, false)));
    running.stop().await;
}

#[tokio::test]
async fn a_hole_that_was_not_filled_before_a_restart_is_filled_after_it() {
    let directory = Directory::new();
    let now = Timeframe::MINUTE.start_of(service::wall_clock_ms());
    let minute = bars::minutes("binance", "BTC-USD");
    let ends = [now - 20 * MINUTE_MS, now - 10 * MINUTE_MS];
    let bus = memory_bus();
    let running = Running::start(&config(&directory), &bus).await;
    until("the journal", async || {
        let status = bus.streams().status("journal").await.expect("a status");
        holds(status.is_some(), || "no stream".to_owned())
    })
    .await;
    for start_ms in ends {
        bars::journal(&*bus, &minute, start_ms, BarState::Closed, 0).await;
    }
    until("both bars", async || {
        let stored = stored(&running, &minute).await;
        holds(stored.len() == 2, || format!("{stored:?}"))
    })
    .await;
    // No venue has answered so far.
    running.stop().await;
    let bus = memory_bus();
    let _serving = Venue::default().start(&bus).await;
    bars::publish(&*bus, &minute, now, BarState::Forming, 0).await;
    let running = Running::start(&config(&directory), &bus).await;
    let expected = (-20..=-10).map(|back| {
        let start_ms = now + back * MINUTE_MS;
        (start_ms, !ends.contains(&start_ms))
    });
    let expected: Vec<_> = expected.collect();
    until("the bars of the hole", async || {
        let mut stored = stored(&running, &minute).await;
        stored.retain(|(start_ms, _)| *start_ms >= ends[0]);
        holds(stored == expected, || format!("{stored:?}"))
    })
    .await;
    running.stop().await;
}
