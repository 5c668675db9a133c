//! The running program's own check of tickers: compares them with our published bars.
//!
//! One task for each venue takes the newest ticker of its symbols in turn. Some seconds later, the
//! bars around the ticker's time are closed, and the task compares. A ticker that differs is compared
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

/// After this time, the bars around a ticker are closed. Those of a second are kept for half a
/// minute.
const SETTLED_AFTER: Duration = Duration::from_secs(12);
/// After this time, a ticker that differs is compared again.
const AGAIN_AFTER: Duration = Duration::from_secs(8);
/// The shortest time between two symbols of a venue.
const PACE_MIN: Duration = Duration::from_millis(100);
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
#[derive(Default)]
struct Taken {
    by_due: BTreeMap<(Instant, usize), Waiting>,
    waits: BTreeSet<usize>,
    /// The event time of the last one.
    event_ms: BTreeMap<usize, UnixMillis>,
}

impl Taken {
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
        self.by_due.insert((now + SETTLED_AFTER, at), waiting);
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
        let even = self.interval / u32::try_from(self.watched.len()).unwrap_or(u32::MAX);
        let pace = even.max(PACE_MIN);
        let (mut taken, mut log) = (Taken::default(), Log::default());
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

    /// Compares a ticker with the bars that the bus has; `None` if the symbol is no longer ours, or
    /// the bus does not answer.
    async fn look(&self, at: usize, ticker: &Ticker) -> Option<[Verdict; 5]> {
        let (instrument, symbol) = &self.watched[at];
        let mut own = OwnBars::default();
        let is_narrow = |timeframe: &&Timeframe| timeframe.end_of(0) <= WIDTH_MAX_MS;
        for &timeframe in self.timeframes.iter().filter(is_narrow) {
            let subject = subject::closed_bars(timeframe, symbol);
            // The bus reports its outages itself.
            let messages = self.bus.last_values(&subject).await.ok()?;
            let bars = effective(messages.iter().map(|message| &*message.payload));
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
mod tests {
    use bus::MemoryBus;
    use market_core::{Amount, Price};

    use super::*;
    use crate::instrument::Instrument;

    const DAY_MS: i64 = 24 * 3_600_000;

    fn ticker(event_ms: Option<UnixMillis>) -> Ticker {
        Ticker {
            open: None,
            high: None,
            low: None,
            last: Price::parse("1").expect("a price"),
            last_quantity: None,
            volume: Amount::ZERO,
            quote_volume: None,
            count: None,
            ids: None,
            bid: None,
            bid_quantity: None,
            ask: None,
            ask_quantity: None,
            event_ms,
            received_us: 0,
        }
    }

    /// A reconciler of one symbol, with ten bars of a second that the bus has.
    async fn with_bars() -> TickerReconciler {
        let instrument = Instrument {
            exchange: "binance",
            venue: 0,
            symbol: "A-B".parse().expect("a symbol"),
            native: "AB".to_owned(),
        };
        let bus = MemoryBus::with_streams(&service::streams());
        for second in 0..10 {
            let bar = format!(
                r#"{{"symbol":"A-B","interval":"1s","start_ms":{},"open":"5","high":"6","low":"5","close":"6","volume":"1","quote_volume":null,"taker_buy_volume":null,"taker_buy_quote_volume":null,"count":1,"state":"closed","rev":0,"quality":"complete"}}"#,
                DAY_MS * 2 + second * 1_000
            );
            let subject = subject::closed_bars(Timeframe::SECOND, &instrument.symbol);
            let stored = bus.publish_durable(&subject, bar.into()).await;
            stored.expect("the bus takes it");
        }
        let board = SymbolBoard::new(1);
        board.assign(&[(0, 1)]);
        board.set_held(0, true);
        TickerReconciler {
            exchange: "binance",
            bus: Arc::new(bus),
            values: Arc::new(Values::new(
                std::slice::from_ref(&instrument),
                Box::new(|_| None),
            )),
            board: Arc::new(board),
            watched: vec![(0, instrument.symbol)],
            timeframes: vec![Timeframe::SECOND, Timeframe::MINUTE],
            interval: Duration::from_secs(1),
        }
    }

    #[tokio::test]
    async fn each_field_of_a_ticker_is_compared_with_the_bars_on_the_bus_and_counted() {
        let metrics = service::install_metrics();
        let reconciler = with_bars().await;
        let mut good = ticker(Some(DAY_MS * 2 + 5_000));
        good.received_us = (DAY_MS * 2 + 5_000) * 1_000;
        (good.high, good.low) = (Price::parse("9").ok(), Price::parse("2").ok());
        (good.last, good.volume) = (
            Price::parse("5.5").expect("a price"),
            Amount::from_parts(2, 0),
        );
        let mut bad = good;
        bad.last = Price::parse("7").expect("a price");
        bad.volume = Amount::from_parts(1, 0);
        let mut log = Log::default();
        for ticker in [good, bad] {
            let verdicts = reconciler.look(0, &ticker).await.expect("it is ours");
            reconciler.tell(0, &ticker, &verdicts, &mut log);
        }
        assert!(log.last.is_some());
        let text = metrics.render();
        for (field, result, count) in [
            ("last", "equal", 1),
            ("last", "mismatch", 1),
            ("open", "uncovered", 2),
            ("high", "equal", 2),
            ("low", "equal", 2),
            ("volume", "equal", 1),
            ("volume", "mismatch", 1),
        ] {
            let line = format!(
                r#"marketdata_reconciled_tickers_total{{exchange="binance",field="{field}",result="{result}"}} {count}"#
            );
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        reconciler.board.set_held(0, false);
        assert_eq!(reconciler.look(0, &good).await, None);
    }

    #[test]
    fn each_symbol_has_one_ticker_waiting_at_most_and_no_ticker_is_taken_twice() {
        let mut taken = Taken::default();
        let now = Instant::now();
        let later = now + SETTLED_AFTER;
        taken.take(0, ticker(None), now);
        assert_eq!(taken.next_due(), None);
        for event_ms in [7, 8, 9] {
            taken.take(0, ticker(Some(event_ms)), now);
            taken.take(1, ticker(Some(7)), now);
        }
        assert_eq!(taken.by_due.len(), 2);
        assert!(taken.due(now).is_none());
        let (at, waiting) = taken.due(later).expect("it is due");
        assert_eq!((at, waiting.ticker.event_ms), (0, Some(7)));
        taken.take(0, ticker(Some(7)), later);
        taken.again(0, waiting.ticker, later);
        taken.take(0, ticker(Some(10)), later);
        assert_eq!(taken.due(later).map(|(at, _)| at), Some(1));
        assert!(taken.due(later).is_none());
        let (_, again) = taken.due(later + AGAIN_AFTER).expect("it is due");
        assert!(again.has_differed && again.ticker.event_ms == Some(7));
        taken.take(0, ticker(Some(7)), later);
        assert_eq!(taken.next_due(), None);
        taken.take(0, ticker(Some(11)), later);
        assert!(taken.next_due().is_some());
    }

    #[test]
    fn a_venue_has_one_log_line_a_minute_which_counts_the_others() {
        let mut log = Log::default();
        let now = Instant::now();
        assert_eq!(log.turn(now), Some(0));
        assert_eq!(log.turn(now + LOG_PAUSE / 2), None);
        assert_eq!(log.turn(now + LOG_PAUSE / 2), None);
        assert_eq!(log.turn(now + LOG_PAUSE), Some(2));
        assert_eq!(log.turn(now + LOG_PAUSE * 2), Some(0));
    }
}
