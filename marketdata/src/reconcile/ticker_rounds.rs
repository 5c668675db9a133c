//! The running program's own check of tickers: compares them with our published bars.
//!
//! One task for each venue takes the newest ticker of its symbols in turn. Once the bars around the
//! ticker's time are closed, the task compares. A ticker that differs is compared
//! once more before it counts, because a revision may be on its way. Bars come from the bus, so no
//! venue is asked.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bus::Bus;
use market_core::{Symbol, Ticker, Timeframe, UnixMillis, subject};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::background::effective;
use super::compare::Difference;
use super::ticker::{Allowance, Field, OwnBar, OwnBars, Verdict, compare};
use crate::feed::symbols::SymbolBoard;
use crate::instrument::InstrumentId;
use crate::publish::values::Values;

/// After this time and the width of the narrowest bars, the bars around a ticker are closed. Those of
/// a second are kept for half a minute.
const SETTLED_AFTER: Duration = Duration::from_secs(11);
/// After this time, a ticker that differs is compared again.
const AGAIN_AFTER: Duration = Duration::from_secs(8);
/// The shortest time between two symbols of a venue: a look is several requests to the server of the
/// bus.
const PACE_MIN: Duration = Duration::from_secs(1);
/// The shortest time between two log lines of a venue.
const LOG_PAUSE: Duration = Duration::from_secs(60);
/// The widest bars that are of use, ms: with wider ones, the beginning of a window has no bounds.
const WIDTH_MAX_MS: i64 = 12 * 3_600_000;
/// Binance rounds windows to a minute, and the other venues do not say what they do. Our bars of a
/// day ago are an hour wide.
const ALLOWED: Allowance = Allowance {
    step_ms: 3_600_000,
    tolerance_ms: 3_000,
    age_ms: 60_000,
};

/// One venue's rounds.
pub struct TickerReconciler {
    /// The venue.
    pub exchange: &'static str,
    /// Where the published bars are.
    pub bus: Arc<dyn Bus>,
    /// Where the newest tickers are.
    pub values: Arc<Values>,
    /// What is ours.
    pub board: Arc<SymbolBoard>,
    /// The compared instruments, as far as they are ours.
    pub watched: Vec<(InstrumentId, Symbol)>,
    /// The widths of our bars.
    pub timeframes: Vec<Timeframe>,
    /// The shortest duration of a round.
    pub interval: Duration,
}

/// A ticker whose bars are awaited.
#[derive(Clone, Copy)]
struct Waiting {
    ticker: Ticker,
    has_differed: bool,
}

/// The tickers that were taken, by the places of their symbols: each symbol has one at most.
struct Taken {
    /// How long a ticker waits.
    settled_after: Duration,
    by_due: BTreeMap<(Instant, usize), Waiting>,
    waits: BTreeSet<usize>,
    /// The event time of the last one.
    event_ms: BTreeMap<usize, UnixMillis>,
}

impl Taken {
    fn new(settled_after: Duration) -> Self {
        Self {
            settled_after,
            by_due: BTreeMap::new(),
            waits: BTreeSet::new(),
            event_ms: BTreeMap::new(),
        }
    }

    /// Takes a ticker, unless one of its symbol waits, or it was taken before.
    fn take(&mut self, at: usize, ticker: Ticker, now: Instant) {
        let Some(event_ms) = ticker.event_ms else {
            return;
        };
        if self.waits.contains(&at) || self.event_ms.insert(at, event_ms) == Some(event_ms) {
            return;
        }
        self.waits.insert(at);
        let waiting = Waiting {
            ticker,
            has_differed: false,
        };
        self.by_due.insert((now + self.settled_after, at), waiting);
    }

    /// The next one that is due by `now`; it waits no longer.
    fn due(&mut self, now: Instant) -> Option<(usize, Waiting)> {
        let first = self.by_due.first_entry()?;
        if first.key().0 > now {
            return None;
        }
        let ((_, at), waiting) = first.remove_entry();
        self.waits.remove(&at);
        Some((at, waiting))
    }

    /// It differed: it is to be compared once more.
    fn again(&mut self, at: usize, ticker: Ticker, now: Instant) {
        self.waits.insert(at);
        let waiting = Waiting {
            ticker,
            has_differed: true,
        };
        self.by_due.insert((now + AGAIN_AFTER, at), waiting);
    }

    fn next_due(&self) -> Option<Instant> {
        self.by_due.keys().next().map(|(due, _)| *due)
    }
}

/// When differences are logged.
#[derive(Default)]
struct Log {
    last: Option<Instant>,
    /// Tickers that differed since then.
    unlogged: u64,
}

impl Log {
    /// How many tickers differed without a line before this one; `None` if this one has no line.
    fn turn(&mut self, now: Instant) -> Option<u64> {
        if self.last.is_some_and(|last| now < last + LOG_PAUSE) {
            self.unlogged += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.unlogged))
    }
}

impl TickerReconciler {
    /// Goes round until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        if self.watched.is_empty() {
            stop.cancelled().await;
            return;
        }
        let pace = self.pace();
        let mut taken = Taken::new(self.settled_after());
        let mut log = Log::default();
        let (mut at, mut turn) = (0, Instant::now() + pace);
        loop {
            let next = taken.next_due().map_or(turn, |due| due.min(turn));
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep_until(next) => {}
            }
            if turn <= Instant::now() {
                let (instrument, _) = self.watched[at];
                let newest = self.values.newest_ticker(instrument);
                if let Some(ticker) = newest.filter(|_| self.board.is_held(instrument)) {
                    taken.take(at, ticker, Instant::now());
                }
                at = (at + 1) % self.watched.len();
                turn = Instant::now() + pace;
            }
            let Some((of, waiting)) = taken.due(Instant::now()) else {
                continue;
            };
            tokio::select! {
                () = stop.cancelled() => return,
                verdicts = self.look(of, &waiting.ticker) => {
                    let Some(verdicts) = verdicts else { continue };
                    let differs = differences(&verdicts).next().is_some();
                    if differs && !waiting.has_differed {
                        taken.again(of, waiting.ticker, Instant::now());
                    } else {
                        self.tell(of, &waiting.ticker, &verdicts, &mut log);
                    }
                }
            }
        }
    }

    /// The time between two symbols.
    fn pace(&self) -> Duration {
        let even = self.interval / u32::try_from(self.watched.len()).unwrap_or(u32::MAX);
        even.max(PACE_MIN)
    }

    /// The widths of the bars that are compared.
    fn timeframes(&self) -> impl Iterator<Item = Timeframe> {
        let all = self.timeframes.iter().copied();
        all.filter(|timeframe| timeframe.end_of(0) <= WIDTH_MAX_MS)
    }

    /// How long after a ticker the bars around it are closed.
    fn settled_after(&self) -> Duration {
        let widths_ms = self.timeframes().map(|timeframe| timeframe.end_of(0));
        let narrowest_ms = widths_ms.min().unwrap_or(0);
        SETTLED_AFTER + Duration::from_millis(narrowest_ms.unsigned_abs())
    }

    /// Compares a ticker with the bars that the bus has, which is asked once; `None` if the symbol is no longer ours, or
    /// the bus does not answer.
    async fn look(&self, at: usize, ticker: &Ticker) -> Option<[Verdict; 5]> {
        let (instrument, symbol) = &self.watched[at];
        // The bus reports its outages itself.
        let pattern = subject::records_of(symbol);
        let messages = self.bus.last_values(&pattern).await.ok()?;
        let mut own = OwnBars::default();
        for timeframe in self.timeframes() {
            let subject = subject::closed_bars(timeframe, symbol);
            let of_width = messages.iter().filter(|kept| *kept.subject == *subject);
            let bars = effective(of_width.map(|message| &*message.payload));
            own.extend(bars.values().filter_map(OwnBar::of));
        }
        if !self.board.is_held(*instrument) {
            return None;
        }
        Some(compare(ticker, &own, ALLOWED).unwrap_or([const { Verdict::Uncovered }; 5]))
    }

    fn tell(&self, at: usize, ticker: &Ticker, verdicts: &[Verdict; 5], log: &mut Log) {
        let exchange = self.exchange;
        for (field, verdict) in Field::ALL.iter().zip(verdicts) {
            let result = match verdict {
                Verdict::Agrees => "equal",
                Verdict::Differs(_) => "mismatch",
                Verdict::Uncovered => "uncovered",
            };
            metrics::counter!("marketdata_reconciled_tickers_total", "exchange" => exchange, "field" => field.name(), "result" => result)
                .increment(1);
        }
        let differences: Vec<&Difference> = differences(verdicts).collect();
        if differences.is_empty() {
            return;
        }
        if let Some(unlogged) = log.turn(Instant::now()) {
            warn!(
                exchange,
                symbol = self.watched[at].1.as_str(),
                event_ms = ticker.event_ms,
                differences = ?differences,
                unlogged,
                "a ticker differs from our bars"
            );
        }
    }
}

fn differences(verdicts: &[Verdict; 5]) -> impl Iterator<Item = &Difference> {
    verdicts.iter().filter_map(|verdict| match verdict {
        Verdict::Differs(difference) => Some(difference),
        Verdict::Agrees | Verdict::Uncovered => None,
    })
}

#[cfg(test)]
mod tests;
