//! Quotes, tickers and books on their way to the bus: the newest of each symbol, at an interval.
//!
//! They do not pass the workers: a burst of quotes must not delay a bar or push a trade out of a
//! queue. A symbol has room for one of each, so nothing here grows.

mod heartbeat;

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use bus::Bus;
use bytes::Bytes;
use market_core::channel::{BOOK, QUOTE, TICKER};
use market_core::wire::{BookMessage, JsonMessage, QuoteMessage, Stamp, TickerMessage};
use market_core::{BookFault, BookTop, Quote, Symbol, Ticker, UnixMicros, subject};
use metrics::Counter;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use self::heartbeat::Heartbeat;
use super::failure::log_refused;
use super::validity::Validity;
use crate::feed::connection::Value;
use crate::host_clock::now_us;
use crate::instrument::{Instrument, InstrumentId};

/// How long a quote with a lower number than the last one is that of a slower connection, µs. After
/// this time, the venue has begun to count again.
const OLDER_MAX_US: UnixMicros = 10_000_000;

/// The best levels of a book, or why there is none.
pub type PublishedBook = Result<Arc<BookTop>, BookFault>;

/// A kind of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The best bid and ask.
    Quotes,
    /// The last 24 hours.
    Tickers,
    /// The best levels of the order book.
    Books,
}

/// See the module. Symbols are known by their ids in the plan.
pub struct Values {
    symbols: Vec<Names>,
    epoch_of: EpochOf,
    state: Mutex<State>,
    conflated: [Counter; 3],
    older: Counter,
}

/// The epoch under which an instrument is published here; `None` while another program publishes it.
pub type EpochOf = Box<dyn Fn(InstrumentId) -> Option<u64> + Send + Sync>;

struct Names {
    exchange: &'static str,
    symbol: Symbol,
    subjects: [String; 3],
}

struct State {
    quotes: Newest<Quote>,
    tickers: Newest<Ticker>,
    books: Newest<PublishedBook>,
}

struct Newest<T> {
    by_symbol: Vec<Held<T>>,
    /// The symbols whose value was not published yet, in the order in which they changed.
    changed: Vec<InstrumentId>,
}

struct Held<T> {
    value: Option<T>,
    is_changed: bool,
    seq: u64,
}

impl<T: Clone> Newest<T> {
    fn new(symbols: usize) -> Self {
        let held = || Held {
            value: None,
            is_changed: false,
            seq: 0,
        };
        Self {
            by_symbol: (0..symbols).map(|_| held()).collect(),
            changed: Vec::new(),
        }
    }

    /// Takes a value; true if it replaced one that was not published yet.
    fn put(&mut self, instrument: InstrumentId, value: T) -> bool {
        self.by_symbol[instrument].value = Some(value);
        !self.mark(instrument)
    }

    /// The symbol's value is to be published; false if it was already.
    fn mark(&mut self, instrument: InstrumentId) -> bool {
        let is_changed = &mut self.by_symbol[instrument].is_changed;
        let is_new = !std::mem::replace(is_changed, true);
        if is_new {
            self.changed.push(instrument);
        }
        is_new
    }

    /// The values to publish, with their epochs and numbers. A value of a symbol that another program
    /// publishes waits until this program publishes the symbol: what the other one published last may
    /// be wrong for hours.
    fn take(
        &mut self,
        epoch_of: impl Fn(InstrumentId) -> Option<u64>,
    ) -> Vec<(InstrumentId, Stamp, T)> {
        let mut taken = Vec::with_capacity(self.changed.len());
        for instrument in std::mem::take(&mut self.changed) {
            let held = &mut self.by_symbol[instrument];
            held.is_changed = false;
            let Some(value) = held.value.clone() else {
                continue;
            };
            let Some(epoch) = epoch_of(instrument) else {
                self.mark(instrument);
                continue;
            };
            held.seq += 1;
            let stamp = Stamp {
                seq: held.seq,
                epoch,
                published_us: now_us(),
            };
            taken.push((instrument, stamp, value));
        }
        taken
    }
}

impl Values {
    /// No values of `instruments` yet. Those without an epoch are not published.
    #[must_use]
    pub fn new(instruments: &[Instrument], epoch_of: EpochOf) -> Self {
        let names = |instrument: &Instrument| Names {
            exchange: instrument.exchange,
            symbol: instrument.symbol.clone(),
            subjects: [&QUOTE, &TICKER, &BOOK].map(|channel| {
                subject::of_symbol(channel, instrument.exchange, &instrument.symbol)
            }),
        };
        let conflated = |kind: &'static str| metrics::counter!("marketdata_values_conflated_total", "kind" => kind);
        Self {
            symbols: instruments.iter().map(names).collect(),
            epoch_of,
            state: Mutex::new(State {
                quotes: Newest::new(instruments.len()),
                tickers: Newest::new(instruments.len()),
                books: Newest::new(instruments.len()),
            }),
            conflated: [conflated("quote"), conflated("ticker"), conflated("book")],
            older: metrics::counter!("marketdata_values_older_total"),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("no code panics while it holds the values")
    }

    /// Takes values, each of which replaces the one before.
    pub fn put(&self, values: impl Iterator<Item = (InstrumentId, Value)>) {
        let mut values = values.peekable();
        if values.peek().is_none() {
            return;
        }
        let mut state = self.state();
        for (instrument, value) in values {
            let (is_conflated, kind) = match value {
                Value::Quote(quote) => {
                    let held = state.quotes.by_symbol[instrument].value;
                    if held.is_some_and(|held| is_older(&quote, &held)) {
                        self.older.increment(1);
                        continue;
                    }
                    (state.quotes.put(instrument, quote), Kind::Quotes)
                }
                Value::Ticker(ticker) => (state.tickers.put(instrument, ticker), Kind::Tickers),
            };
            if is_conflated {
                self.conflated[kind as usize].increment(1);
            }
        }
    }

    /// A symbol becomes ours: what is left from its last time here is old.
    pub(crate) fn forget(&self, instrument: InstrumentId) {
        let mut state = self.state();
        state.quotes.by_symbol[instrument].value = None;
        state.tickers.by_symbol[instrument].value = None;
        state.books.by_symbol[instrument].value = None;
    }

    /// The newest ticker of a symbol, published or not.
    #[must_use]
    pub fn newest_ticker(&self, instrument: InstrumentId) -> Option<Ticker> {
        self.state().tickers.by_symbol[instrument].value
    }

    /// Takes books, each of which replaces the one before.
    pub(crate) fn put_books(&self, books: impl Iterator<Item = (InstrumentId, PublishedBook)>) {
        let mut books = books.peekable();
        if books.peek().is_none() {
            return;
        }
        let mut state = self.state();
        for (instrument, book) in books {
            if state.books.put(instrument, book) {
                self.conflated[Kind::Books as usize].increment(1);
            }
        }
    }

    /// What is to be published of a kind.
    fn take(&self, kind: Kind) -> Vec<(InstrumentId, u64, Bytes)> {
        let epoch_of = &*self.epoch_of;
        match kind {
            Kind::Quotes => {
                let taken = self.state().quotes.take(epoch_of);
                let message = |(instrument, stamp, quote): (InstrumentId, Stamp, Quote)| {
                    let names = &self.symbols[instrument];
                    let epoch = stamp.epoch;
                    let message = QuoteMessage::new(names.exchange, &names.symbol, &quote, stamp);
                    (instrument, epoch, message.encode())
                };
                taken.into_iter().map(message).collect()
            }
            Kind::Tickers => {
                let taken = self.state().tickers.take(epoch_of);
                let message = |(instrument, stamp, ticker): (InstrumentId, Stamp, Ticker)| {
                    let names = &self.symbols[instrument];
                    let epoch = stamp.epoch;
                    let message = TickerMessage::new(names.exchange, &names.symbol, &ticker, stamp);
                    (instrument, epoch, message.encode())
                };
                taken.into_iter().map(message).collect()
            }
            Kind::Books => {
                let taken = self.state().books.take(epoch_of);
                let message = |(instrument, stamp, book): (InstrumentId, Stamp, PublishedBook)| {
                    let names = &self.symbols[instrument];
                    let epoch = stamp.epoch;
                    let book = book.as_deref().map_err(|fault| *fault);
                    let message = BookMessage::new(names.exchange, &names.symbol, book, stamp);
                    (instrument, epoch, message.encode())
                };
                taken.into_iter().map(message).collect()
            }
        }
    }

    /// The symbol's value could not be published: the newest one is published later.
    fn keep(&self, kind: Kind, instrument: InstrumentId) {
        let mut state = self.state();
        match kind {
            Kind::Quotes => state.quotes.mark(instrument),
            Kind::Tickers => state.tickers.mark(instrument),
            Kind::Books => state.books.mark(instrument),
        };
    }

    /// The books that are due for a heartbeat are to be published.
    fn beat(&self, heartbeat: &mut Heartbeat, now: Instant) {
        let mut state = self.state();
        let books = &mut state.books;
        for instrument in heartbeat.due(books.by_symbol.len(), now) {
            if books.by_symbol[instrument].value.is_some() {
                books.mark(instrument);
            }
        }
    }

    /// Publishes the newest values of a kind at an interval while `validity` says that the leases
    /// are ours, until `stop`. A value that does not change is published again each `heartbeat`, if
    /// there is one. What changed until `stop` is published, too.
    pub async fn run(
        self: Arc<Self>,
        kind: Kind,
        every: Duration,
        heartbeat: Option<Duration>,
        bus: Arc<dyn Bus>,
        validity: Arc<Validity>,
        stop: CancellationToken,
    ) {
        let label = match kind {
            Kind::Quotes => "quote",
            Kind::Tickers => "ticker",
            Kind::Books => "book",
        };
        let meters = Meters {
            published: metrics::counter!("marketdata_published_total", "kind" => label),
            failed: metrics::counter!("marketdata_publish_failures_total"),
        };
        let mut heartbeat = heartbeat.map(Heartbeat::new);
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let is_last = tokio::select! {
                () = stop.cancelled() => true,
                now = ticks.tick() => {
                    if let Some(heartbeat) = &mut heartbeat {
                        self.beat(heartbeat, now.into_std());
                    }
                    false
                }
            };
            self.publish(kind, &*bus, &validity, &meters).await;
            // The connections have ended before: their books are lost, and the bus must not keep
            // them as right ones.
            if is_last {
                return;
            }
        }
    }

    /// Publishes the newest values that were not published yet.
    async fn publish(&self, kind: Kind, bus: &dyn Bus, validity: &Validity, meters: &Meters) {
        for (instrument, epoch, payload) in self.take(kind) {
            // For each message: the program may have stood still since the last one.
            if !validity.holds() || (self.epoch_of)(instrument) != Some(epoch) {
                self.keep(kind, instrument);
                continue;
            }
            let subject = &self.symbols[instrument].subjects[kind as usize];
            match bus.publish(subject, payload).await {
                Ok(()) => meters.published.increment(1),
                Err(error) if error.is_retryable() => {
                    meters.failed.increment(1);
                    self.keep(kind, instrument);
                }
                Err(error) => {
                    meters.failed.increment(1);
                    log_refused(subject, &error);
                }
            }
        }
    }
}

struct Meters {
    published: Counter,
    failed: Counter,
}

/// Whether a quote is from a connection that is behind another one.
fn is_older(quote: &Quote, held: &Quote) -> bool {
    let (Some(id), Some(held_id)) = (quote.update_id, held.update_id) else {
        return false;
    };
    id < held_id && quote.received_us.saturating_sub(held.received_us) < OLDER_MAX_US
}

#[cfg(test)]
mod tests;
