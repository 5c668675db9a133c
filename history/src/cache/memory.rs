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

/// What a place in the order of writes takes, with its key.
const WRITTEN_BYTES: usize = 96;

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

    /// All bytes that are taken, about.
    fn all_bytes(&self) -> usize {
        let written = self.written.len().saturating_mul(WRITTEN_BYTES);
        self.bytes.saturating_add(written)
    }

    /// A tick in its place among those before the newest one; an older one only if it is free.
    fn put_tick(&mut self, entry: &CacheEntry, ticks_max: usize, is_older: bool) {
        let ticks = self.ticks.entry(entry.key.clone()).or_default();
        if is_older && ticks.0.contains_key(&entry.event_ms) {
            return;
        }
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
        self.kept().all_bytes()
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
                if entry.key.value == Value::Tick {
                    kept.put_tick(entry, self.ticks_max, true);
                }
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
                kept.put_tick(entry, self.ticks_max, false);
            }
            kept.written.push_back((at, entry.key.clone()));
            report.written += 1;
        }
        // Of a key that is written often, only the last write counts.
        if kept.written.len() > kept.values.len().saturating_mul(2) + 64 {
            let Kept {
                values, written, ..
            } = &mut *kept;
            written.retain(|(at, key)| values.get(key).is_some_and(|held| held.at == *at));
        }
        kept.forget_oldest(|kept, _| kept.all_bytes() > self.bytes_max);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn tick(pair: &str, at: u64) -> CacheEntry {
        CacheEntry {
            key: CacheKey {
                exchange: "okx".into(),
                pair: pair.into(),
                value: Value::Tick,
            },
            rank: Rank::new([at, 0, 0, 0, 0]),
            event_ms: at.cast_signed(),
            bytes: vec![b'x'; 100].into(),
        }
    }

    #[tokio::test]
    async fn a_value_is_forgotten_after_its_lifetime() {
        let cache = MemoryCache::new(Duration::from_secs(1_000), 10, 1 << 20);
        let entries = [
            tick("OLD", 1),
            tick("BOTH", 1),
            tick("NEW", 1),
            tick("BOTH", 2),
        ];
        cache.put(&entries).await.expect("written");
        // As if the first two had been written long ago.
        let long = Duration::from_secs(1_000);
        {
            let mut kept = cache.kept();
            let Some(past) = Instant::now().checked_sub(long) else {
                return;
            };
            for written in kept.written.iter_mut().take(2) {
                written.0 = past;
            }
            kept.values.get_mut(&entries[0].key).expect("kept").at = past;
        }
        for (entry, is_kept) in [
            (&entries[0], false),
            (&entries[1], true),
            (&entries[2], true),
        ] {
            let read = cache.get(&entry.key).await.expect("it answers");
            assert_eq!(read.is_some(), is_kept, "{}", entry.key.pair);
        }
        let ticks = cache.ticks(&entries[0].key, 10).await.expect("it answers");
        assert_eq!(ticks, [""; 0]);
        let ticks = cache.ticks(&entries[1].key, 10).await.expect("it answers");
        assert_eq!(ticks.len(), 2);
    }

    #[tokio::test]
    async fn what_is_kept_is_bounded_in_bytes_and_what_was_written_longest_ago_goes_first() {
        let most = 20_000;
        let cache = MemoryCache::new(Duration::from_secs(1_000), 10, most);
        for at in 0..200 {
            let entry = tick(&at.to_string(), 1);
            cache
                .put(&[entry, tick("BUSY", at)])
                .await
                .expect("written");
            assert!(cache.bytes() <= most, "{} bytes", cache.bytes());
        }
        assert!(cache.bytes() > most / 2, "{} bytes", cache.bytes());
        for (pair, is_kept) in [("0", false), ("199", true), ("BUSY", true)] {
            let read = cache.get(&tick(pair, 1).key).await.expect("it answers");
            assert_eq!(read.is_some(), is_kept, "{pair}");
        }
        // Repeated writes of one key take no more and more.
        for at in 0..5_000 {
            cache.put(&[tick("BUSY", 200 + at)]).await.expect("written");
        }
        let kept = cache.kept();
        assert!(kept.written.len() <= kept.values.len() * 2 + 65);
    }
}
