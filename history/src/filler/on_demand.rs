//! Fills for which questions wait. A series has one at a time, for all questions, and it goes on when those who
//! asked are gone: what the venue was asked for is stored.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use metrics::{Counter, Gauge, counter, gauge};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::store::BarSeries;

/// Pause of a series after its venue gave no answer: each page that reaches back would ask it again.
const REST: Duration = Duration::from_secs(5);

/// What runs. Clones share it.
#[derive(Clone)]
pub(crate) struct OnDemand(Arc<Inner>);

struct Inner {
    fills: Mutex<HashMap<BarSeries, Fill>>,
    fills_max: usize,
    rest: Duration,
    waiting: Arc<Semaphore>,
    running: Gauge,
    no_place: Counter,
    no_wait: Counter,
}

enum Fill {
    /// Its end is told by the fall of the sender.
    Running(watch::Receiver<()>),
    /// It failed, and nobody is asked before this.
    Rests(Instant),
}

/// The place of a fill.
pub(crate) enum Begun {
    /// This one is to be done now.
    New(Running),
    /// Another question has begun one.
    Other,
    /// There is none: too many run, or one has just failed.
    None,
}

/// A fill that runs: it has ended when this is dropped.
pub(crate) struct Running {
    fills: OnDemand,
    series: BarSeries,
    rests: bool,
    _ended: watch::Sender<()>,
}

/// A place among those who wait.
pub(crate) struct Wait {
    fill: watch::Receiver<()>,
    _place: OwnedSemaphorePermit,
}

impl OnDemand {
    /// At most `fills_max` fills at once, and as many who wait for them.
    pub(super) fn new(fills_max: usize) -> Self {
        Self::with_rest(fills_max, REST)
    }

    fn with_rest(fills_max: usize, rest: Duration) -> Self {
        let refused =
            |why: &'static str| counter!("history_fills_on_demand_refused_total", "why" => why);
        Self(Arc::new(Inner {
            fills: Mutex::default(),
            fills_max,
            rest,
            waiting: Arc::new(Semaphore::new(fills_max.min(Semaphore::MAX_PERMITS))),
            running: gauge!("history_fills_on_demand"),
            no_place: refused("fills"),
            no_wait: refused("waiting"),
        }))
    }

    fn fills(&self) -> MutexGuard<'_, HashMap<BarSeries, Fill>> {
        // Each change leaves whole values.
        self.0.fills.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins the fill of a series, if it has none.
    pub(crate) fn begin(&self, series: &BarSeries) -> Begun {
        let mut fills = self.fills();
        let now = Instant::now();
        fills.retain(|_, fill| !matches!(fill, Fill::Rests(until) if *until <= now));
        match fills.get(series) {
            Some(Fill::Running(_)) => return Begun::Other,
            Some(Fill::Rests(_)) => return Begun::None,
            None => {}
        }
        let is_running = |fill: &&Fill| matches!(fill, Fill::Running(_));
        let running = fills.values().filter(is_running).count();
        if running >= self.0.fills_max {
            self.0.no_place.increment(1);
            return Begun::None;
        }
        let (ended, fill) = watch::channel(());
        fills.insert(series.clone(), Fill::Running(fill));
        self.0.running.set((running + 1) as f64);
        Begun::New(Running {
            fills: self.clone(),
            series: series.clone(),
            rests: false,
            _ended: ended,
        })
    }

    /// A place to wait for the fill of a series; `None` if there is no fill, or too many wait.
    pub(crate) fn wait(&self, series: &BarSeries) -> Option<Wait> {
        let fill = match self.fills().get(series) {
            Some(Fill::Running(fill)) => fill.clone(),
            _ => return None,
        };
        match Arc::clone(&self.0.waiting).try_acquire_owned() {
            Ok(place) => Some(Wait {
                fill,
                _place: place,
            }),
            Err(_) => {
                self.0.no_wait.increment(1);
                None
            }
        }
    }
}

impl Running {
    /// The venue gave no answer: the series rests.
    pub(crate) fn failed(mut self) {
        self.rests = true;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut fills = self.fills.fills();
        match self.rests {
            true => fills.insert(
                self.series.clone(),
                Fill::Rests(Instant::now() + self.fills.0.rest),
            ),
            false => fills.remove(&self.series),
        };
        let is_running = |fill: &&Fill| matches!(fill, Fill::Running(_));
        let running = fills.values().filter(is_running).count();
        self.fills.0.running.set(running as f64);
    }
}

impl Wait {
    /// Returns when the fill has ended.
    pub(crate) async fn ended(mut self) {
        // Nothing is ever sent.
        while self.fill.changed().await.is_ok() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Instrument;
    use market_core::Timeframe;

    fn series(symbol: &str) -> BarSeries {
        BarSeries {
            instrument: Instrument {
                exchange: "okx".into(),
                symbol: symbol.parse().expect("a symbol"),
            },
            timeframe: Timeframe::MINUTE,
        }
    }

    fn begun(fills: &OnDemand, symbol: &str) -> Option<Running> {
        match fills.begin(&series(symbol)) {
            Begun::New(running) => Some(running),
            Begun::Other | Begun::None => None,
        }
    }

    #[tokio::test]
    async fn a_series_has_one_fill_and_those_who_wait_are_told_its_end() {
        let fills = OnDemand::new(2);
        let first = begun(&fills, "A-USD").expect("a place");
        assert!(matches!(fills.begin(&series("A-USD")), Begun::Other));
        let second = begun(&fills, "B-USD").expect("a place");
        assert!(begun(&fills, "C-USD").is_none(), "two run");
        let waits: Vec<Wait> = (0..3)
            .filter_map(|_| fills.wait(&series("A-USD")))
            .collect();
        assert_eq!(waits.len(), 2, "as many wait as run");
        drop(first);
        for wait in waits {
            wait.ended().await;
        }
        assert!(fills.wait(&series("A-USD")).is_none(), "it has ended");
        assert!(
            fills.wait(&series("B-USD")).is_some(),
            "there is room again"
        );
        assert!(begun(&fills, "C-USD").is_some());
        drop(second);
    }

    #[test]
    fn a_series_whose_venue_gave_no_answer_rests() {
        for (rest, is_asked) in [(Duration::from_secs(3_600), false), (Duration::ZERO, true)] {
            let fills = OnDemand::with_rest(1, rest);
            begun(&fills, "A-USD").expect("a place").failed();
            assert_eq!(begun(&fills, "A-USD").is_some(), is_asked);
            // Those that rest take no place.
            assert!(begun(&fills, "B-USD").is_some());
        }
    }
}
