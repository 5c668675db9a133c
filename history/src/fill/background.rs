//! Fills holes, and the time before the first bar of each new series.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use market_core::{Timeframe, UnixMillis};
use service::Shutdown;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::{info, warn};

use crate::error::{Error, PartEnd};
use crate::filler::{FillError, HOLES_MAX, Hole};
use crate::history::History;
use crate::host_clock::now_ms;
use crate::store::BarSeries;

/// How often new series are looked for.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);
/// Pause before a question that failed is asked again.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// For how long a question is asked again: then its venue has no answer.
const GIVE_UP_AFTER: Duration = Duration::from_secs(600);
/// Pages of one hole at a time, before others have their turn.
const PAGES_MAX: usize = 50;

/// Asks for what is missing, without being asked.
pub(crate) struct Background {
    pub(crate) history: History,
    /// Bars of each new series; 0 for none.
    pub(crate) bars: u32,
}

/// A hole with its place in the order of work.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Place {
    /// Holes first, then minutes, which charts show first, then the others from wide to narrow.
    rank: u8,
    narrow: std::cmp::Reverse<Timeframe>,
    series: BarSeries,
    from_ms: UnixMillis,
    to_ms: UnixMillis,
}

/// The venue of a question that has ended, and what to ask it again, and since when it is asked.
type Ended = (Box<str>, Option<(Place, Instant)>);

impl Place {
    fn of(hole: Hole, is_new_series: bool) -> Self {
        let timeframe = hole.series.timeframe;
        let rank = match (is_new_series, timeframe == Timeframe::MINUTE) {
            (false, _) => 0,
            (true, true) => 1,
            (true, false) => 2,
        };
        Self {
            rank,
            narrow: std::cmp::Reverse(timeframe),
            series: hole.series,
            from_ms: hole.from_ms,
            to_ms: hole.to_ms,
        }
    }
}

impl Background {
    /// Works until the shutdown.
    pub(crate) async fn run(self, mut holes: mpsc::Receiver<Hole>, shutdown: Shutdown) -> PartEnd {
        let mut known: HashSet<BarSeries> = HashSet::new();
        // By venue: each has its own pace.
        let mut waiting: BTreeMap<Box<str>, BTreeMap<Place, Instant>> = BTreeMap::new();
        let mut busy: HashSet<Box<str>> = HashSet::new();
        let mut running: JoinSet<Ended> = JoinSet::new();
        let mut look = tokio::time::interval(LOOK_INTERVAL);
        let gauge = metrics::gauge!("history_fills_waiting");
        loop {
            for (exchange, places) in &mut waiting {
                if !busy.contains(exchange)
                    && let Some((place, since)) = places.pop_first()
                {
                    busy.insert(exchange.clone());
                    let (history, exchange) = (self.history.clone(), exchange.clone());
                    running.spawn(async move { (exchange, fill(&history, place, since).await) });
                }
            }
            let count: usize = waiting.values().map(BTreeMap::len).sum();
            gauge.set(count as f64);
            tokio::select! {
                () = shutdown.triggered() => return Ok(()),
                Some(ended) = running.join_next() => {
                    let (exchange, again) = ended.map_err(|error| Error::panicked(&error))?;
                    busy.remove(&exchange);
                    if let Some((place, since)) = again {
                        waiting.entry(exchange).or_default().insert(place, since);
                    }
                }
                Some(hole) = holes.recv(), if count < HOLES_MAX => {
                    let places = waiting.entry(hole.series.instrument.exchange.clone()).or_default();
                    places.insert(Place::of(hole, false), Instant::now());
                }
                _ = look.tick() => for place in self.new_series(&mut known) {
                    let places = waiting.entry(place.series.instrument.exchange.clone()).or_default();
                    places.insert(place, Instant::now());
                },
            }
        }
    }

    /// What the series lack that were not looked at yet.
    fn new_series(&self, known: &mut HashSet<BarSeries>) -> Vec<Place> {
        if self.bars == 0 {
            return Vec::new();
        }
        let mut places = Vec::new();
        for series in self.history.latest.known() {
            if known.contains(&series) {
                continue;
            }
            known.insert(series.clone());
            let now = now_ms();
            let width = series.timeframe;
            let start_ms = width.start_of(now);
            let width_ms = width.end_of(start_ms) - start_ms;
            let from_ms = start_ms.saturating_sub(width_ms.saturating_mul(i64::from(self.bars)));
            let from_ms = width.start_of(from_ms.max(0));
            let stored = self.history.index.get(&series);
            let to_ms = stored.map_or(start_ms, |info| info.first_ms);
            if from_ms < to_ms {
                let hole = Hole {
                    series,
                    from_ms,
                    to_ms,
                };
                places.push(Place::of(hole, true));
            }
        }
        places
    }
}

/// Fills a hole; gives it back if it is to be tried again.
async fn fill(history: &History, place: Place, since: Instant) -> Option<(Place, Instant)> {
    let Place {
        series,
        from_ms,
        to_ms,
        ..
    } = &place;
    match history.fill(series, *from_ms, *to_ms, PAGES_MAX).await {
        Ok(reached_ms) if reached_ms > *from_ms && reached_ms < *to_ms => {
            let rest = Place {
                to_ms: reached_ms,
                ..place
            };
            Some((rest, Instant::now()))
        }
        Ok(_) => {
            info!(
                exchange = &*series.instrument.exchange,
                symbol = series.instrument.symbol.as_str(),
                timeframe = %series.timeframe,
                from_ms,
                to_ms,
                "asked the venue for bars"
            );
            None
        }
        Err(FillError::NoWidth(_)) => {
            metrics::counter!("history_fills_unavailable_total").increment(1);
            None
        }
        Err(error) if error.is_retryable() && since.elapsed() < GIVE_UP_AFTER => {
            tokio::time::sleep(RETRY_AFTER).await;
            Some((place, since))
        }
        Err(error) => {
            warn!(
                exchange = &*series.instrument.exchange,
                symbol = series.instrument.symbol.as_str(),
                timeframe = %series.timeframe,
                from_ms,
                to_ms,
                %error,
                "bars stay missing"
            );
            metrics::counter!("history_fills_given_up_total").increment(1);
            None
        }
    }
}
