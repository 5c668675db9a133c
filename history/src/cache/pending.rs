//! What waits for the cache: bounded, and the newest value of each key but for ticks.

use std::collections::{HashMap, VecDeque};

use super::entry::{CacheEntry, CacheKey, Value};

/// Entries that wait. Ticks are kept in their order; of all other values, the newest one counts.
#[derive(Debug)]
pub(super) struct Pending {
    ticks: VecDeque<CacheEntry>,
    newest: HashMap<CacheKey, CacheEntry>,
    /// The most entries of each of the two.
    entries_max: usize,
}

impl Pending {
    pub(super) fn new(entries_max: usize) -> Self {
        Self {
            ticks: VecDeque::new(),
            newest: HashMap::new(),
            entries_max: entries_max.max(1),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.ticks.len() + self.newest.len()
    }

    /// Takes an entry. Returns how many entries are dropped for it: the oldest tick, or the entry
    /// itself if there are too many keys.
    pub(super) fn offer(&mut self, entry: CacheEntry) -> u64 {
        if entry.key.value == Value::Tick {
            self.ticks.push_back(entry);
            return self.drop_oldest_ticks();
        }
        let is_full = self.newest.len() >= self.entries_max;
        match self.newest.get_mut(&entry.key) {
            Some(held) if held.rank <= entry.rank => *held = entry,
            Some(_) => {}
            None if is_full => return 1,
            None => drop(self.newest.insert(entry.key.clone(), entry)),
        }
        0
    }

    /// The next entries to write.
    pub(super) fn take(&mut self, count: usize) -> Vec<CacheEntry> {
        let ticks = self.ticks.len().min(count);
        let mut taken: Vec<CacheEntry> = self.ticks.drain(..ticks).collect();
        let keys = self.newest.keys().take(count - ticks).cloned();
        let keys: Vec<CacheKey> = keys.collect();
        taken.extend(keys.iter().filter_map(|key| self.newest.remove(key)));
        taken
    }

    /// Takes back what was not written. Newer entries stay. Returns how many are dropped.
    pub(super) fn put_back(&mut self, entries: Vec<CacheEntry>) -> u64 {
        let (ticks, others): (Vec<_>, Vec<_>) = entries
            .into_iter()
            .partition(|entry| entry.key.value == Value::Tick);
        for tick in ticks.into_iter().rev() {
            self.ticks.push_front(tick);
        }
        let dropped: u64 = others.into_iter().map(|entry| self.offer(entry)).sum();
        dropped.saturating_add(self.drop_oldest_ticks())
    }

    fn drop_oldest_ticks(&mut self) -> u64 {
        let excess = self.ticks.len().saturating_sub(self.entries_max);
        self.ticks.drain(..excess);
        excess as u64
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use market_core::Timeframe;

    use super::*;
    use crate::cache::Rank;

    fn entry(pair: &str, value: Value, rank: u64) -> CacheEntry {
        CacheEntry {
            key: CacheKey {
                exchange: "binance".into(),
                pair: pair.into(),
                value,
            },
            rank: Rank::new([rank, 0, 0, 0, 0]),
            event_ms: rank.cast_signed(),
            bytes: Bytes::from(rank.to_string()),
        }
    }

    const MINUTE: Value = Value::Kline(Timeframe::MINUTE);

    #[test]
    fn each_tick_waits_and_of_other_values_the_newest_one() {
        let mut pending = Pending::new(10);
        for rank in [1, 3, 2] {
            assert_eq!(pending.offer(entry("A-B", Value::Tick, rank)), 0);
            assert_eq!(pending.offer(entry("A-B", MINUTE, rank)), 0);
        }
        let taken = pending.take(10);
        let expected = [
            entry("A-B", Value::Tick, 1),
            entry("A-B", Value::Tick, 3),
            entry("A-B", Value::Tick, 2),
            entry("A-B", MINUTE, 3),
        ];
        assert_eq!(taken, expected);
        // A newer bar came meanwhile: the older one does not come back.
        pending.offer(entry("A-B", MINUTE, 4));
        pending.offer(entry("A-B", Value::Tick, 4));
        assert_eq!(pending.put_back(taken), 0);
        assert_eq!(pending.take(3), expected[..3]);
        let rest = [entry("A-B", Value::Tick, 4), entry("A-B", MINUTE, 4)];
        assert_eq!(pending.take(3), rest);
        assert_eq!(pending.len(), 0);
    }

    #[test]
    fn what_is_too_much_is_dropped_and_counted_the_oldest_tick_first() {
        let mut pending = Pending::new(2);
        let mut dropped = 0;
        for rank in 1..=5 {
            dropped += pending.offer(entry("A-B", Value::Tick, rank));
            dropped += pending.offer(entry(&format!("A-{rank}"), MINUTE, rank));
        }
        assert_eq!((dropped, pending.len()), (6, 4));
        let taken = pending.take(2);
        assert_eq!(taken[1], entry("A-B", Value::Tick, 5));
        pending.offer(entry("A-B", Value::Tick, 6));
        assert_eq!(pending.put_back(taken), 1);
        let kept = [entry("A-B", Value::Tick, 5), entry("A-B", Value::Tick, 6)];
        assert_eq!(pending.take(2), kept);
    }
}
