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
use super::pending::{Pending, PendingLimits, Taken};
use super::{Cache, CacheError, PutReport};
use crate::store::BarSeries;

/// Entries of one write.
const WRITE_ENTRIES: usize = 1_024;
/// How often a cache is asked whether it is there while there is nothing to write.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Ceiling of the random pause after the first failure, and after many, ms.
const REST_MS: (u64, u64) = (100, 5_000);

/// Which values a cache is offered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wants {
    /// Prices alone.
    Ticks,
    /// Prices, bars and books.
    All,
}

/// Feeds a cache, or nothing. Clones share it.
#[derive(Clone)]
pub struct CacheFeed(Arc<Inner>);

struct Inner {
    cache: Option<Arc<dyn Cache>>,
    wants: Wants,
    pending: Mutex<Pending>,
    wake: Notify,
    /// Whether the cache answered the last call.
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
    /// A feed of a cache.
    #[must_use]
    pub fn new(cache: Option<Arc<dyn Cache>>, wants: Wants, limits: PendingLimits) -> Self {
        let fate = |fate: &'static str| counter!("history_cache_entries_total", "fate" => fate);
        Self(Arc::new(Inner {
            cache,
            wants,
            pending: Mutex::new(Pending::new(limits)),
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
        self.is_on() && self.0.wants == Wants::All
    }

    /// Whether the cache answered the last call; false before the first one.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.0.is_well.load(Ordering::Relaxed)
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        let pending = self.0.pending.lock();
        // Each change leaves whole values.
        pending.unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a bar that the bus carried. It never waits for the cache.
    pub fn offer_bar(&self, series: &BarSeries, head: &BarHead<'_>, bytes: &Bytes) {
        let wants_bars = self.0.wants == Wants::All;
        if !self.is_on() || (!wants_bars && head.filled) {
            return;
        }
        // A part of a larger buffer would keep all of it.
        let bytes = Bytes::copy_from_slice(bytes);
        let tick = CacheEntry::tick(series, head, &bytes);
        let kline = wants_bars.then(|| CacheEntry::kline(series, head, &bytes));
        self.offer([kline, tick].into_iter().flatten());
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
            self.0.wake.notify_one();
        }
        self.0.meters.dropped.increment(dropped);
    }

    /// The newest value of a key. While the cache is away, the error comes at once. An answer, also
    /// one that refuses, says nothing about the next question.
    ///
    /// # Errors
    /// If the cache does not answer.
    pub async fn get(&self, key: &CacheKey) -> Result<Option<Bytes>, CacheError> {
        let Some(cache) = &self.0.cache else {
            return Ok(None);
        };
        let found = cache.get(key).await;
        if matches!(found, Err(CacheError::Unreachable(_))) {
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
        // What is left, the newest values first; the bus has them for whoever comes next.
        let drain = async {
            while self.pending().len() > 0 {
                let Ok(report) = self.write_taken(&*cache, Pending::take_newest).await else {
                    return;
                };
                self.succeeded(report);
            }
        };
        let in_time = tokio::time::timeout(shutdown.drain_deadline() / 4, drain).await;
        let left = self.pending().len();
        if left > 0 || in_time.is_err() {
            warn!(
                cache = cache.name(),
                left, "values did not reach the cache before the end"
            );
        }
    }

    async fn write(&self, cache: &dyn Cache) -> Result<PutReport, CacheError> {
        self.write_taken(cache, Pending::take).await
    }

    async fn write_taken(
        &self,
        cache: &dyn Cache,
        take: fn(&mut Pending, usize) -> Taken,
    ) -> Result<PutReport, CacheError> {
        let taken = take(&mut self.pending(), WRITE_ENTRIES);
        let entries = taken.entries();
        let began = Instant::now();
        let written = cache.put(&entries).await;
        if written.is_err() {
            let dropped = self.pending().put_back(taken);
            self.0.meters.dropped.increment(dropped);
        } else if !entries.is_empty() {
            self.0.meters.write_seconds.record(began.elapsed());
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
        let pending = self.pending();
        let (waiting, lag) = (pending.len(), pending.lag());
        drop(pending);
        self.0.meters.pending.set(waiting as f64);
        self.0.meters.lag_seconds.set(lag.as_secs_f64());
    }
}

/// The pause after a number of failures: a random one below a ceiling that doubles.
fn pause(failures: u32) -> Duration {
    let (first, most) = REST_MS;
    let doubled = first.saturating_mul(1 << failures.saturating_sub(1).min(20));
    let ceiling = doubled.min(most);
    Duration::from_millis(rand::rng().random_range(ceiling / 10..=ceiling))
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use market_core::Timeframe;
    use service::Service;

    use super::*;
    use crate::cache::{Rank, Value};

    /// Counts what it gets.
    #[derive(Default)]
    struct Counting(Mutex<Vec<CacheEntry>>);

    #[async_trait]
    impl Cache for Counting {
        async fn put(&self, entries: &[CacheEntry]) -> Result<PutReport, CacheError> {
            self.0.lock().expect("no panic").extend_from_slice(entries);
            Ok(PutReport::default())
        }

        async fn get(&self, _: &CacheKey) -> Result<Option<Bytes>, CacheError> {
            Err(CacheError::Refused("not now".to_owned()))
        }

        async fn ticks(&self, _: &CacheKey, _: usize) -> Result<Vec<Bytes>, CacheError> {
            Ok(Vec::new())
        }

        fn name(&self) -> &'static str {
            "counting"
        }
    }

    #[tokio::test]
    async fn all_that_waits_is_written_before_the_end() {
        let cache = Arc::new(Counting::default());
        let limits = PendingLimits {
            entries_max: 100_000,
            bytes_max: 64 << 20,
            has_tick_history: true,
        };
        let feed = CacheFeed::new(Some(cache.clone()), Wants::All, limits);
        for at in 0..20_000_u64 {
            let value = match at % 2 {
                0 => Value::Tick,
                _ => Value::Kline(Timeframe::MINUTE),
            };
            let entry = CacheEntry {
                key: CacheKey {
                    exchange: "okx".into(),
                    pair: (at % 5_000).to_string().into(),
                    value,
                },
                rank: Rank::new([at, 0, 0, 0, 0]),
                event_ms: at.cast_signed(),
                bytes: Bytes::new(),
            };
            feed.offer(std::iter::once(entry));
        }
        let service = Service::for_test();
        service.shutdown.trigger();
        let condition = service.readiness.condition("cache");
        feed.clone().run(condition, service.shutdown).await;
        assert_eq!(feed.pending().len(), 0);
        // Each tick, and the newest of the bars of each market.
        let written = cache.0.lock().expect("no panic").len();
        assert_eq!(written, 10_000 + 2_500);
        // A cache that refuses a question is still there.
        assert!(feed.is_well());
        let key = cache
            .0
            .lock()
            .expect("no panic")
            .first()
            .map(|entry| entry.key.clone());
        feed.get(&key.expect("a key")).await.expect_err("refused");
        assert!(feed.is_well());
    }
}
