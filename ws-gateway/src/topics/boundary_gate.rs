//! Marks that an interval is finished for all symbols, held back until the bars before them are
//! here.
//!
//! The publisher sends a mark after the last bar, with the number of bars. But bars and marks come
//! by separate subscriptions, so the mark may be read first.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use bytes::Bytes;
use market_core::clock::UnixMillis;
use market_core::timeframe::Timeframe;
use metrics::{Counter, counter};

/// How long a mark waits for its bars: some bars may never come.
const WAIT: Duration = Duration::from_millis(500);
/// Number of ends of an interval whose bars are counted.
const ENDS_MAX: usize = 64;

#[derive(Debug, Default)]
struct Interval {
    /// Closed bars that have come, by their end.
    bars: BTreeMap<UnixMillis, u64>,
    held: Option<Held>,
}

#[derive(Debug)]
struct Held {
    end_ms: UnixMillis,
    bars: u64,
    payload: Bytes,
    until: Instant,
}

impl Interval {
    fn has_all(&self, end_ms: UnixMillis, bars: u64) -> bool {
        // A mark does not wait for bars of an interval that this gateway does not follow.
        bars == 0
            || self.bars.is_empty()
            || self.bars.get(&end_ms).is_some_and(|&come| come >= bars)
    }

    /// Forgets the end that is farthest from the present: neither a long history nor bars of the
    /// future displace the ends that marks wait for.
    fn forget_one(&mut self, now_ms: UnixMillis) {
        let distance = |end_ms: Option<(&UnixMillis, &u64)>| {
            end_ms.map_or(0, |(end_ms, _)| end_ms.abs_diff(now_ms))
        };
        if distance(self.bars.first_key_value()) >= distance(self.bars.last_key_value()) {
            self.bars.pop_first();
        } else {
            self.bars.pop_last();
        }
    }
}

/// The marks and bars of every interval; shared by the ingests of both. There are as many as
/// timeframes, a few dozen.
#[derive(Debug)]
pub(crate) struct BoundaryGate {
    by_interval: Mutex<HashMap<Timeframe, Interval>>,
    overdue: Counter,
}

impl Default for BoundaryGate {
    fn default() -> Self {
        Self {
            by_interval: Mutex::default(),
            overdue: counter!("gateway_boundary_marks_overdue_total"),
        }
    }
}

impl BoundaryGate {
    fn by_interval(&self) -> MutexGuard<'_, HashMap<Timeframe, Interval>> {
        self.by_interval
            .lock()
            .expect("no code panics while it holds the boundaries")
    }

    /// A bar has closed that ends at `end_ms` and is not a revision. Returns the mark that waited
    /// for it.
    pub(crate) fn closed(
        &self,
        timeframe: Timeframe,
        end_ms: UnixMillis,
        now_ms: UnixMillis,
    ) -> Option<Bytes> {
        let mut by_interval = self.by_interval();
        let interval = by_interval.entry(timeframe).or_default();
        let come = interval.bars.entry(end_ms).or_insert(0);
        *come = come.saturating_add(1);
        if interval.bars.len() > ENDS_MAX {
            interval.forget_one(now_ms);
        }
        let held = interval.held.as_ref()?;
        if !interval.has_all(held.end_ms, held.bars) {
            return None;
        }
        interval.held.take().map(|held| held.payload)
    }

    /// A mark has come of an interval that ends at `end_ms` and had this many bars. Returns it if
    /// the bars are here, and the mark before it if that one still waits; otherwise holds it.
    pub(crate) fn marked(
        &self,
        timeframe: Timeframe,
        end_ms: UnixMillis,
        bars: u64,
        payload: Bytes,
        now: Instant,
    ) -> Vec<Bytes> {
        let mut by_interval = self.by_interval();
        let interval = by_interval.entry(timeframe).or_default();
        let mut out = Vec::new();
        if let Some(held) = interval.held.take() {
            self.overdue.increment(1);
            out.push(held.payload);
        }
        if interval.has_all(end_ms, bars) {
            out.push(payload);
        } else {
            interval.held = Some(Held {
                end_ms,
                bars,
                payload,
                until: now + WAIT,
            });
        }
        out
    }

    /// When the next mark has waited long enough.
    pub(crate) fn next_at(&self) -> Option<Instant> {
        let by_interval = self.by_interval();
        let held = by_interval
            .values()
            .filter_map(|interval| interval.held.as_ref());
        held.map(|held| held.until).min()
    }

    /// The marks that have waited long enough, with their intervals.
    pub(crate) fn overdue(&self, now: Instant) -> Vec<(Timeframe, Bytes)> {
        let mut out = Vec::new();
        for (&timeframe, interval) in self.by_interval().iter_mut() {
            if let Some(held) = interval.held.take_if(|held| held.until <= now) {
                self.overdue.increment(1);
                out.push((timeframe, held.payload));
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Timeframe = Timeframe::SECOND;
    const NOW_MS: UnixMillis = 1_800_000_000_000;

    fn payload(end_ms: UnixMillis) -> Bytes {
        Bytes::from(end_ms.to_string())
    }

    fn closed(boundaries: &BoundaryGate, end_ms: UnixMillis) -> Option<Bytes> {
        boundaries.closed(SECOND, end_ms, NOW_MS)
    }

    fn marked(boundaries: &BoundaryGate, end_ms: UnixMillis, bars: u64, now: Instant) -> usize {
        let out = boundaries.marked(SECOND, end_ms, bars, payload(end_ms), now);
        out.len()
    }

    #[test]
    fn a_mark_waits_for_the_last_of_its_bars() {
        let (boundaries, now) = (BoundaryGate::default(), Instant::now());
        assert_eq!(closed(&boundaries, 1_000), None);
        assert_eq!(marked(&boundaries, 1_000, 3, now), 0);
        assert_eq!(closed(&boundaries, 1_000), None);
        // Neither other ends nor other intervals count.
        assert_eq!(closed(&boundaries, 2_000), None);
        assert_eq!(boundaries.closed(Timeframe::MINUTE, 1_000, NOW_MS), None);
        assert_eq!(closed(&boundaries, 1_000), Some(payload(1_000)));
        assert_eq!(boundaries.next_at(), None);
        assert_eq!(marked(&boundaries, 2_000, 1, now), 1);
    }

    #[test]
    fn a_mark_whose_bars_do_not_come_goes_out_after_a_while_or_with_the_next() {
        let (boundaries, now) = (BoundaryGate::default(), Instant::now());
        closed(&boundaries, 0);
        assert_eq!(marked(&boundaries, 1_000, 1, now), 0);
        assert_eq!(boundaries.next_at(), Some(now + WAIT));
        assert!(boundaries.overdue(now).is_empty());
        assert_eq!(boundaries.overdue(now + WAIT).len(), 1);
        assert_eq!(marked(&boundaries, 2_000, 1, now), 0);
        assert_eq!(marked(&boundaries, 3_000, 1, now), 1);
    }

    #[test]
    fn a_mark_without_bars_and_one_of_an_interval_without_bars_here_do_not_wait() {
        let boundaries = BoundaryGate::default();
        assert_eq!(marked(&boundaries, 1_000, 5, Instant::now()), 1);
        closed(&boundaries, 1_000);
        assert_eq!(marked(&boundaries, 2_000, 0, Instant::now()), 1);
    }

    #[test]
    fn neither_old_ends_nor_those_of_the_future_drive_out_those_of_the_present() {
        let boundaries = BoundaryGate::default();
        let now = Instant::now();
        for index in 1..=1_000 {
            let now_ms = NOW_MS + index * 1_000;
            // The bar of the present is there when its mark comes.
            let end_ms = now_ms;
            for end_ms in [end_ms, now_ms + 3_600_000, now_ms - 3_600_000] {
                boundaries.closed(SECOND, end_ms, now_ms);
            }
            assert_eq!(marked(&boundaries, end_ms, 1, now), 1, "{index}");
            assert!(boundaries.by_interval()[&SECOND].bars.len() <= ENDS_MAX);
        }
    }
}
