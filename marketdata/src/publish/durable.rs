//! What nobody may miss: closed bars and checkpoints, until the bus has stored them.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use bus::{Bus, BusError};
use bytes::Bytes;
use market_core::subject;
use metrics::{Counter, Gauge, Histogram};
use tokio::sync::Notify;
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

/// A queue whose items are stored one after another. A checkpoint is stored only when every bar
/// that was queued before it is: a restart from it must not skip a bar that nobody has.
pub struct Lane {
    state: Mutex<State>,
    filled: Notify,
    bars_max: usize,
    dropped: Counter,
    stored: Counter,
    refused_checkpoints: Counter,
    checkpoint_bytes: Histogram,
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
    checkpoints: HashMap<Arc<str>, (u64, Bytes)>,
    /// Subjects in `checkpoints`, oldest first.
    checkpoint_order: VecDeque<Arc<str>>,
    is_storing_bar: bool,
    /// Since when the item that is being stored is tried, and why it was not taken.
    trying: Option<Trying>,
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
    /// Wait until then, or for more.
    WaitUntil(Instant),
    /// Wait for more.
    Wait,
}

impl Lane {
    /// A lane of at most `bars_max` bars.
    #[must_use]
    pub fn new(bars_max: usize, index: usize) -> Self {
        Self {
            state: Mutex::default(),
            filled: Notify::new(),
            bars_max,
            dropped: metrics::counter!("marketdata_publish_dropped_total", "kind" => "stored_bar"),
            stored: metrics::counter!("marketdata_published_total", "kind" => "stored_bar"),
            refused_checkpoints: metrics::counter!("marketdata_checkpoints_refused_total"),
            checkpoint_bytes: metrics::histogram!("marketdata_checkpoint_bytes"),
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
        self.checkpoint_bytes.record(item.payload.len() as f64);
        let mut state = self.state();
        let after = state.queued;
        let replaced = state
            .checkpoints
            .insert(Arc::clone(&item.subject), (after, item.payload));
        if replaced.is_none() {
            state.checkpoint_order.push_back(item.subject);
        }
        drop(state);
        self.filled.notify_one();
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
            return Next::Store(checkpoint);
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

    /// Stores until `stop`, and then what is left.
    pub async fn run(self: Arc<Self>, bus: Arc<dyn Bus>, stop: CancellationToken) {
        loop {
            let is_stopping = stop.is_cancelled();
            let now = Instant::now();
            let item = match self.next(if is_stopping { now + LINGER } else { now }) {
                Next::Store(item) => item,
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
    fn take_checkpoint(&mut self) -> Option<Item> {
        for _ in 0..self.checkpoint_order.len() {
            let subject = self.checkpoint_order.pop_front()?;
            let &(after, _) = self.checkpoints.get(&subject)?;
            if after <= self.done {
                let (_, payload) = self.checkpoints.remove(&subject)?;
                return Some(Item { subject, payload });
            }
            self.checkpoint_order.push_back(subject);
        }
        None
    }
}

#[cfg(test)]
mod tests {
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
        }
    }

    #[test]
    fn a_bar_waits_for_those_that_clients_wait_for() {
        let lane = Lane::new(10, 0);
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
        let lane = Lane::new(10, 0);
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
        let lane = Lane::new(2, 0);
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
}
