//! Marks that an interval is over for all symbols, held back until the bars before them are here.
//!
//! The publisher sends a mark behind the last bar, and says how many bars there were; but bars and
//! marks come by subscriptions of their own, and the mark may be read first.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use bytes::Bytes;
use market_core::wire::BoundaryMark;
use metrics::{Counter, counter};

/// How long a mark waits for its bars: some may never come.
const WAIT: Duration = Duration::from_millis(500);
/// Ends of an interval whose bars are counted.
const ENDS_MAX: usize = 64;

#[derive(Debug, Default)]
struct Interval {
    /// Closed bars that have come, by their end.
    bars: BTreeMap<i64, u64>,
    held: Option<Held>,
}

#[derive(Debug)]
struct Held {
    end_ms: i64,
    bars: u64,
    payload: Bytes,
    until: Instant,
}

impl Interval {
    fn has_all(&self, end_ms: i64, bars: u64) -> bool {
        // Bars of an interval that this gateway does not follow are not waited for.
        self.bars.is_empty() || self.bars.get(&end_ms).is_some_and(|&come| come >= bars)
    }
}

/// The marks and bars of every interval; shared by the ingests of both.
#[derive(Debug)]
pub(crate) struct Boundaries {
    by_interval: Mutex<HashMap<Box<str>, Interval>>,
    overdue: Counter,
}

impl Default for Boundaries {
    fn default() -> Self {
        Self {
            by_interval: Mutex::default(),
            overdue: counter!("gateway_boundary_marks_overdue_total"),
        }
    }
}

impl Boundaries {
    fn by_interval(&self) -> MutexGuard<'_, HashMap<Box<str>, Interval>> {
        self.by_interval
            .lock()
            .expect("no code panics while it holds the boundaries")
    }

    /// A bar has closed, not revised, that ends at `end_ms`. Gives the mark that waited for it.
    pub(crate) fn closed(&self, interval: &str, end_ms: i64) -> Option<Bytes> {
        let mut by_interval = self.by_interval();
        let interval = match by_interval.get_mut(interval) {
            Some(known) => known,
            None => by_interval.entry(interval.into()).or_default(),
        };
        *interval.bars.entry(end_ms).or_insert(0) += 1;
        if interval.bars.len() > ENDS_MAX {
            interval.bars.pop_first();
        }
        let held = interval.held.as_ref()?;
        if !interval.has_all(held.end_ms, held.bars) {
            return None;
        }
        interval.held.take().map(|held| held.payload)
    }

    /// A mark has come. Gives it back if its bars are here, and the one before it if that still
    /// waits; else it is held.
    pub(crate) fn marked(&self, mark: &BoundaryMark, payload: Bytes, now: Instant) -> Vec<Bytes> {
        let mut by_interval = self.by_interval();
        let interval = by_interval.entry(mark.interval.clone()).or_default();
        let mut out = Vec::new();
        if let Some(held) = interval.held.take() {
            self.overdue.increment(1);
            out.push(held.payload);
        }
        if interval.has_all(mark.end_ms, mark.bars) {
            out.push(payload);
        } else {
            interval.held = Some(Held {
                end_ms: mark.end_ms,
                bars: mark.bars,
                payload,
                until: now + WAIT,
            });
        }
        out
    }

    /// When a mark has waited long enough next.
    pub(crate) fn next_at(&self) -> Option<Instant> {
        let by_interval = self.by_interval();
        let held = by_interval
            .values()
            .filter_map(|interval| interval.held.as_ref());
        held.map(|held| held.until).min()
    }

    /// The marks that have waited long enough, with their intervals.
    pub(crate) fn overdue(&self, now: Instant) -> Vec<(Box<str>, Bytes)> {
        let mut out = Vec::new();
        for (name, interval) in self.by_interval().iter_mut() {
            if let Some(held) = interval.held.take_if(|held| held.until <= now) {
                self.overdue.increment(1);
                out.push((name.clone(), held.payload));
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(end_ms: i64, bars: u64) -> BoundaryMark {
        BoundaryMark {
            interval: "1s".into(),
            end_ms,
            bars,
            missing: 0,
        }
    }

    fn marked(boundaries: &Boundaries, mark: &BoundaryMark, now: Instant) -> usize {
        boundaries.marked(mark, mark.encode(0), now).len()
    }

    #[test]
    fn a_mark_waits_for_the_last_of_its_bars() {
        let (boundaries, now) = (Boundaries::default(), Instant::now());
        assert_eq!(boundaries.closed("1s", 1_000), None);
        assert_eq!(marked(&boundaries, &mark(1_000, 3), now), 0);
        assert_eq!(boundaries.closed("1s", 1_000), None);
        // Neither other ends nor other intervals count.
        assert_eq!(boundaries.closed("1s", 2_000), None);
        assert_eq!(boundaries.closed("1m", 1_000), None);
        assert_eq!(
            boundaries.closed("1s", 1_000),
            Some(mark(1_000, 3).encode(0))
        );
        assert_eq!(boundaries.next_at(), None);
        assert_eq!(marked(&boundaries, &mark(2_000, 1), now), 1);
    }

    #[test]
    fn a_mark_whose_bars_do_not_come_goes_out_after_a_while_or_with_the_next() {
        let (boundaries, now) = (Boundaries::default(), Instant::now());
        boundaries.closed("1s", 0);
        assert_eq!(marked(&boundaries, &mark(1_000, 1), now), 0);
        assert_eq!(boundaries.next_at(), Some(now + WAIT));
        assert!(boundaries.overdue(now).is_empty());
        assert_eq!(boundaries.overdue(now + WAIT).len(), 1);
        assert_eq!(marked(&boundaries, &mark(2_000, 1), now), 0);
        assert_eq!(marked(&boundaries, &mark(3_000, 1), now), 1);
    }

    #[test]
    fn an_interval_without_bars_here_has_nothing_to_wait_for() {
        let boundaries = Boundaries::default();
        assert_eq!(marked(&boundaries, &mark(1_000, 5), Instant::now()), 1);
    }

    #[test]
    fn ends_that_are_counted_are_bounded() {
        let boundaries = Boundaries::default();
        for end_ms in 0..1_000 {
            boundaries.closed("1s", end_ms);
        }
        assert_eq!(boundaries.by_interval()["1s"].bars.len(), ENDS_MAX);
    }
}
