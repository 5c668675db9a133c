//! A venue that has bars, and answers questions about them as marketdata does.

use std::ops::Range;
use std::sync::{Arc, Mutex};

use bus::{Bus, Headers};
use market_core::wire::archive::{ArchiveBar, ArchivePage, ArchiveQuery};
use market_core::{Amount, Price, Timeframe, UnixMillis, subject};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

/// The bars that the venue gives at once.
const PAGE_BARS: UnixMillis = 40;

/// A venue with every bar of a minute or a day, and none of other timeframes.
pub(crate) struct Venue {
    /// The start of its first bar.
    pub(crate) first_ms: UnixMillis,
    /// No bar starts in it.
    pub(crate) quiet: Range<UnixMillis>,
    /// Each answer waits for a place, and gives it back.
    pub(crate) answers: Arc<Semaphore>,
}

impl Default for Venue {
    fn default() -> Self {
        Self {
            first_ms: 0,
            quiet: 0..0,
            answers: Arc::new(Semaphore::new(1)),
        }
    }
}

/// A venue that answers until this is dropped.
pub(crate) struct Serving {
    asked: Arc<Mutex<Vec<ArchiveQuery>>>,
    task: JoinHandle<()>,
}

impl Venue {
    pub(crate) fn since(first_ms: UnixMillis) -> Self {
        Self {
            first_ms,
            ..Self::default()
        }
    }

    pub(crate) async fn start(self, bus: &Arc<dyn Bus>) -> Serving {
        let asked: Arc<Mutex<Vec<ArchiveQuery>>> = Arc::default();
        let subject = subject::archive_bars("binance");
        let served = bus.requests().serve(&subject, "archive").await;
        let mut responder = served.expect("served");
        let known = Arc::clone(&asked);
        let task = tokio::spawn(async move {
            while let Some(question) = responder.recv().await {
                let query: ArchiveQuery =
                    serde_json::from_slice(&question.message.payload).expect("a question");
                let page = self.page(&query);
                known.lock().expect("no panic").push(query);
                let place = self.answers.acquire().await;
                drop(place.expect("never closed"));
                let json = serde_json::to_vec(&page).expect("plain fields");
                // Who asked may be gone.
                let _ = question.answer(Headers::new(), json.into()).await;
            }
        });
        Serving { asked, task }
    }

    fn page(&self, query: &ArchiveQuery) -> ArchivePage {
        let width_ms = query.interval.end_of(0);
        let from_ms = query.from_ms.max(query.to_ms - PAGE_BARS * width_ms);
        let starts = (from_ms.max(self.first_ms)..query.to_ms)
            .step_by(usize::try_from(width_ms).expect("small"))
            .filter(|start_ms| !self.quiet.contains(start_ms));
        ArchivePage {
            bars: starts.map(venue_bar).collect(),
            complete_from_ms: from_ms,
            has_width: [Timeframe::MINUTE, Timeframe::DAY].contains(&query.interval),
        }
    }
}

impl Serving {
    pub(crate) fn asked(&self) -> usize {
        self.asked.lock().expect("no panic").len()
    }
}

impl Drop for Serving {
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
