//! Asks the venues for bars, through the programs that read their feeds. One question at a time goes
//! to each venue, so that its budget is left to those who miss trades.

mod asked;
mod holes;
mod on_demand;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bus::{Bus, BusError, Headers};
use market_core::wire::archive::{ArchivePage, ArchiveQuery};
use market_core::{Timeframe, UnixMillis, subject};
use tokio::sync::{Mutex as TurnMutex, mpsc};
use tracing::info;

use crate::error::Error;
use crate::store::BarSeries;

use asked::Asked;
use on_demand::OnDemand;

pub(crate) use holes::{Hole, holes, lacking};
pub(crate) use on_demand::Begun;

/// How long an answer may take: a venue may ask its readers to pause.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// Holes that wait for their bars.
pub(crate) const HOLES_MAX: usize = 10_000;

/// Asks venues for bars. Clones share what is known about them.
#[derive(Clone)]
pub(crate) struct Filler(Arc<Inner>);

struct Inner {
    bus: Arc<dyn Bus>,
    /// Held while a question to the venue is under way.
    turns: Mutex<HashMap<Box<str>, Arc<TurnMutex<()>>>>,
    asked: Asked,
    on_demand: OnDemand,
    /// Timeframes that venues have no bars of. A venue has few timeframes.
    lacking: Mutex<HashSet<(Box<str>, Timeframe)>>,
    holes: mpsc::Sender<Hole>,
    /// Taken by the program when it runs.
    holes_out: Mutex<Option<mpsc::Receiver<Hole>>>,
}

/// Why bars did not come.
#[derive(Debug, thiserror::Error)]
pub enum FillError {
    /// The program that reads the venue's feed does not answer, or refuses.
    #[error("failed to get the venue's bars: {0}")]
    Bus(#[from] BusError),
    /// It answers something else.
    #[error("the answer about the venue's bars cannot be read: {0}")]
    Answer(#[from] serde_json::Error),
    /// The venue has no bars so wide.
    #[error("the venue has no bars of {0}: bars that are missed stay missing")]
    NoWidth(Timeframe),
    /// The bars cannot be stored.
    #[error("{0}")]
    Store(#[from] Error),
}

impl FillError {
    /// Whether the same question may be answered later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            // The venue may be down for a moment, or another program may publish the symbol.
            Self::Bus(BusError::Refused { .. }) => true,
            Self::Bus(error) => error.is_retryable(),
            Self::Answer(_) | Self::NoWidth(_) => false,
            Self::Store(_) => true,
        }
    }
}

impl Filler {
    pub(crate) fn new(bus: Arc<dyn Bus>, fills_max: usize) -> Self {
        let (holes, holes_out) = mpsc::channel(HOLES_MAX);
        Self(Arc::new(Inner {
            bus,
            turns: Mutex::default(),
            asked: Asked::default(),
            on_demand: OnDemand::new(fills_max),
            lacking: Mutex::default(),
            holes,
            holes_out: Mutex::new(Some(holes_out)),
        }))
    }

    /// Between these bars and the stored ones, bars are missing.
    pub(crate) fn missing(&self, hole: Hole) {
        metrics::counter!("history_holes_total").increment(1);
        if self.0.holes.try_send(hole).is_err() {
            metrics::counter!("history_holes_dropped_total").increment(1);
        }
    }

    /// The holes that were found; only the first call gets them.
    pub(crate) fn holes(&self) -> Option<mpsc::Receiver<Hole>> {
        let mut holes = self.0.holes_out.lock();
        let holes = holes.as_mut().map_err(|error| error.get_mut());
        match holes {
            Ok(holes) => holes.take(),
            Err(holes) => holes.take(),
        }
    }

    /// From when on everything that the venue has was asked for.
    pub(crate) fn asked_since(&self, series: &BarSeries) -> Option<UnixMillis> {
        self.0.asked.since(series)
    }

    /// Everything that the venue has from this time on was asked for.
    pub(crate) fn note_asked(&self, series: &BarSeries, since_ms: UnixMillis) {
        self.0.asked.note(series, since_ms);
    }

    /// The fills for which questions wait.
    pub(crate) fn on_demand(&self) -> &OnDemand {
        &self.0.on_demand
    }

    fn turn(&self, exchange: &str) -> Arc<TurnMutex<()>> {
        // Each change is one insertion.
        let mut turns = self.0.turns.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = turns.entry(exchange.into()).or_default();
        Arc::clone(turn)
    }

    /// Whether the venue has said that it has no bars so wide.
    pub(crate) fn lacks(&self, series: &BarSeries) -> bool {
        let key = (series.instrument.exchange.clone(), series.timeframe);
        // Each change is one insertion.
        let lacking = self
            .0
            .lacking
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        lacking.contains(&key)
    }

    /// The venue has no bars so wide. It is told once.
    fn note_lacking(&self, series: &BarSeries) {
        let (exchange, timeframe) = (&series.instrument.exchange, series.timeframe);
        let key = (exchange.clone(), timeframe);
        let mut lacking = self
            .0
            .lacking
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if lacking.insert(key) {
            info!(exchange = &**exchange, %timeframe, "the venue has no bars of this timeframe: history stores only bars that marketdata makes");
        }
    }

    /// One page: the newest bars of the span, and from when on they are all there.
    pub(crate) async fn page(
        &self,
        series: &BarSeries,
        from_ms: UnixMillis,
        to_ms: UnixMillis,
    ) -> Result<ArchivePage, FillError> {
        if self.lacks(series) {
            return Err(FillError::NoWidth(series.timeframe));
        }
        let exchange = &*series.instrument.exchange;
        let turn = self.turn(exchange);
        let _turn = turn.lock().await;
        let query = ArchiveQuery {
            symbol: series.instrument.symbol.clone(),
            interval: series.timeframe,
            from_ms,
            to_ms,
        };
        let question = serde_json::to_vec(&query)?.into();
        let subject = subject::archive_bars(exchange);
        let requests = self.0.bus.requests();
        let answer = requests
            .request(&subject, Headers::new(), question, ANSWER_MAX)
            .await;
        let result = if answer.is_ok() { "answered" } else { "failed" };
        metrics::counter!("history_fill_requests_total", "exchange" => exchange.to_owned(), "result" => result)
            .increment(1);
        let page: ArchivePage = serde_json::from_slice(&answer?.payload)?;
        if !page.has_width {
            self.note_lacking(series);
            return Err(FillError::NoWidth(series.timeframe));
        }
        Ok(page)
    }
}
