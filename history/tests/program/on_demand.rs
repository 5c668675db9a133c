//! Bars of the venues for which questions wait.

use std::sync::Arc;

use history::store::BarSeries;
use market_core::{BarState, UnixMillis};
use testkit::directory::Directory;
use testkit::wait::{holds, until};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::fill::{MINUTE_MS, stored};
use crate::venue::Venue;
use crate::{Running, bars, config, memory_bus};

/// The start of the first bar that history has.
const FIRST_MS: UnixMillis = 1_709_078_400_000;

/// A history that has one bar of these series.
async fn running(directory: &Directory, bus: &Arc<dyn bus::Bus>, all: &[BarSeries]) -> Running {
    let mut config = config(directory);
    config.fill_bars = 0;
    config.api.history_fills_max = 2;
    let running = Running::start(&config, bus).await;
    until("the journal", async || {
        let status = bus.streams().status("journal").await.expect("a status");
        holds(status.is_some(), || "no stream".to_owned())
    })
    .await;
    for series in all {
        bars::journal(&**bus, series, FIRST_MS, BarState::Closed, 0).await;
    }
    until("the bars of the bus", async || {
        let count = running.history.index.len();
        holds(count == all.len(), || format!("{count} series"))
    })
    .await;
    running
}

#[tokio::test]
async fn questions_that_go_away_leave_one_fill_and_its_bars_are_stored() {
    let (directory, bus) = (Directory::new(), memory_bus());
    let answers = Arc::new(Semaphore::new(0));
    let venue = Venue {
        answers: Arc::clone(&answers),
        ..Venue::default()
    };
    let venue = venue.start(&bus).await;
    let minute = bars::minutes("binance", "BTC-USD");
    let running = running(&directory, &bus, std::slice::from_ref(&minute)).await;
    let url = format!(
        "http://{}/api/v1/bars?symbol=BTC-USD&width=1m&from={}",
        running.address,
        FIRST_MS - 30 * MINUTE_MS
    );
    // More than may wait: they are answered, too.
    let mut questions = JoinSet::new();
    for _ in 0..12 {
        let url = url.clone();
        questions.spawn(async move { reqwest::get(url).await.expect("an answer").status() });
    }
    let statuses = questions.join_all().await;
    assert!(
        statuses.iter().all(|status| status.is_success()),
        "{statuses:?}"
    );
    assert_eq!(venue.asked(), 1);
    answers.add_permits(1);
    // Nobody asks any more.
    until("the bars of the venue", async || {
        let stored = stored(&running, &minute).await;
        holds(stored.len() == 31, || format!("{} bars", stored.len()))
    })
    .await;
    assert_eq!(venue.asked(), 1);
    running.stop().await;
}

#[tokio::test]
async fn no_more_series_than_configured_are_filled_for_questions_at_once() {
    let (directory, bus) = (Directory::new(), memory_bus());
    let answers = Arc::new(Semaphore::new(0));
    let venue = Venue {
        answers: Arc::clone(&answers),
        ..Venue::default()
    };
    let _serving = venue.start(&bus).await;
    let symbols = ["A-USD", "B-USD", "C-USD"];
    let all = symbols.map(|symbol| bars::minutes("binance", symbol));
    let running = running(&directory, &bus, &all).await;
    let path = |symbol| {
        format!(
            "/api/v1/bars?symbol={symbol}&width=1m&from={}",
            FIRST_MS - 10 * MINUTE_MS
        )
    };
    // None comes in time; the third one does not even wait.
    for symbol in symbols {
        let page = running.get(&path(symbol)).await;
        assert_eq!(page["bars"].as_array().map(Vec::len), Some(1), "{page}");
    }
    answers.add_permits(1);
    until("the bars of the first two", async || {
        running.get(&path("A-USD")).await;
        running.get(&path("B-USD")).await;
        let first = stored(&running, &all[0]).await.len();
        let second = stored(&running, &all[1]).await.len();
        holds((first, second) == (11, 11), || format!("{first}, {second}"))
    })
    .await;
    assert_eq!(stored(&running, &all[2]).await.len(), 1);
    until("the bars of the third one", async || {
        let page = running.get(&path("C-USD")).await;
        let bars = page["bars"].as_array().map_or(0, Vec::len);
        holds(bars == 11, || format!("{bars} bars"))
    })
    .await;
    running.stop().await;
}

#[tokio::test]
async fn a_question_for_what_became_known_asks_no_venue() {
    let (directory, bus) = (Directory::new(), memory_bus());
    let venue = Venue::default().start(&bus).await;
    let minute = bars::minutes("binance", "BTC-USD");
    let running = running(&directory, &bus, std::slice::from_ref(&minute)).await;
    for condition in ["known_after=0", "as_of=9000000000000"] {
        let path = format!("/api/v1/bars?symbol=BTC-USD&width=1m&from=0&{condition}");
        let page = running.get(&path).await;
        assert!(page["bars"].is_array(), "{condition}: {page}");
        assert_eq!(venue.asked(), 0, "{condition}");
    }
    running
        .get("/api/v1/bars?symbol=BTC-USD&width=1m&from=0")
        .await;
    until("two pages", async || {
        let asked = venue.asked();
        holds(asked == 2, || format!("{asked} questions"))
    })
    .await;
    running.stop().await;
}
