//! What nobody may miss: closed bars and checkpoints, until the bus has stored them.

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
use tracing::error;

use super::{RETRY_AFTER, log_refused};

/// How long a bar waits before it is stored: the bars of all symbols close at once, and those that
/// clients wait for go first.
const LINGER: Duration = Duration::from_millis(60);

/// Bytes and where they go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Where.
    pub subject: Arc<str>,
    /// What.
    pub payload: Bytes,
}

/// A symbol's state, and where its bytes go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Where.
    pub subject: Arc<str>,
    /// The state. It is encoded when it is stored, because many are replaced before.
    pub state: Box<Checkpoint>,
}

/// Allows one state at a time to be encoded, for all lanes that share it.
#[derive(Clone, Debug, Default)]
pub struct EncodingTurn(Arc<TurnMutex<()>>);

/// A queue whose items are stored one after another. A checkpoint is stored only when every bar
/// that was queued before it is: a restart from it must not skip a bar that nobody has.
pub struct Lane {
    state: Mutex<State>,
    filled: Notify,
    bars_max: usize,
    encoding: EncodingTurn,
    dropped: Counter,
    stored: Counter,
    refused_checkpoints: Counter,
    checkpoint_bytes: Histogram,
    encode_time: Histogram,
    depth: Gauge,
}

#[derive(Default)]
struct State {
    /// With when they may be stored.
    bars: VecDeque<(Instant, Item)>,
    /// Bars queued, and bars stored or given up, since the start.
    queued: u64,
    done: u64,
    /// The newest of each subject, and how many bars have to be done before it.
    checkpoints: HashMap<Arc<str>, (u64, Saved)>,
    /// Subjects in `checkpoints`, oldest first.
    checkpoint_order: VecDeque<Arc<str>>,
    is_storing_bar: bool,
    /// Since when the item that is being stored is tried, and why it was not taken.
    trying: Option<Trying>,
}

/// A checkpoint that waits.
enum Saved {
    Bytes(Bytes),
    State(Box<Checkpoint>),
}

/// What cannot be stored at the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trying {
    /// Since when.
    pub since: Instant,
    /// What the bus said, once it did.
    pub error: Option<BusError>,
}

/// What a lane is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Store this.
    Store(Item),
    /// Encode this and store it.
    Encode(Snapshot),
    /// Wait until then, or for more.
    WaitUntil(Instant),
    /// Wait for more.
    Wait,
}

impl Lane {
    /// A lane of at most `bars_max` bars, which shares `encoding` with others.
    #[must_use]
    pub fn new(bars_max: usize, index: usize, encoding: EncodingTurn) -> Self {
        Self {
            state: Mutex::default(),
            filled: Notify::new(),
            bars_max,
            encoding,
            dropped: metrics::counter!("marketdata_publish_dropped_total", "kind" => "stored_bar"),
            stored: metrics::counter!("marketdata_published_total", "kind" => "stored_bar"),
            refused_checkpoints: metrics::counter!("marketdata_checkpoints_refused_total"),
            checkpoint_bytes: metrics::histogram!("marketdata_checkpoint_bytes"),
            encode_time: metrics::histogram!("marketdata_checkpoint_encode_seconds"),
            depth: metrics::gauge!("marketdata_bars_waiting", "lane" => index.to_string()),
        }
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

    /// Queues a checkpoint, in the place of an older one of its subject.
    pub fn set_checkpoint(&self, item: Item) {
        self.set(item.subject, Saved::Bytes(item.payload));
    }

    /// Queues a symbol's state, in the place of an older one of its subject.
    pub fn set_snapshot(&self, snapshot: Snapshot) {
        self.set(snapshot.subject, Saved::State(snapshot.state));
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
        // Out of the lock: it may be long.
        drop(replaced);
    }

    /// What to do at `now`.
    #[must_use]
    pub fn next(&self, now: Instant) -> Next {
        let mut state = self.state();
        if let Some(checkpoint) = state.take_checkpoint() {
            state.is_storing_bar = false;
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
                state.is_storing_bar = true;
                state.trying = Some(Trying {
                    since: now,
                    error: None,
                });
                self.depth.set(state.bars.len() as f64);
                Next::Store(bar)
            }
        }
    }

    /// What [`Lane::next`] gave is stored, or will never be.
    pub fn done(&self, is_stored: bool) {
        let mut state = self.state();
        state.trying = None;
        if state.is_storing_bar {
            state.is_storing_bar = false;
            state.done += 1;
            if is_stored {
                self.stored.increment(1);
            } else {
                self.dropped.increment(1);
            }
        }
    }

    /// What is being stored now, if anything.
    #[must_use]
    pub fn trying(&self) -> Option<Trying> {
        self.state().trying.clone()
    }

    /// The bus will never take it: its subject says whose it is.
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

    fn failed(&self, error: BusError) {
        if let Some(trying) = &mut self.state().trying {
            trying.error = Some(error);
        }
    }

    async fn encode(&self, snapshot: Snapshot) -> Item {
        let _turn = self.encoding.0.lock().await;
        let began = Instant::now();
        let Snapshot { subject, state } = snapshot;
        let of = Arc::clone(&subject);
        let encoded = spawn_blocking(move || state.encode(&of)).await;
        // The task is never aborted, so an error is a panic: it must end this lane, too.
        let payload = encoded.unwrap_or_else(|error| resume_unwind(error.into_panic()));
        self.encode_time.record(began.elapsed());
        self.checkpoint_bytes.record(payload.len() as f64);
        Item {
            subject,
            payload: payload.into(),
        }
    }

    /// Stores until `stop`, and then what is left.
    pub async fn run(self: Arc<Self>, bus: Arc<dyn Bus>, stop: CancellationToken) {
        loop {
            let is_stopping = stop.is_cancelled();
            let now = Instant::now();
            let item = match self.next(if is_stopping { now + LINGER } else { now }) {
                Next::Store(item) => item,
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
            let mut failures = 0_u32;
            loop {
                match bus
                    .publish_durable(&item.subject, item.payload.clone())
                    .await
                {
                    Ok(()) => self.done(true),
                    Err(error) if error.is_retryable() => {
                        metrics::counter!("marketdata_publish_failures_total").increment(1);
                        failures = failures.saturating_add(1);
                        // Of a long outage, fewer and fewer lines.
                        if failures.is_power_of_two() {
                            tracing::warn!(subject = &*item.subject, error = %error, failures, "not stored yet, trying again");
                        }
                        self.failed(error);
                        tokio::time::sleep(RETRY_AFTER).await;
                        continue;
                    }
                    Err(error) => {
                        self.refused(&item, &error);
                        self.done(false);
                    }
                }
                break;
            }
        }
    }
}

impl State {
    /// The oldest checkpoint that has no bar to wait for.
    fn take_checkpoint(&mut self) -> Option<Next> {
        for _ in 0..self.checkpoint_order.len() {
            let subject = self.checkpoint_order.pop_front()?;
            let (after, _) = self.checkpoints.get(&subject)?;
            if *after <= self.done {
                let (_, saved) = self.checkpoints.remove(&subject)?;
                return Some(match saved {
                    Saved::Bytes(payload) => Next::Store(Item { subject, payload }),
                    Saved::State(state) => Next::Encode(Snapshot { subject, state }),
                });
            }
            self.checkpoint_order.push_back(subject);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use bus::MemoryBus;
    use market_core::{AggressorSide, Origin, Pipeline, PipelineConfig, Price, Quantity, Trade};

    use super::*;

    fn item(subject: &str, payload: &'static str) -> Item {
        Item {
            subject: subject.into(),
            payload: payload.into(),
        }
    }

    /// What is next once bars have waited.
    fn next(lane: &Lane) -> Option<Item> {
        match lane.next(Instant::now() + LINGER) {
            Next::Store(item) => Some(item),
            Next::Wait => None,
            Next::WaitUntil(_) => panic!("it has waited"),
            Next::Encode(_) => panic!("these are bytes"),
        }
    }

    #[test]
    fn a_bar_waits_for_those_that_clients_wait_for() {
        let lane = Lane::new(10, 0, EncodingTurn::default());
        let before = Instant::now();
        lane.push(item("closed.a", "1"));
        let Next::WaitUntil(at) = lane.next(before) else {
            panic!("it may not be stored yet");
        };
        assert!(at >= before + LINGER);
        assert_eq!(lane.next(at), Next::Store(item("closed.a", "1")));
    }

    #[test]
    fn a_checkpoint_waits_for_the_bars_before_it_and_the_newest_counts() {
        let lane = Lane::new(10, 0, EncodingTurn::default());
        lane.push(item("closed.a", "1"));
        lane.set_checkpoint(item("state.a", "old"));
        lane.set_checkpoint(item("state.a", "new"));
        lane.push(item("closed.a", "2"));
        assert_eq!(next(&lane), Some(item("closed.a", "1")));
        lane.done(true);
        assert_eq!(next(&lane), Some(item("state.a", "new")));
        lane.done(true);
        assert_eq!(next(&lane), Some(item("closed.a", "2")));
        lane.done(true);
        assert_eq!(next(&lane), None);
    }

    #[test]
    fn the_oldest_bar_makes_room_and_does_not_hold_up_checkpoints() {
        let lane = Lane::new(2, 0, EncodingTurn::default());
        for payload in ["1", "2", "3"] {
            lane.push(item("closed.a", payload));
        }
        lane.set_checkpoint(item("state.a", "s"));
        for payload in ["2", "3"] {
            assert_eq!(next(&lane), Some(item("closed.a", payload)));
            lane.done(true);
        }
        assert_eq!(next(&lane), Some(item("state.a", "s")));
    }

    /// A symbol's state after its trade of this id.
    fn snapshot(subject: &str, id: u64) -> Snapshot {
        let mut pipeline = Pipeline::new(&PipelineConfig::default());
        let trade = Trade {
            first_id: id,
            last_id: id,
            event_ms: 1_700_000_000_000,
            price: Price::parse("1").expect("price"),
            quantity: Quantity::parse("1").expect("quantity"),
            aggressor_side: AggressorSide::Buy,
            received_us: 0,
        };
        pipeline.feed_up(trade.event_ms);
        pipeline.offer(&trade, Origin::Live, trade.event_ms, &mut Vec::new());
        Snapshot {
            subject: subject.into(),
            state: Box::new(pipeline.checkpoint().expect("short")),
        }
    }

    async fn saved(bus: &MemoryBus, pattern: &str) -> Vec<Option<u64>> {
        let messages = bus.last_values(pattern).await.expect("the bus is there");
        let next_id = |message: &bus::Message| {
            let config = PipelineConfig::default();
            let restored = Pipeline::restore(&config, &message.subject, &message.payload);
            restored.expect("its own").next_id()
        };
        messages.iter().map(next_id).collect()
    }

    #[tokio::test]
    async fn one_state_of_a_worker_is_encoded_at_a_time_and_only_if_no_newer_one_came() {
        let bus = Arc::new(MemoryBus::with_streams(&service::streams()));
        let encoding = EncodingTurn::default();
        let lanes = [0, 1].map(|index| Arc::new(Lane::new(10, index, encoding.clone())));
        let held = encoding.0.lock().await;
        let stop = CancellationToken::new();
        let tasks = lanes.each_ref().map(|lane| {
            let bus = Arc::<MemoryBus>::clone(&bus);
            tokio::spawn(Arc::clone(lane).run(bus, stop.clone()))
        });
        for (index, lane) in lanes.iter().enumerate() {
            lane.set_snapshot(snapshot(&format!("state.marketdata.okx.{index}"), 1));
        }
        // Each lane has one in hand, and waits for its turn.
        let both_wait = async {
            while lanes.iter().any(|lane| lane.trying().is_none()) {
                tokio::task::yield_now().await;
            }
        };
        let both_wait = tokio::time::timeout(Duration::from_secs(60), both_wait);
        both_wait.await.expect("both take one");
        for (index, lane) in lanes.iter().enumerate() {
            for id in 2..=5 {
                lane.set_snapshot(snapshot(&format!("state.marketdata.okx.{index}"), id));
            }
            assert_eq!(lane.state().checkpoints.len(), 1);
            assert_eq!(lane.state().checkpoint_order.len(), 1);
        }
        assert!(saved(&bus, "state.>").await.is_empty());
        drop(held);
        stop.cancel();
        for task in tasks {
            task.await.expect("it ends");
        }
        assert_eq!(saved(&bus, "state.>").await, [Some(6), Some(6)]);
    }
}
