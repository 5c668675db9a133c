//! What lets the bus refuse a bar of a program whose lease was taken by another.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use bus::Expected;
use market_core::UnixMillis;
use metrics::Counter;
use tokio::sync::Notify;

/// The right to publish an instrument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// The number of the lease: the epoch of what is published under it.
    pub epoch: u64,
    /// What the bus must find when it stores a bar; `None` without a lease, in tests.
    pub fence: Option<Arc<Expected>>,
}

/// Whether a lease is still ours, for what is on its way under it: a program that stood still has
/// messages in every queue when it goes on. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Right(Arc<AtomicBool>);

impl Right {
    /// Another program has the lease.
    pub(crate) fn lose(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether what is on its way may still go out. It may after a handover, too.
    pub(crate) fn holds(&self) -> bool {
        !self.0.load(Ordering::Acquire)
    }
}

impl PartialEq for Right {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Right {}

/// A bar on its way to the record, and what the bus must find there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fenced {
    /// See [`Hold::fence`].
    pub expected: Arc<Expected>,
    /// Its topic's index in the outbox.
    pub topic: usize,
    /// Its start.
    pub start_ms: UnixMillis,
    /// Its revision.
    pub rev: u32,
    /// Its epoch.
    pub epoch: u64,
}

/// Bars of one outbox that the bus refused because their lease is not ours.
#[derive(Debug)]
pub struct Refusals {
    /// By topic and start; the outbox takes them at once.
    bars: Mutex<BTreeMap<(usize, UnixMillis), Fenced>>,
    told: Arc<Notify>,
    /// A bar with a fence was stored.
    has_stored: AtomicBool,
    count: Counter,
}

impl Refusals {
    /// None yet; `told` is notified when there is one.
    #[must_use]
    pub fn new(told: Arc<Notify>) -> Self {
        Self {
            bars: Mutex::default(),
            told,
            has_stored: AtomicBool::new(false),
            count: metrics::counter!("marketdata_fenced_bars_total"),
        }
    }

    pub(crate) fn add(&self, fenced: Fenced) {
        self.count.increment(1);
        let mut bars = self.bars.lock().expect("no code panics while it holds it");
        bars.insert((fenced.topic, fenced.start_ms), fenced);
        drop(bars);
        self.told.notify_one();
    }

    /// The bus has stored a bar with a fence.
    pub(crate) fn note_stored(&self) {
        self.has_stored.store(true, Ordering::Relaxed);
    }

    /// Whether the bus has stored a bar with a fence since the last call.
    pub(crate) fn take_stored(&self) -> bool {
        self.has_stored.swap(false, Ordering::Relaxed)
    }

    /// Takes them, in the order of their topics.
    pub(crate) fn take(&self) -> Vec<Fenced> {
        let mut bars = self.bars.lock().expect("no code panics while it holds it");
        std::mem::take(&mut *bars).into_values().collect()
    }
}
