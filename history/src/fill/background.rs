//! Fills holes, and what the store lacks of the newest bars of each series: at the first start most of
//! them, and later the holes that history knew when it ended.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use market_core::{Timeframe, UnixMillis};
use service::Shutdown;
use service::wall_clock_ms;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::{info, warn};

use crate::error::{Error, PartEnd};
use crate::filler::{FillError, HOLES_MAX, Hole, lacking};
use crate::history::History;
use crate::store::{BarSeries, Store};

/// How often new series are looked for.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);
/// Pages of one hole at a time, before others have their turn.
const PAGES_MAX: usize = 50;

/// Asks for what is missing, without being asked.
pub(crate) struct Background {
    pub(crate) history: History,
    /// Bars of each new series; 0 for none.
    pub(crate) bars: u32,
    /// How questions without an answer are repeated.
    pub(crate) patience: Patience,
}

/// How questions without an answer are repeated.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// Pause before the venue is asked again.
    retry_after: Duration,
    /// For how long a question is asked again: then its venue has no answer.
    give_up_after: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            retry_after: Duration::from_secs(5),
            give_up_after: Duration::from_secs(600),
        }
    }
}

/// A hole with its place in the order of work.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Place {
    /// How often it was asked for without an answer: the others come first.
    failures: u32,
    /// Holes first, then minutes, which charts show first, then the others from wide to narrow, and at
    /// last bars that are there and partial.
    rank: u8,
    narrow: std::cmp::Reverse<Timeframe>,
    series: BarSeries,
    from_ms: UnixMillis,
    to_ms: UnixMillis,
    /// Some of its bars may be stored: only what the store lacks is asked for.
    is_new_series: bool,
}

/// Since when a question has no answer; `None` if it was not asked yet.
type Failing = Option<Instant>;

/// The venue of a question that has ended, and what to ask it again.
type Ended = (Box<str>, Option<(Place, Failing)>);

impl Place {
    fn of(hole: Hole, is_new_series: bool) -> Self {
        let timeframe = hole.series.timeframe;
        let rank = match (is_new_series, timeframe == Timeframe::MINUTE) {
            _ if hole.is_partial => 3,
            (false, _) => 0,
            (true, true) => 1,
            (true, false) => 2,
        };
        Self {
            failures: 0,
            rank,
            narrow: std::cmp::Reverse(timeframe),
            series: hole.series,
            from_ms: hole.from_ms,
            to_ms: hole.to_ms,
            is_new_series,
        }
    }

    /// Asks for what is missing. Returns from when on it is there; `None` if nothing is missing.
    async fn ask(&self, history: &History) -> Result<Option<UnixMillis>, FillError> {
        let (series, mut span) = (&self.series, Some((self.from_ms, self.to_ms)));
        if self.is_new_series {
            let (of, from_ms, to_ms) = (series.clone(), self.from_ms, self.to_ms);
            let read = move |store: &dyn Store| lacking(store, &of, from_ms, to_ms);
            span = history.read(read).await?;
        }
        let Some((from_ms, to_ms)) = span else {
            return Ok(None);
        };
        let reached_ms = history.fill(series, from_ms, to_ms, PAGES_MAX).await?;
        Ok(Some(reached_ms))
    }
}

impl Background {
    /// Works until the shutdown.
    pub(crate) async fn run(self, mut holes: mpsc::Receiver<Hole>, shutdown: Shutdown) -> PartEnd {
        let mut known: HashSet<BarSeries> = HashSet::new();
        // By venue: each has its own pace.
        let mut waiting: BTreeMap<Box<str>, BTreeMap<Place, Failing>> = BTreeMap::new();
        let mut busy: HashSet<Box<str>> = HashSet::new();
        let mut running: JoinSet<Ended> = JoinSet::new();
        let mut look = tokio::time::interval(LOOK_INTERVAL);
        let gauge = metrics::gauge!("history_fills_waiting");
        loop {
            for (exchange, places) in &mut waiting {
                if !busy.contains(exchange)
                    && let Some((place, failing)) = places.pop_first()
                {
                    busy.insert(exchange.clone());
                    let (history, exchange) = (self.history.clone(), exchange.clone());
                    let patience = self.patience;
                    running.spawn(async move {
                        (exchange, fill(&history, place, failing, patience).await)
                    });
                }
            }
            let count: usize = waiting.values().map(BTreeMap::len).sum();
            gauge.set(count as f64);
            tokio::select! {
                () = shutdown.triggered() => return Ok(()),
                Some(ended) = running.join_next() => {
                    let (exchange, again) = ended.map_err(|error| Error::panicked(&error))?;
                    busy.remove(&exchange);
                    if let Some((place, failing)) = again {
                        waiting.entry(exchange).or_default().insert(place, failing);
                    }
                }
                Some(hole) = holes.recv(), if count < HOLES_MAX => {
                    let places = waiting.entry(hole.series.instrument.exchange.clone()).or_default();
                    places.insert(Place::of(hole, false), None);
                }
                _ = look.tick() => for place in self.new_series(&mut known) {
                    let places = waiting.entry(place.series.instrument.exchange.clone()).or_default();
                    places.insert(place, None);
                },
            }
        }
    }

    /// The newest bars of the series that were not looked at yet, stored or not.
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
            let now = wall_clock_ms();
            let width = series.timeframe;
            let start_ms = width.start_of(now);
            let width_ms = width.end_of(start_ms) - start_ms;
            let from_ms = start_ms.saturating_sub(width_ms.saturating_mul(i64::from(self.bars)));
            let from_ms = width.start_of(from_ms.max(0));
            let hole = Hole {
                series,
                is_partial: false,
                from_ms,
                to_ms: start_ms,
            };
            places.push(Place::of(hole, true));
        }
        places
    }
}

/// Fills a hole; gives it back if it is to be tried again. The time for which it waited for its turn
/// does not count: a venue that is away for a moment would end all that have waited long.
async fn fill(
    history: &History,
    place: Place,
    failing: Failing,
    patience: Patience,
) -> Option<(Place, Failing)> {
    let is_patient = failing.is_none_or(|since| since.elapsed() < patience.give_up_after);
    let Place {
        series,
        from_ms,
        to_ms,
        ..
    } = &place;
    match place.ask(history).await {
        Ok(None) => None,
        Ok(Some(reached_ms)) if reached_ms > *from_ms && reached_ms < *to_ms => {
            let rest = Place {
                failures: 0,
                to_ms: reached_ms,
                ..place
            };
            Some((rest, None))
        }
        Ok(Some(_)) => {
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
        Err(error) if error.is_retryable() && is_patient => {
            let since = failing.unwrap_or_else(Instant::now);
            tokio::time::sleep(patience.retry_after).await;
            let again = Place {
                failures: place.failures.saturating_add(1),
                ..place
            };
            Some((again, Some(since)))
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

#[cfg(test)]
mod tests;
