//! The outgoing messages of one worker, in bounded queues. The worker never waits for the bus.
//!
//! A symbol whose lease is not ours is a standby's: its bars are kept, and nothing of it goes out.
//! See `holding`.

mod holding;
mod put_back;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use market_core::channel::TRADE;
use market_core::wire::{GapMessage, JsonMessage, Stamp, encode_trade_entry};
use market_core::{
    Bar, Checkpoint, GapEvent, Timeframe, TimeframeSet, Topic, Trade, UnixMicros, UnixMillis,
    subject,
};
use metrics::Counter;
use service::{Sampler, TraceContext};
use tokio::sync::Notify;

use super::book::Book;
use super::boundary::Boundaries;
use super::durable::{Lane, Snapshot};
use super::fence::{Hold, Refusals, Right};
use super::message::{Encoded, EncodedBar, FormingBar, Publication, Trigger, Work};
use super::trace::Traced;
use crate::host_clock::now_us;
use crate::instrument::InstrumentId;

/// Most trades in a row: after them, bars have their turn again.
const TRADES_AT_ONCE: usize = 256;
/// Most forming bars in a row: after them, closed bars have their turn again.
const FORMING_AT_ONCE: usize = 128;
/// Most gap events that wait.
const EVENTS_MAX: usize = 1_024;

/// Bounds of an outbox.
#[derive(Clone, Copy, Debug)]
pub struct OutboxBounds {
    /// Most closed bars that wait.
    pub bars_max: usize,
    /// Most trades that wait.
    pub trades_max: usize,
}

/// See the module. A symbol is named by its index in the list that the outbox was made from.
pub struct Outbox {
    state: Mutex<State>,
    filled: Notify,
    /// Closed bars were published, or given up.
    published: Notify,
    symbols: Vec<Symbols>,
    /// The index of an instrument in `symbols`.
    slots: HashMap<InstrumentId, usize>,
    timeframes: Vec<Timeframe>,
    topics: Vec<TopicNames>,
    lanes: Vec<Arc<Lane>>,
    boundaries: Arc<Boundaries>,
    refusals: Arc<Refusals>,
    bounds: OutboxBounds,
    dropped_bars: Counter,
    dropped_own: Counter,
    dropped_trades: Counter,
    dropped_events: Counter,
}

struct Symbols {
    publication: Publication,
    trade_topic: Topic,
    trade_subject: Arc<str>,
    checkpoint_subject: Arc<str>,
    lane: usize,
}

struct TopicNames {
    topic: Topic,
    subject: Arc<str>,
    closed_subject: Arc<str>,
}

struct State {
    /// By symbol: under what it is published here; `None` while it is a standby's.
    holds: Vec<Option<Hold>>,
    /// By symbol: for what is on its way under the lease of now.
    rights: Vec<Right>,
    /// By symbol: the number of the newest lease of another program.
    claimed: Vec<u64>,
    /// Symbols of which a bar was heard that the bus may have refused, since they were taken last.
    doubted: BTreeSet<usize>,
    /// By symbol: the first unpublished time of each timeframe, after its first trade.
    begun: Vec<Option<Vec<UnixMillis>>>,
    /// By topic.
    books: Vec<Book>,
    /// By topic.
    seqs: Vec<u64>,
    /// By topic: the newest forming bar that was not published yet.
    forming: Vec<Option<Bar>>,
    /// Topics that got a forming bar, in this order. Some may have lost it since then.
    waiting: VecDeque<usize>,
    /// By topic: whether it is in `waiting`.
    is_waiting: Vec<bool>,
    closed: VecDeque<EncodedBar>,
    /// Closed bars taken, and closed bars published or given up, since the start.
    closed_taken: u64,
    closed_done: u64,
    events: VecDeque<Encoded>,
    /// By symbol: the number of its last trade.
    trade_seqs: Vec<u64>,
    trades: VecDeque<NumberedTrade>,
    /// Chooses the bars that are traced, closed and forming ones each by their own count: otherwise a
    /// closed bar, which comes after many forming ones, would hardly ever be chosen.
    closed_sampler: Sampler,
    forming_sampler: Sampler,
}

struct NumberedTrade {
    symbol: usize,
    /// The epoch in which the number counts.
    epoch: u64,
    seq: u64,
    trade: Trade,
}

impl Outbox {
    /// An outbox for `publications`, none of which is ours to publish yet. Closed bars and
    /// checkpoints are also stored by `lanes`; bars that these could not store because of their fence
    /// are in `refusals`.
    #[must_use]
    pub fn new(
        publications: Vec<Publication>,
        timeframes: &TimeframeSet,
        lanes: Vec<Arc<Lane>>,
        boundaries: Arc<Boundaries>,
        refusals: Arc<Refusals>,
        bounds: OutboxBounds,
    ) -> Self {
        let timeframes = timeframes.as_slice().to_vec();
        let mut topics = Vec::new();
        let mut symbols = Vec::new();
        let mut slots = HashMap::new();
        for (index, publication) in publications.into_iter().enumerate() {
            let symbol = &publication.symbol;
            for &timeframe in &timeframes {
                topics.push(TopicNames {
                    topic: Topic::bars(timeframe, symbol),
                    subject: subject::bars(timeframe, symbol).into(),
                    closed_subject: subject::closed_bars(timeframe, symbol).into(),
                });
            }
            slots.insert(publication.instrument, index);
            symbols.push(Symbols {
                trade_topic: Topic::of_symbol(&TRADE, symbol),
                trade_subject: subject::trades(publication.exchange, symbol).into(),
                checkpoint_subject: subject::checkpoint(publication.exchange, symbol).into(),
                lane: index % lanes.len(),
                publication,
            });
        }
        let dropped = |kind: &'static str| metrics::counter!("marketdata_publish_dropped_total", "kind" => kind);
        Self {
            state: Mutex::new(State {
                holds: vec![None; symbols.len()],
                rights: symbols.iter().map(|_| Right::default()).collect(),
                claimed: vec![0; symbols.len()],
                doubted: BTreeSet::new(),
                begun: vec![None; symbols.len()],
                books: topics.iter().map(|_| Book::default()).collect(),
                seqs: vec![0; topics.len()],
                forming: vec![None; topics.len()],
                waiting: VecDeque::new(),
                is_waiting: vec![false; topics.len()],
                closed: VecDeque::new(),
                closed_taken: 0,
                closed_done: 0,
                events: VecDeque::new(),
                trade_seqs: vec![0; symbols.len()],
                trades: VecDeque::new(),
                closed_sampler: Sampler::default(),
                forming_sampler: Sampler::default(),
            }),
            filled: Notify::new(),
            published: Notify::new(),
            symbols,
            slots,
            timeframes,
            topics,
            lanes,
            boundaries,
            refusals,
            bounds,
            dropped_bars: dropped("closed_bar"),
            dropped_own: dropped("standby_bar"),
            dropped_trades: dropped("trade"),
            dropped_events: dropped("event"),
        }
    }

    /// The boundaries of the symbols of all workers.
    #[must_use]
    pub fn boundaries(&self) -> &Boundaries {
        &self.boundaries
    }

    /// How many symbols it was made for.
    #[must_use]
    pub fn len(&self) -> usize {
        self.symbols.len()
    }

    /// Whether it was made for no symbol.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.symbols.is_empty()
    }

    /// The index of an instrument, if it is one of them.
    #[must_use]
    pub fn slot(&self, instrument: InstrumentId) -> Option<usize> {
        self.slots.get(&instrument).copied()
    }

    /// The symbol is handed on: a forming bar of it that waits is not published.
    pub fn retire(&self, symbol: usize) {
        let first = symbol * self.timeframes.len();
        let mut state = self.state();
        for forming in &mut state.forming[first..first + self.timeframes.len()] {
            *forming = None;
        }
    }

    /// This number of closed bars of [`Self::take`] were published or given up.
    pub fn published(&self, closed: u64) {
        if closed > 0 {
            self.state().closed_done += closed;
            self.published.notify_waiters();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("no code panics while it holds the outbox")
    }

    fn topic_index(&self, symbol: usize, timeframe: Timeframe) -> usize {
        let timeframe_index = self
            .timeframes
            .iter()
            .position(|&known| known == timeframe)
            .expect("bars come in the configured timeframes");
        symbol * self.timeframes.len() + timeframe_index
    }

    /// Queues a closed bar or a revision at `now_us`, unless it is published already. `trigger` is
    /// the input that closed it.
    pub fn closed(&self, symbol: usize, bar: &Bar, now_us: UnixMicros, trigger: Trigger) {
        let index = self.topic_index(symbol, bar.timeframe);
        let mut state = self.state();
        if state.books[index].keep(bar) {
            self.dropped_own.increment(1);
        }
        // A forming bar that is not newer is outdated, also if another program publishes the closed one.
        if state.forming[index].is_some_and(|forming| forming.start_ms <= bar.start_ms) {
            state.forming[index] = None;
        }
        if self.offer(&mut state, index, bar, true, now_us, trigger) {
            drop(state);
            self.filled.notify_one();
        }
    }

    /// Queues a forming bar. It replaces one of the topic that was not published yet.
    pub fn forming(&self, symbol: usize, bar: &Bar) {
        let index = self.topic_index(symbol, bar.timeframe);
        let mut state = self.state();
        state.forming[index] = Some(*bar);
        if state.holds[symbol].is_none() {
            return;
        }
        if !std::mem::replace(&mut state.is_waiting[index], true) {
            state.waiting.push_back(index);
        }
        drop(state);
        self.filled.notify_one();
    }

    /// Queues trades, each with its symbol. A trade that is dropped leaves a hole in the numbers, so
    /// that readers know of it.
    pub fn trades(&self, trades: impl Iterator<Item = (usize, Trade)>) {
        let mut state = self.state();
        for (symbol, trade) in trades {
            let Some(epoch) = state.holds[symbol].as_ref().map(|hold| hold.epoch) else {
                continue;
            };
            state.trade_seqs[symbol] += 1;
            let seq = state.trade_seqs[symbol];
            if state.trades.len() >= self.bounds.trades_max {
                state.trades.pop_front();
                self.dropped_trades.increment(1);
            }
            state.trades.push_back(NumberedTrade {
                symbol,
                epoch,
                seq,
                trade,
            });
        }
        drop(state);
        self.filled.notify_one();
    }

    /// Queues the event of a gap, with its trace if it has one.
    pub fn gap(&self, symbol: usize, event: &GapEvent, trace: Option<TraceContext>) {
        let publication = &self.symbols[symbol].publication;
        let payload = GapMessage::new(publication.exchange, &publication.symbol, event).encode();
        let mut state = self.state();
        if state.holds[symbol].is_none() {
            return;
        }
        if state.events.len() >= EVENTS_MAX {
            state.events.pop_front();
            self.dropped_events.increment(1);
        }
        let event = Encoded {
            subject: Arc::from(subject::GAP_EVENTS),
            payload,
            right: state.rights[symbol].clone(),
            trace: trace.map(|trace| (Traced::gap(trace), now_us())),
        };
        state.events.push_back(event);
        drop(state);
        self.filled.notify_one();
    }

    /// Queues a symbol's state. It is stored after the closed bars before it.
    pub fn checkpoint(&self, symbol: usize, state: Checkpoint) {
        let outbox = self.state();
        // The holder saves its own.
        if outbox.holds[symbol].is_none() {
            return;
        }
        let right = outbox.rights[symbol].clone();
        drop(outbox);
        let entry = &self.symbols[symbol];
        self.lanes[entry.lane].set_snapshot(Snapshot {
            subject: Arc::clone(&entry.checkpoint_subject),
            state: Box::new(state),
            right,
        });
    }

    /// Completes when there may be something to publish.
    pub async fn filled(&self) {
        self.filled.notified().await;
    }

    /// Takes the messages to publish next.
    #[must_use]
    pub fn take(&self) -> Work {
        let mut state = self.state();
        let mut work = Work {
            closed: std::mem::take(&mut state.closed),
            events: std::mem::take(&mut state.events),
            ..Work::default()
        };
        while work.forming.len() < FORMING_AT_ONCE {
            let Some(index) = state.waiting.pop_front() else {
                break;
            };
            state.is_waiting[index] = false;
            let hold = &state.holds[index / self.timeframes.len()];
            let Some(epoch) = hold.as_ref().map(|hold| hold.epoch) else {
                continue;
            };
            let Some(bar) = state.forming[index].take() else {
                continue;
            };
            state.seqs[index] += 1;
            let trace = state.forming_sampler.trace(false);
            let names = &self.topics[index];
            let publication = &self.symbols[index / self.timeframes.len()].publication;
            work.forming.push(FormingBar {
                topic: names.topic.clone(),
                exchange: publication.exchange,
                symbol: publication.symbol.clone(),
                subject: Arc::clone(&names.subject),
                seq: state.seqs[index],
                epoch,
                bar,
                right: state.rights[index / self.timeframes.len()].clone(),
                trace: trace.map(|trace| Traced::bar(trace, &bar)),
            });
        }
        let count = state.trades.len().min(TRADES_AT_ONCE);
        let State { trades, rights, .. } = &mut *state;
        let taken = trades.drain(..count);
        let trades: Vec<(NumberedTrade, Right)> = taken
            .map(|numbered| {
                let right = rights[numbered.symbol].clone();
                (numbered, right)
            })
            .collect();
        drop(state);
        let published_us = now_us();
        for (numbered, right) in trades {
            let NumberedTrade {
                symbol,
                epoch,
                seq,
                trade,
            } = numbered;
            let entry = &self.symbols[symbol];
            let Publication {
                exchange, symbol, ..
            } = &entry.publication;
            let stamp = Stamp {
                seq,
                epoch,
                published_us,
            };
            let payload = encode_trade_entry(&entry.trade_topic, exchange, symbol, &trade, stamp);
            work.trades.push(Encoded {
                subject: Arc::clone(&entry.trade_subject),
                payload,
                right,
                trace: None,
            });
        }
        work
    }
}

#[cfg(test)]
mod tests;
