//! The cache in this process.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use market_core::UnixMillis;

use super::entry::{CacheEntry, CacheKey, Rank, Value};
use super::{Cache, CacheError, PutReport};

/// What an entry takes beside its bytes: its key, its rank and its places in the maps.
const ENTRY_BYTES: usize = 256;

/// Keeps values until they are too old or too many.
#[derive(Debug)]
pub struct MemoryCache {
    kept: Mutex<Kept>,
    ttl: Duration,
    ticks_max: usize,
    bytes_max: usize,
}

#[derive(Debug, Default)]
struct Kept {
    values: HashMap<CacheKey, Held>,
    ticks: HashMap<CacheKey, Ticks>,
    /// Keys by the time of their last write, the oldest first; some were written again since.
    written: VecDeque<(Instant, CacheKey)>,
    bytes: usize,
}

#[derive(Debug)]
struct Held {
    rank: Rank,
    bytes: Bytes,
    at: Instant,
}

#[derive(Debug, Default)]
struct Ticks(BTreeMap<UnixMillis, Bytes>);

impl Kept {
    fn forget(&mut self, key: &CacheKey) {
        if let Some(held) = self.values.remove(key) {
            self.bytes = self.bytes.saturating_sub(size(&held.bytes));
        }
        if key.value == Value::Tick
            && let Some(ticks) = self.ticks.remove(key)
        {
            let bytes: usize = ticks.0.values().map(size).sum();
            self.bytes = self.bytes.saturating_sub(bytes);
        }
    }

    /// Forgets values from the oldest one on, as long as `is_to_go` says so.
    fn forget_oldest(&mut self, is_to_go: impl Fn(&Self, Instant) -> bool) {
        while let Some((at, key)) = self.written.front().cloned() {
            let is_current = self.values.get(&key).is_some_and(|held| held.at == at);
            if is_current && !is_to_go(self, at) {
                return;
            }
            self.written.pop_front();
            if is_current {
                self.forget(&key);
            }
        }
    }

    fn put_tick(&mut self, entry: &CacheEntry, ticks_max: usize) {
        let ticks = self.ticks.entry(entry.key.clone()).or_default();
        let mut gone = ticks.0.insert(entry.event_ms, entry.bytes.clone());
        self.bytes = self.bytes.saturating_add(size(&entry.bytes));
        loop {
            let bytes = gone.as_ref().map_or(0, size);
            self.bytes = self.bytes.saturating_sub(bytes);
            if ticks.0.len() <= ticks_max {
                return;
            }
            gone = ticks.0.pop_first().map(|(_, bytes)| bytes);
        }
    }
}

fn size(bytes: &Bytes) -> usize {
    bytes.len().saturating_add(ENTRY_BYTES)
}

impl MemoryCache {
    /// Nothing yet. A value is kept for `ttl` after it was written, with `ticks_max` ticks of each
    /// market and `bytes_max` bytes of all together; beyond it, what was written longest ago goes.
    #[must_use]
    pub fn new(ttl: Duration, ticks_max: usize, bytes_max: usize) -> Self {
        Self {
            kept: Mutex::default(),
            ttl,
            ticks_max: ticks_max.max(1),
            bytes_max,
        }
    }

    /// The values, without those that are too old.
    fn kept(&self) -> MutexGuard<'_, Kept> {
        // Each change leaves whole values; the count of bytes is a bound.
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.forget_oldest(|_, at| at.elapsed() >= self.ttl);
        kept
    }

    /// How many bytes it takes, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.kept().bytes
    }
}

#[async_trait]
impl Cache for MemoryCache {
    async fn put(&self, entries: &[CacheEntry]) -> Result<PutReport, CacheError> {
        let mut kept = self.kept();
        let mut report = PutReport::default();
        for entry in entries {
            let held = kept.values.get(&entry.key);
            if held.is_some_and(|held| held.rank > entry.rank) {
                report.older += 1;
                continue;
            }
            let at = Instant::now();
            let new = Held {
                rank: entry.rank,
                bytes: entry.bytes.clone(),
                at,
            };
            kept.bytes = kept.bytes.saturating_add(size(&entry.bytes));
            if let Some(old) = kept.values.insert(entry.key.clone(), new) {
                kept.bytes = kept.bytes.saturating_sub(size(&old.bytes));
            }
            if entry.key.value == Value::Tick {
                kept.put_tick(entry, self.ticks_max);
            }
            kept.written.push_back((at, entry.key.clone()));
            report.written += 1;
        }
        kept.forget_oldest(|kept, _| kept.bytes > self.bytes_max);
        // Of a key that is written often, only the last write counts.
        if kept.written.len() > kept.values.len().saturating_mul(4) + 1_024 {
            let Kept {
                values, written, ..
            } = &mut *kept;
            written.retain(|(at, key)| values.get(key).is_some_and(|held| held.at == *at));
        }
        Ok(report)
    }

    async fn get(&self, key: &CacheKey) -> Result<Option<Bytes>, CacheError> {
        let kept = self.kept();
        Ok(kept.values.get(key).map(|held| held.bytes.clone()))
    }

    async fn ticks(&self, key: &CacheKey, limit: usize) -> Result<Vec<Bytes>, CacheError> {
        let kept = self.kept();
        let ticks = kept.ticks.get(key);
        let newest = ticks.map(|ticks| {
            let older = ticks.0.len().saturating_sub(limit);
            ticks.0.values().skip(older).cloned().collect()
        });
        Ok(newest.unwrap_or_default())
    }

    fn name(&self) -> &'static str {
        "memory"
    }
}
