//! Messages that must not be lost: closed bars and checkpoints wait here until the bus has stored
//! them.

mod batch;
mod batches;
mod settle;
mod step;

use std::collections::{HashMap, VecDeque};
use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use bus::{Bus, BusError};
use bytes::Bytes;
use market_core::{Checkpoint, subject};
use metrics::{Counter, Gauge, Histogram};
use tokio::sync::{Mutex as TurnMutex, Notify};
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span, error};

use self::batches::Batches;
use super::failure::log_refused;
use super::fence::{Refusals, Right};
pub use super::item::{Item, Snapshot};
use super::validity::{DOUBT, Validity};
pub use step::{Next, Settled, Trying};

/// How long a bar waits before it is stored. The bars of all symbols close at once, and the copies
/// for clients go first.
const LINGER: Duration = Duration::from_millis(60);

/// Lets the lanes that share it encode one state at a time.
#[derive(Clone, Debug, Default)]
pub struct EncodingTurn(Arc<TurnMutex<()>>);

/// A queue whose items are stored one after another. A checkpoint is stored only after every bar
/// that was queued before it. Otherwise a restart from it would skip a bar that is stored nowhere.
pub struct Lane {
    state: Mutex<State>,
    filled: Notify,
    /// Something was stored, or given up.
    settled: Notify,
    bars_max: usize,
    /// Whether bars are stored in the journal, too.
    has_journal: bool,
    /// Where bars go that the bus refuses because of their fence.
    refusals: Option<Arc<Refusals>>,
    /// Until when what no fence protects may be stored.
    validity: Arc<Validity>,
    encoding: EncodingTurn,
    batches: Batches,
    dropped: Counter,
    stored: Counter,
    refused_checkpoints: Counter,
    withheld_checkpoints: Counter,
    checkpoint_bytes: Histogram,
    encode_time: Histogram,
    depth: Gauge,
}

#[derive(Default)]
struct State {
    /// Bars, each with the time from which on it may be stored.
    bars: VecDeque<(Instant, Item)>,
    /// Number of bars that were queued, and that were stored or given up, since the start.
    queued: u64,
    done: u64,
    /// The newest checkpoint of each subject, with the value that `done` must reach before it.
    checkpoints: HashMap<Arc<str>, (u64, Saved)>,
    /// Subjects in `checkpoints`, oldest first.
    checkpoint_order: VecDeque<Arc<str>>,
    /// Bars that are being stored.
    storing_bars: usize,
    /// The subject of the checkpoint that is being stored.
    storing: Option<Arc<str>>,
    /// The item that is being stored: since when, and the last error.
    trying: Option<Trying>,
}

/// A checkpoint that waits.
enum Saved {
    Bytes(Bytes, Option<Right>),
    State(Box<Checkpoint>, Right),
}

impl Lane {
    /// A lane of at most `bars_max` bars, which shares `encoding` with others.
    #[must_use]
    pub fn new(bars_max: usize, index: usize, encoding: EncodingTurn) -> Self {
        Self {
            state: Mutex::default(),
            filled: Notify::new(),
            settled: Notify::new(),
            bars_max,
            has_journal: false,
            refusals: None,
            validity: Arc::new(Validity::for_ever()),
            encoding,
            batches: Batches::new(true),
            dropped: metrics::counter!("marketdata_publish_dropped_total", "kind" => "stored_bar"),
            stored: metrics::counter!("marketdata_published_total", "kind" => "stored_bar"),
            refused_checkpoints: metrics::counter!("marketdata_checkpoints_refused_total"),
            withheld_checkpoints: metrics::counter!("marketdata_checkpoints_withheld_total"),
            checkpoint_bytes: metrics::histogram!("marketdata_checkpoint_bytes"),
            encode_time: metrics::histogram!("marketdata_checkpoint_encode_seconds"),
            depth: metrics::gauge!("marketdata_bars_waiting", "lane" => index.to_string()),
        }
    }

    /// The same, for bars that are stored in the journal, too.
    #[must_use]
    pub fn with_journal(self, has_journal: bool) -> Self {
        Self {
            has_journal,
            ..self
        }
    }

    /// The same, with a place for refused bars.
    #[must_use]
    pub fn with_refusals(self, refusals: Arc<Refusals>) -> Self {
        Self {
            refusals: Some(refusals),
            ..self
        }
    }

    /// The same; bars are stored together only if `is_wanted`.
    #[must_use]
    pub fn with_batches(self, is_wanted: bool) -> Self {
        Self {
            batches: Batches::new(is_wanted),
            ..self
        }
    }

    /// The same, for a program that publishes only while `validity` holds.
    #[must_use]
    pub fn with_validity(self, validity: Arc<Validity>) -> Self {
        Self { validity, ..self }
    }

    /// Whether bars are stored in the journal, too.
    #[must_use]
    pub fn has_journal(&self) -> bool {
        self.has_journal
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("no code panics while it holds the lane")
    }

    /// Queues a closed bar; the oldest is dropped and counted if there is no room.
    pub fn push(&self, item: Item) {
        let mut state = self.state();
        if state.bars.len() >= self.bars_max {
            state.bars.pop_front();
            state.done += 1;
            self.dropped.increment(1);
        }
        state.bars.push_back((Instant::now() + LINGER, item));
        state.queued += 1;
        self.depth.set(state.bars.len() as f64);
        drop(state);
        self.filled.notify_one();
    }

    /// Queues a bar again that is probably stored. It goes only into the first half of the queue, so
    /// that bars have room; without room it is dropped and counted.
    pub fn push_again(&self, item: Item) {
        if self.state().bars.len() >= self.bars_max / 2 {
            self.dropped.increment(1);
        } else {
            self.push(item);
        }
    }

    /// Queues a checkpoint, in the place of an older one of its subject.
    pub fn set_checkpoint(&self, item: Item) {
        self.set(item.subject, Saved::Bytes(item.payload, item.right));
    }

    /// Queues a symbol's state, in the place of an older one of its subject.
    pub fn set_snapshot(&self, snapshot: Snapshot) {
        self.set(
            snapshot.subject,
            Saved::State(snapshot.state, snapshot.right),
        );
    }

    fn set(&self, subject: Arc<str>, saved: Saved) {
        let mut state = self.state();
        let after = state.queued;
        let replaced = state
            .checkpoints
            .insert(Arc::clone(&subject), (after, saved));
        if replaced.is_none() {
            state.checkpoint_order.push_back(subject);
        }
        drop(state);
        self.filled.notify_one();
        // After the lock: to drop a state takes time.
        drop(replaced);
    }

    /// The task at `now`.
    #[must_use]
    pub fn next(&self, now: Instant) -> Next {
        let mut state = self.state();
        if let Some(checkpoint) = state.take_checkpoint() {
            state.storing_bars = 0;
            state.storing = match &checkpoint {
                Next::Store(Item { subject, .. }) | Next::Encode(Snapshot { subject, .. }) => {
                    Some(Arc::clone(subject))
                }
                Next::Wait | Next::WaitUntil(_) => None,
            };
            state.trying = Some(Trying {
                since: now,
                error: None,
            });
            return checkpoint;
        }
        match state.bars.front() {
            None => Next::Wait,
            Some(&(at, _)) if now < at => Next::WaitUntil(at),
            Some(_) => {
                let (_, bar) = state.bars.pop_front().expect("there is one");
                state.storing_bars = 1;
                state.trying = Some(Trying {
                    since: now,
                    error: None,
                });
                self.depth.set(state.bars.len() as f64);
                Next::Store(bar)
            }
        }
    }

    /// The item of [`Lane::next`] needs no more work.
    pub fn done(&self, settled: Settled) {
        let mut state = self.state();
        state.storing = None;
        if state.storing_bars <= 1 {
            state.trying = None;
        }
        if state.storing_bars > 0 {
            state.storing_bars -= 1;
            state.done += 1;
            match settled {
                Settled::Stored => self.stored.increment(1),
                Settled::Dropped => self.dropped.increment(1),
                Settled::Fenced => {}
            }
        }
        drop(state);
        self.settled.notify_waiters();
    }

    /// Completes when every bar queued so far, and the checkpoint of `subject`, is stored or given
    /// up.
    pub async fn flushed(&self, subject: &str) {
        let target = self.state().queued;
        loop {
            // Created before the check, so that no notification is missed.
            let settled = self.settled.notified();
            {
                let state = self.state();
                let is_waiting = state.checkpoints.contains_key(subject)
                    || state.storing.as_deref() == Some(subject);
                if state.done >= target && !is_waiting {
                    return;
                }
            }
            settled.await;
        }
    }

    /// The subjects under which an item is stored. Gateways read the newest bars of the record, and
    /// history reads all of the journal.
    fn places(&self, item: &Item) -> Vec<Arc<str>> {
        let journal = subject::journal(&item.subject).filter(|_| self.has_journal);
        let mut places = vec![Arc::clone(&item.subject)];
        places.extend(journal.map(Arc::from));
        places
    }

    /// What is being stored now, if anything.
    #[must_use]
    pub fn trying(&self) -> Option<Trying> {
        self.state().trying.clone()
    }

    /// Reports an item that the bus will never accept.
    fn refused(&self, item: &Item, error: &BusError) {
        if subject::is_state(&item.subject) {
            self.refused_checkpoints.increment(1);
            error!(
                subject = &*item.subject,
                bytes = item.payload.len(),
                error = %error,
                "the bus refuses this checkpoint: after a restart the symbol continues from an older one; if it is too large, raise max_payload of nats-server"
            );
        } else {
            log_refused(&item.subject, error);
        }
    }

    /// Takes note of a bar that was refused because its lease is not ours any more. The program that holds
    /// it publishes the bar; if that is we under a new number, the outbox offers it again.
    fn fenced(&self, item: &Item, error: &BusError) {
        match (&self.refusals, &item.fence) {
            (Some(refusals), Some(fence)) => refusals.add((**fence).clone()),
            _ => self.refused(item, error),
        }
    }

    fn failed(&self, error: BusError) {
        if let Some(trying) = &mut self.state().trying {
            trying.error = Some(error);
        }
    }

    async fn encode(&self, snapshot: Snapshot) -> Item {
        let _turn = self.encoding.0.lock().await;
        let began = Instant::now();
        let Snapshot {
            subject,
            state,
            right,
        } = snapshot;
        let of = Arc::clone(&subject);
        let encoded = spawn_blocking(move || state.encode(&of)).await;
        // The task is never aborted, so an error is a panic: it must end this lane, too.
        let payload = encoded.unwrap_or_else(|error| resume_unwind(error.into_panic()));
        self.encode_time.record(began.elapsed());
        self.checkpoint_bytes.record(payload.len() as f64);
        Item::under(right, subject, payload.into())
    }

    /// Whether an item may be stored. What no fence protects waits while the program does not know
    /// whether its leases are its own, and is left to who took them.
    async fn may_store(&self, item: &Item) -> bool {
        let Some(right) = &item.right else {
            return true;
        };
        while right.holds() && !self.validity.holds() {
            tokio::time::sleep(DOUBT).await;
        }
        right.holds()
    }

    /// Stores items until `stop`, and then the remaining ones.
    pub async fn run(self: Arc<Self>, bus: Arc<dyn Bus>, stop: CancellationToken) {
        loop {
            let is_stopping = stop.is_cancelled();
            let now = Instant::now();
            let item = match self.next(if is_stopping { now + LINGER } else { now }) {
                Next::Store(item) => {
                    let others = self.take_others(&item, now);
                    if !others.is_empty() {
                        self.settle_all(&*bus, item, others).await;
                        continue;
                    }
                    item
                }
                Next::Encode(snapshot) => self.encode(snapshot).await,
                Next::Wait if is_stopping => return,
                Next::Wait => {
                    tokio::select! {
                        () = self.filled.notified() => {}
                        () = stop.cancelled() => {}
                    }
                    continue;
                }
                Next::WaitUntil(at) => {
                    tokio::select! {
                        () = self.filled.notified() => {}
                        () = tokio::time::sleep_until(at.into()) => {}
                        () = stop.cancelled() => {}
                    }
                    continue;
                }
            };
            let trace = item.trace.as_deref();
            let log = trace.map_or_else(Span::none, |trace| trace.log_span());
            self.settle(&*bus, &item).instrument(log).await;
        }
    }
}

impl State {
    /// The oldest checkpoint that waits for no bar.
    fn take_checkpoint(&mut self) -> Option<Next> {
        for _ in 0..self.checkpoint_order.len() {
            let subject = self.checkpoint_order.pop_front()?;
            let (after, _) = self.checkpoints.get(&subject)?;
            if *after <= self.done {
                let (_, saved) = self.checkpoints.remove(&subject)?;
                return Some(match saved {
                    Saved::Bytes(payload, right) => Next::Store(Item {
                        right,
                        ..Item::new(subject, payload)
                    }),
                    Saved::State(state, right) => Next::Encode(Snapshot {
                        subject,
                        state,
                        right,
                    }),
                });
            }
            self.checkpoint_order.push_back(subject);
        }
        None
    }
}

#[cfg(test)]
mod tests;
