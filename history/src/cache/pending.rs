//! What waits for the cache: bounded, in two queues. The newest value of each key waits apart from
//! the ticks before it, so a busy market pushes out no value of a quiet one.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::time::{Duration, Instant};

use market_core::UnixMillis;

use super::entry::{CacheEntry, CacheKey, Value};

/// What an entry takes beside its bytes, about: its key, three times, its rank and its places.
const ENTRY_BYTES: usize = 384;

/// The most that may wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PendingLimits {
    /// The most values of which each is the newest one of its key, and the most ticks before them.
    pub entries_max: usize,
    /// The most bytes of all of them.
    pub bytes_max: usize,
    /// Whether ticks before the newest one are wanted at all.
    pub has_tick_history: bool,
}

/// Entries that wait. Of two values with one place, the higher rank counts.
#[derive(Debug)]
pub(super) struct Pending {
    newest: Queue<CacheKey>,
    /// Ticks before the newest one that waits. Of those with one event time, one is enough.
    ticks: Queue<(CacheKey, UnixMillis)>,
    limits: PendingLimits,
}

/// What is being written, and since when it waited.
#[derive(Debug)]
pub(super) struct Taken {
    newest: Vec<(CacheEntry, Instant)>,
    ticks: Vec<(CacheEntry, Instant)>,
}

impl Taken {
    /// The entries, the newest values first.
    pub(super) fn entries(&self) -> Vec<CacheEntry> {
        let taken = self.newest.iter().chain(&self.ticks);
        taken.map(|(entry, _)| entry.clone()).collect()
    }
}

/// Entries by place, the one that has waited longest first.
#[derive(Debug)]
struct Queue<K> {
    entries: HashMap<K, (CacheEntry, Instant)>,
    /// The places of all entries, each once.
    order: VecDeque<K>,
    bytes: usize,
}

impl<K: Clone + Eq + Hash> Queue<K> {
    fn new() -> Self {
        Self {
            entries: HashMap::new(),
            order: VecDeque::new(),
            bytes: 0,
        }
    }

    fn len(&self) -> usize {
        self.order.len()
    }

    /// Puts an entry into its place, which may be new. Returns the lower one of two in one place.
    fn offer(
        &mut self,
        place: K,
        new: CacheEntry,
        since: Instant,
        is_first: bool,
    ) -> Option<CacheEntry> {
        let added = size(&new);
        let Some((held, held_since)) = self.entries.get_mut(&place) else {
            match is_first {
                true => self.order.push_front(place.clone()),
                false => self.order.push_back(place.clone()),
            }
            self.entries.insert(place, (new, since));
            self.bytes = self.bytes.saturating_add(added);
            return None;
        };
        *held_since = since.min(*held_since);
        if held.rank > new.rank {
            return Some(new);
        }
        let old = std::mem::replace(held, new);
        self.bytes = self.bytes.saturating_add(added).saturating_sub(size(&old));
        Some(old)
    }

    fn pop(&mut self) -> Option<(CacheEntry, Instant)> {
        let popped = self
            .order
            .pop_front()
            .and_then(|place| self.entries.remove(&place));
        let gone = popped.as_ref().map_or(0, |(entry, _)| size(entry));
        self.bytes = self.bytes.saturating_sub(gone);
        popped
    }

    fn waits_since(&self) -> Option<Instant> {
        let first = self.order.front().and_then(|place| self.entries.get(place));
        first.map(|(_, since)| *since)
    }
}

fn size(entry: &CacheEntry) -> usize {
    entry.bytes.len().saturating_add(ENTRY_BYTES)
}

impl Pending {
    pub(super) fn new(limits: PendingLimits) -> Self {
        Self {
            newest: Queue::new(),
            ticks: Queue::new(),
            limits: PendingLimits {
                entries_max: limits.entries_max.max(1),
                ..limits
            },
        }
    }

    pub(super) fn len(&self) -> usize {
        self.ticks.len() + self.newest.len()
    }

    /// How long the entry that has waited longest has waited.
    pub(super) fn lag(&self) -> Duration {
        let since = [self.newest.waits_since(), self.ticks.waits_since()];
        let first = since.into_iter().flatten().min();
        first.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Takes an entry. Returns how many are dropped for it: the oldest ticks before the newest ones,
    /// and only without any, the value that has waited longest.
    pub(super) fn offer(&mut self, entry: CacheEntry) -> u64 {
        self.place(entry, Instant::now(), false);
        self.drop_excess()
    }

    fn place(&mut self, entry: CacheEntry, since: Instant, is_first: bool) {
        let event_ms = entry.event_ms;
        let older = self.newest.offer(entry.key.clone(), entry, since, is_first);
        let Some(older) = older.filter(|older| older.key.value == Value::Tick) else {
            return;
        };
        let newest = self.newest.entries.get(&older.key);
        let is_covered = newest.is_some_and(|(newest, _)| newest.event_ms == older.event_ms);
        if is_covered || !self.limits.has_tick_history {
            return;
        }
        // The one that waited since then, or the one that just came.
        let is_first = is_first && older.event_ms == event_ms;
        let place = (older.key.clone(), older.event_ms);
        self.ticks.offer(place, older, since, is_first);
    }

    /// The next entries to write, in each queue those that have waited longest: half of the places
    /// are for the newest values, half for the ticks before them, and for either what the other
    /// leaves.
    pub(super) fn take(&mut self, count: usize) -> Taken {
        let newest = (count / 2).max(count.saturating_sub(self.ticks.len()));
        self.take_with(count, newest)
    }

    /// As [`Pending::take`], but first all newest values.
    pub(super) fn take_newest(&mut self, count: usize) -> Taken {
        self.take_with(count, count)
    }

    fn take_with(&mut self, count: usize, newest: usize) -> Taken {
        let newest = newest.min(self.newest.len());
        let ticks = count.saturating_sub(newest).min(self.ticks.len());
        let popped = std::iter::from_fn(|| self.newest.pop());
        let newest = popped.take(newest).collect();
        let popped = std::iter::from_fn(|| self.ticks.pop());
        let ticks = popped.take(ticks).collect();
        Taken { newest, ticks }
    }

    /// Takes back what was not written, in its order. Newer entries stay. Returns how many are
    /// dropped.
    pub(super) fn put_back(&mut self, taken: Taken) -> u64 {
        let Taken { newest, ticks } = taken;
        for (entry, since) in newest.into_iter().rev() {
            self.place(entry, since, true);
        }
        for (entry, since) in ticks.into_iter().rev() {
            let place = (entry.key.clone(), entry.event_ms);
            self.ticks.offer(place, entry, since, true);
        }
        self.drop_excess()
    }

    fn drop_excess(&mut self) -> u64 {
        let PendingLimits {
            entries_max,
            bytes_max,
            ..
        } = self.limits;
        let mut dropped = 0_u64;
        let bytes = |pending: &Self| pending.newest.bytes.saturating_add(pending.ticks.bytes);
        while self.ticks.len() > entries_max || (self.ticks.len() > 0 && bytes(self) > bytes_max) {
            self.ticks.pop();
            dropped += 1;
        }
        // The last one stays, or else a value above the limit would never be written.
        while self.newest.len() > entries_max || (self.newest.len() > 1 && bytes(self) > bytes_max)
        {
            self.newest.pop();
            dropped += 1;
        }
        dropped
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use market_core::Timeframe;

    use super::*;
    use crate::cache::Rank;

    const MINUTE: Value = Value::Kline(Timeframe::MINUTE);
    const LIMITS: PendingLimits = PendingLimits {
        entries_max: 1_000,
        bytes_max: 1 << 20,
        has_tick_history: true,
    };

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

    fn tick(pair: &str, rank: u64) -> CacheEntry {
        entry(pair, Value::Tick, rank)
    }

    /// Pairs and ranks, in their order.
    fn told(taken: &Taken) -> Vec<String> {
        let entries = taken.entries();
        let told = entries.iter().map(|entry| {
            let is_tick = entry.key.value == Value::Tick;
            let kind = if is_tick { "" } else { "bar " };
            let rank = String::from_utf8_lossy(&entry.bytes);
            format!("{kind}{} {rank}", entry.key.pair)
        });
        told.collect()
    }

    #[test]
    fn each_tick_waits_and_of_other_values_the_newest_one() {
        let mut pending = Pending::new(LIMITS);
        for rank in [1, 3, 2] {
            assert_eq!(pending.offer(tick("A", rank)), 0);
            assert_eq!(pending.offer(entry("A", MINUTE, rank)), 0);
        }
        let taken = pending.take(10);
        assert_eq!(told(&taken), ["A 3", "bar A 3", "A 1", "A 2"]);
        assert_eq!((pending.len(), pending.lag()), (0, Duration::ZERO));
        // Newer ones came meanwhile: the older bar does not come back, and the older tick is before it.
        pending.offer(entry("A", MINUTE, 4));
        pending.offer(tick("A", 4));
        pending.offer(tick("A", 5));
        assert_eq!(pending.put_back(taken), 0);
        let expected = ["bar A 4", "A 5", "A 1", "A 2", "A 3", "A 4"];
        assert_eq!(told(&pending.take(10)), expected);
    }

    #[test]
    fn a_busy_market_pushes_out_no_price_of_a_quiet_one() {
        let mut pending = Pending::new(PendingLimits {
            entries_max: 10,
            ..LIMITS
        });
        pending.offer(tick("QUIET", 1));
        let dropped: u64 = (0..1_000)
            .map(|rank| pending.offer(tick("BUSY", rank)))
            .sum();
        assert_eq!((dropped, pending.len()), (989, 12));
        let taken = told(&pending.take(4));
        assert_eq!(taken, ["QUIET 1", "BUSY 999", "BUSY 989", "BUSY 990"]);
    }

    #[test]
    fn a_backlog_of_ticks_leaves_half_of_the_places_to_bars_and_each_has_its_turn() {
        let mut pending = Pending::new(LIMITS);
        for rank in 0..500 {
            pending.offer(tick("BUSY", rank));
        }
        for at in 0..12 {
            pending.offer(entry(&format!("{at}"), MINUTE, 1));
        }
        // A bar that changes all the time keeps its place.
        let mut seen = Vec::new();
        for rank in 2..5 {
            pending.offer(entry("0", MINUTE, rank));
            let taken = pending.take(10);
            assert_eq!(taken.ticks.len(), if rank < 4 { 5 } else { 6 });
            seen.extend(
                told(&taken)
                    .into_iter()
                    .filter(|told| !told.starts_with("BUSY")),
            );
        }
        let expected = [
            "bar 0 2", "bar 1 1", "bar 2 1", "bar 3 1", "bar 4 1", "bar 5 1", "bar 6 1",
        ];
        assert_eq!(seen[..7], expected);
        assert!(seen.contains(&"bar 11 1".to_owned()), "{seen:?}");
        // Nothing but ticks: they get all places.
        while pending.newest.pop().is_some() {}
        assert_eq!(pending.take(10).ticks.len(), 10);
    }

    #[test]
    fn of_ticks_with_one_event_time_the_one_with_the_highest_rank_waits() {
        let mut pending = Pending::new(LIMITS);
        let at = |event_ms, rank| CacheEntry {
            event_ms,
            ..tick("A", rank)
        };
        for (event_ms, rank) in [
            (5, 53),
            (5, 52),
            (5, 54),
            (6, 63),
            (5, 51),
            (6, 62),
            (7, 70),
        ] {
            assert_eq!(pending.offer(at(event_ms, rank)), 0);
        }
        assert_eq!(told(&pending.take(10)), ["A 70", "A 54", "A 63"]);
    }

    #[test]
    fn without_a_history_of_ticks_only_the_newest_one_waits() {
        let mut pending = Pending::new(PendingLimits {
            has_tick_history: false,
            ..LIMITS
        });
        for rank in [1, 3, 2] {
            assert_eq!(pending.offer(tick("A", rank)), 0);
        }
        assert_eq!(told(&pending.take(10)), ["A 3"]);
    }

    #[test]
    fn what_waits_is_bounded_in_bytes_and_the_oldest_ticks_go_first() {
        let mut pending = Pending::new(PendingLimits {
            bytes_max: 20 * (ENTRY_BYTES + 100),
            ..LIMITS
        });
        let large = |entry| CacheEntry {
            bytes: vec![b'x'; 100].into(),
            ..entry
        };
        let mut dropped = 0;
        for rank in 0..30 {
            dropped += pending.offer(large(tick("A", rank)));
        }
        assert_eq!((dropped, pending.len()), (10, 20));
        for at in 0..40 {
            dropped += pending.offer(large(entry(&format!("{at}"), MINUTE, 1)));
        }
        assert_eq!((dropped, pending.len(), pending.ticks.len()), (50, 20, 0));
        let taken = pending.take(20);
        assert_eq!(pending.newest.bytes + pending.ticks.bytes, 0);
        pending.offer(large(tick("B", 1)));
        assert_eq!((pending.put_back(taken), pending.len()), (1, 20));
        // One alone is never too large.
        let mut pending = Pending::new(PendingLimits {
            bytes_max: 1,
            ..LIMITS
        });
        assert_eq!(pending.offer(large(tick("A", 1))), 0);
        assert_eq!((pending.offer(large(tick("A", 2))), pending.len()), (1, 1));
    }

    #[test]
    fn the_lag_is_that_of_the_entry_that_has_waited_longest() {
        let mut pending = Pending::new(LIMITS);
        let now = Instant::now();
        let long = now.checked_sub(Duration::from_secs(1_000)).unwrap_or(now);
        let is_long = |pending: &Pending| pending.lag() >= now - long;
        pending.place(tick("A", 1), long, false);
        pending.offer(entry("A", MINUTE, 1));
        assert!(is_long(&pending));
        let taken = pending.take(1);
        assert!(!is_long(&pending));
        pending.put_back(taken);
        assert!(is_long(&pending));
        // A newer tick takes its place, and it waits before that one.
        pending.offer(tick("A", 2));
        assert!(is_long(&pending));
    }
}
