//! Bars of the time before the first stored one, and of holes: from the venues, through the programs
//! that read their feeds.
//!
//! They are imported: bars that were made here from trades replace them. One question at a time goes
//! to each venue, so that its budget is left to those who miss trades.

mod asked;
mod background;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bus::{Bus, BusError, Headers};
use market_core::wire::archive::{ArchiveBar, ArchivePage, ArchiveQuery};
use market_core::{Quality, UnixMillis, subject};
use tokio::sync::{Mutex as TurnMutex, mpsc};
use tracing::debug;

use crate::BarRow;
use crate::host_clock::now_ms;
use crate::program::{Error, History};
use crate::store::BarSeries;

use asked::Asked;
pub(crate) use background::Background;

/// How long an answer may take: a venue may ask its readers to pause.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// Holes that wait for their bars.
const HOLES_MAX: usize = 10_000;

/// A span of a series without stored bars.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Hole {
    pub(crate) series: BarSeries,
    pub(crate) from_ms: UnixMillis,
    pub(crate) to_ms: UnixMillis,
}

/// Asks venues for bars. Clones share what is known about them.
#[derive(Clone)]
pub(crate) struct Filler(Arc<Inner>);

struct Inner {
    bus: Arc<dyn Bus>,
    /// Held while a question to the venue is under way.
    turns: Mutex<HashMap<Box<str>, Arc<TurnMutex<()>>>>,
    asked: Asked,
    holes: mpsc::Sender<Hole>,
    /// Taken by the program when it runs.
    holes_out: Mutex<Option<mpsc::Receiver<Hole>>>,
}

/// Why bars did not come.
#[derive(Debug, thiserror::Error)]
pub enum FillError {
    /// The program that reads the venue's feed does not answer, or refuses.
    #[error("the venue's bars cannot be had: {0}")]
    Bus(#[from] BusError),
    /// It answers something else.
    #[error("the answer about the venue's bars cannot be read: {0}")]
    Answer(#[from] serde_json::Error),
    /// The bars cannot be stored.
    #[error("{0}")]
    Store(#[from] Error),
}

impl FillError {
    /// Whether the same question may be answered later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Bus(error) => error.is_retryable(),
            Self::Answer(_) => false,
            Self::Store(_) => true,
        }
    }
}

impl Filler {
    pub(crate) fn new(bus: Arc<dyn Bus>) -> Self {
        let (holes, holes_out) = mpsc::channel(HOLES_MAX);
        Self(Arc::new(Inner {
            bus,
            turns: Mutex::default(),
            asked: Asked::default(),
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

    fn turn(&self, exchange: &str) -> Arc<TurnMutex<()>> {
        // Each change is one insertion.
        let mut turns = self.0.turns.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = turns.entry(exchange.into()).or_default();
        Arc::clone(turn)
    }

    /// One page: the newest bars of the span, and from when on they are all there.
    async fn page(
        &self,
        series: &BarSeries,
        from_ms: UnixMillis,
        to_ms: UnixMillis,
    ) -> Result<ArchivePage, FillError> {
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
        Ok(serde_json::from_slice(&answer?.payload)?)
    }
}

impl History {
    /// Asks the venue for bars that start in `[from_ms, to_ms)`, the newest first, in at most
    /// `pages_max` questions, and stores them. Returns from when on everything is stored that the
    /// venue has; `to_ms` if nothing was asked.
    ///
    /// # Errors
    /// If the venue cannot be asked, or the store refuses rows. What came before is stored.
    pub async fn fill(
        &self,
        series: &BarSeries,
        from_ms: UnixMillis,
        to_ms: UnixMillis,
        pages_max: usize,
    ) -> Result<UnixMillis, FillError> {
        let mut to_ms = to_ms;
        for _ in 0..pages_max {
            if from_ms >= to_ms {
                break;
            }
            let page = self.filler.page(series, from_ms, to_ms).await?;
            let known_ms = now_ms();
            let bars = page.bars.iter().filter(|bar| {
                (from_ms..to_ms).contains(&bar.start_ms)
                    && series.timeframe.start_of(bar.start_ms) == bar.start_ms
            });
            let rows: Vec<BarRow> = bars.map(|bar| row(bar, known_ms)).collect();
            let is_empty = rows.is_empty();
            debug!(?series, from_ms, to_ms, bars = rows.len(), "filled");
            if !is_empty {
                metrics::counter!("history_filled_bars_total", "exchange" => series.instrument.exchange.to_string())
                    .increment(rows.len() as u64);
                self.append_bars(vec![(series.clone(), rows)], None).await?;
            }
            // A page must make progress, whatever the answer says.
            let complete_ms = page.complete_from_ms.clamp(from_ms, to_ms);
            if complete_ms == to_ms {
                break;
            }
            // Nothing is older than a page without bars.
            to_ms = if is_empty { from_ms } else { complete_ms };
        }
        Ok(to_ms.max(from_ms))
    }

    /// Stores the venue's bars from `from_ms` to the first stored one, as far as `pages_max`
    /// questions reach, if they were not asked for already. For questions that reach further back
    /// than the store.
    ///
    /// # Errors
    /// As for [`History::fill`].
    pub async fn fill_back(
        &self,
        series: &BarSeries,
        from_ms: UnixMillis,
        pages_max: usize,
    ) -> Result<(), FillError> {
        let first_ms = match self.index.get(series) {
            Some(info) => info.first_ms,
            None => now_ms(),
        };
        let asked = &self.filler.0.asked;
        let to_ms = asked
            .since(series)
            .map_or(first_ms, |asked| asked.min(first_ms));
        let from_ms = from_ms.max(0);
        if from_ms >= to_ms {
            return Ok(());
        }
        let reached_ms = self.fill(series, from_ms, to_ms, pages_max).await?;
        asked.note(series, reached_ms);
        Ok(())
    }
}

/// A venue's bar as a row. The venue knows all of its trades.
fn row(bar: &ArchiveBar, known_ms: UnixMillis) -> BarRow {
    BarRow {
        start_ms: bar.start_ms,
        open: bar.open,
        high: bar.high,
        low: bar.low,
        close: bar.close,
        volume: bar.volume,
        quote_volume: bar.quote_volume,
        taker_buy_volume: bar.taker_buy_volume,
        taker_buy_quote_volume: bar.taker_buy_quote_volume,
        count: bar.count,
        ids: None,
        event_ms: None,
        received_us: None,
        rev: 0,
        quality: Quality::Complete,
        is_imported: true,
        known_ms,
    }
}

/// The spans between stored bars and these rows, and between the rows, without any.
pub(crate) fn holes(series: &BarSeries, stored_end_ms: UnixMillis, rows: &[BarRow]) -> Vec<Hole> {
    let mut starts: Vec<UnixMillis> = rows.iter().map(|row| row.start_ms).collect();
    starts.sort_unstable();
    let mut end_ms = stored_end_ms;
    let mut holes = Vec::new();
    for start_ms in starts {
        if start_ms > end_ms {
            holes.push(Hole {
                series: series.clone(),
                from_ms: end_ms,
                to_ms: start_ms,
            });
        }
        end_ms = end_ms.max(series.timeframe.end_of(start_ms));
    }
    holes
}

#[cfg(test)]
mod tests;
