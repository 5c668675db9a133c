//! Feeds a cache with what the bus delivers, and says whether the cache keeps up.
//!
//! An offer only puts a value into bounded memory. One task writes: so a cache that is slow, full or
//! away holds up neither the bus nor the store.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use market_core::wire::BarHead;
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use rand::Rng as _;
use service::{Condition, Shutdown};
use tokio::sync::Notify;
use tracing::{info, warn};

use super::entry::{CacheEntry, CacheKey};
use super::pending::Pending;
use super::{Cache, CacheError, PutReport};
use crate::store::BarSeries;

/// Entries of one write.
const WRITE_ENTRIES: usize = 1_024;
/// How often a cache is asked whether it is there while there is nothing to write.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Ceiling of the random pause after the first failure, and after many, ms.
const REST_MS: (u64, u64) = (100, 5_000);

/// Feeds a cache, or nothing. Clones share it.
#[derive(Clone)]
pub struct CacheFeed(Arc<Inner>);

struct Inner {
    cache: Option<Arc<dyn Cache>>,
    wants_books: bool,
    pending: Mutex<Pending>,
    /// Since when something waits.
    waiting_since: Mutex<Option<Instant>>,
    wake: Notify,
    /// Whether the last call of the cache succeeded.
    is_well: AtomicBool,
    meters: Meters,
}

struct Meters {
    pending: Gauge,
    lag_seconds: Gauge,
    up: Gauge,
    written: Counter,
    older: Counter,
    poisoned: Counter,
    dropped: Counter,
    errors: Counter,
    write_seconds: Histogram,
}

impl std::fmt::Debug for CacheFeed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CacheFeed").finish_non_exhaustive()
    }
}

impl CacheFeed {
    /// A feed of a cache; at most `pending_max` ticks and as many other values wait for it.
    #[must_use]
    pub fn new(cache: Option<Arc<dyn Cache>>, wants_books: bool, pending_max: usize) -> Self {
        let fate = |fate: &'static str| counter!("history_cache_entries_total", "fate" => fate);
        Self(Arc::new(Inner {
            cache,
            wants_books,
            pending: Mutex::new(Pending::new(pending_max)),
            waiting_since: Mutex::default(),
            wake: Notify::new(),
            is_well: AtomicBool::new(false),
            meters: Meters {
                pending: gauge!("history_cache_pending"),
                lag_seconds: gauge!("history_cache_lag_seconds"),
                up: gauge!("history_cache_up"),
                written: fate("written"),
                older: fate("older"),
                poisoned: fate("poisoned"),
                dropped: fate("dropped"),
                errors: counter!("history_cache_errors_total"),
                write_seconds: histogram!("history_cache_write_seconds"),
            },
        }))
    }

    /// Whether there is a cache at all.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.0.cache.is_some()
    }

    /// Whether the cache should be offered order books.
    #[must_use]
    pub fn wants_books(&self) -> bool {
        self.is_on() && self.0.wants_books
    }

    /// Whether the last call of the cache succeeded; false before the first one.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.0.is_well.load(Ordering::Relaxed)
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        let pending = self.0.pending.lock();
        // Each change leaves whole values.
        pending.unwrap_or_else(PoisonError::into_inner)
    }

    fn waiting_since(&self) -> MutexGuard<'_, Option<Instant>> {
        let since = self.0.waiting_since.lock();
        since.unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a bar that the bus carried. It never waits for the cache.
    pub fn offer_bar(&self, series: &BarSeries, head: &BarHead<'_>, bytes: &Bytes) {
        if !self.is_on() {
            return;
        }
        // A part of a larger buffer would keep all of it.
        let bytes = Bytes::copy_from_slice(bytes);
        let tick = CacheEntry::tick(series, head, &bytes);
        let kline = CacheEntry::kline(series, head, &bytes);
        self.offer([Some(kline), tick].into_iter().flatten());
    }

    /// Takes a bar that a question found elsewhere, as the newest price.
    pub fn fill_tick(&self, series: &BarSeries, bytes: &Bytes) {
        let head = BarHead::read(bytes).filter(|_| self.is_on());
        let tick = head.and_then(|head| CacheEntry::tick(series, &head, bytes));
        self.offer(tick.into_iter());
    }

    /// Takes an order book that the bus carried.
    pub fn offer_book(&self, bytes: &Bytes) {
        let book = CacheEntry::orderbook(&Bytes::copy_from_slice(bytes));
        self.offer(book.into_iter());
    }

    fn offer(&self, entries: impl Iterator<Item = CacheEntry>) {
        let mut pending = self.pending();
        let dropped: u64 = entries.map(|entry| pending.offer(entry)).sum();
        let waiting = pending.len();
        drop(pending);
        if waiting > 0 {
            self.waiting_since().get_or_insert_with(Instant::now);
            self.0.wake.notify_one();
        }
        self.0.meters.dropped.increment(dropped);
    }

    /// The newest value of a key. While the cache is away, the error comes at once.
    ///
    /// # Errors
    /// If the cache does not answer.
    pub async fn get(&self, key: &CacheKey) -> Result<Option<Bytes>, CacheError> {
        let Some(cache) = &self.0.cache else {
            return Ok(None);
        };
        let found = cache.get(key).await;
        if found.is_err() {
            self.0.is_well.store(false, Ordering::Relaxed);
            self.0.wake.notify_one();
        }
        found
    }

    /// Writes what is offered until the shutdown. `condition` says how the cache is: without it the
    /// store answers, so it is always met.
    pub(crate) async fn run(self, condition: Condition, shutdown: Shutdown) {
        condition.met();
        let Some(cache) = self.0.cache.clone() else {
            return shutdown.triggered().await;
        };
        let mut failures = 0_u32;
        loop {
            let rest = match self.write(&*cache).await {
                Ok(report) => {
                    if !self.is_well() {
                        info!(cache = cache.name(), "the cache answers");
                    }
                    failures = 0;
                    condition.met();
                    self.succeeded(report);
                    match self.pending().len() {
                        0 => LOOK_INTERVAL,
                        _ => Duration::ZERO,
                    }
                }
                Err(error) => {
                    failures = failures.saturating_add(1);
                    self.failed(&*cache, &condition, &error, failures);
                    pause(failures)
                }
            };
            let woken = async {
                match failures {
                    0 => self.0.wake.notified().await,
                    // A cache that is away is asked at its own pace.
                    _ => std::future::pending().await,
                }
            };
            tokio::select! {
                () = shutdown.triggered() => break,
                () = woken => {}
                () = tokio::time::sleep(rest) => {}
            }
        }
        // What is left once; the bus has the newest values for whoever comes next.
        let left = tokio::time::timeout(shutdown.drain_deadline() / 4, self.write(&*cache)).await;
        if let Ok(Ok(report)) = left {
            self.succeeded(report);
        }
    }

    async fn write(&self, cache: &dyn Cache) -> Result<PutReport, CacheError> {
        let (entries, is_all) = {
            let mut pending = self.pending();
            (pending.take(WRITE_ENTRIES), pending.len() == 0)
        };
        let began = Instant::now();
        let since = *self.waiting_since();
        if is_all {
            *self.waiting_since() = None;
        }
        let written = cache.put(&entries).await;
        if written.is_ok() {
            if !entries.is_empty() {
                self.0.meters.write_seconds.record(began.elapsed());
            }
        } else if !entries.is_empty() {
            let dropped = self.pending().put_back(entries);
            self.0.meters.dropped.increment(dropped);
            *self.waiting_since() = since;
        }
        written
    }

    fn succeeded(&self, report: PutReport) {
        self.0.is_well.store(true, Ordering::Relaxed);
        let meters = &self.0.meters;
        meters.up.set(1.0);
        meters.written.increment(report.written);
        meters.older.increment(report.older);
        meters.poisoned.increment(report.poisoned);
        self.measure();
    }

    fn failed(&self, cache: &dyn Cache, condition: &Condition, error: &CacheError, failures: u32) {
        self.0.is_well.store(false, Ordering::Relaxed);
        self.0.meters.up.set(0.0);
        self.0.meters.errors.increment(1);
        self.measure();
        condition.met_but(format!("{error}: the store answers instead"));
        // Of a long outage, fewer and fewer lines.
        if failures.is_power_of_two() {
            let waiting = self.pending().len();
            warn!(cache = cache.name(), %error, failures, waiting, "the cache is not written");
        }
    }

    fn measure(&self) {
        let lag = self.waiting_since().map(|since| since.elapsed());
        self.0.meters.pending.set(self.pending().len() as f64);
        self.0
            .meters
            .lag_seconds
            .set(lag.unwrap_or_default().as_secs_f64());
    }
}

/// The pause after a number of failures: a random one below a ceiling that doubles.
fn pause(failures: u32) -> Duration {
    let (first, most) = REST_MS;
    let doubled = first.saturating_mul(1 << failures.saturating_sub(1).min(20));
    let ceiling = doubled.min(most);
    Duration::from_millis(rand::rng().random_range(ceiling / 10..=ceiling))
}
