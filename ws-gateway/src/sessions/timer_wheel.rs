//! A timer wheel: many coarse timers for the price of one.

use std::time::{Duration, Instant};

/// Buckets of the wheel; a timer beyond all of them stays for another round.
const BUCKETS: usize = 256;

/// Timers that are due at a tick or up to one tick late.
#[derive(Debug)]
pub(crate) struct TimerWheel<T> {
    buckets: Vec<Vec<(u64, T)>>,
    tick: Duration,
    start: Instant,
    /// The next tick to check.
    next: u64,
}

impl<T> TimerWheel<T> {
    /// An empty wheel that begins at `start`.
    #[must_use]
    pub(crate) fn new(start: Instant, tick: Duration) -> Self {
        Self {
            buckets: (0..BUCKETS).map(|_| Vec::new()).collect(),
            tick: tick.max(Duration::from_millis(1)),
            start,
            next: 0,
        }
    }

    fn tick_of(&self, at: Instant) -> u64 {
        let ticks = at.saturating_duration_since(self.start).as_millis() / self.tick.as_millis();
        u64::try_from(ticks).unwrap_or(u64::MAX)
    }

    /// Arms a timer.
    pub(crate) fn arm(&mut self, at: Instant, timer: T) {
        let due = (self.tick_of(at) + 1).max(self.next);
        self.buckets[(due % BUCKETS as u64) as usize].push((due, timer));
    }

    /// How many timers are armed.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.buckets.iter().map(Vec::len).sum()
    }

    /// The time of the next check.
    #[must_use]
    pub(crate) fn next_at(&self) -> Instant {
        let millis = u64::try_from(self.tick.as_millis()).unwrap_or(u64::MAX);
        self.start + Duration::from_millis(millis.saturating_mul(self.next))
    }

    /// Moves the timers that are due to `out`.
    pub(crate) fn turn(&mut self, now: Instant, out: &mut Vec<T>) {
        let last = self.tick_of(now);
        while self.next <= last {
            let tick = self.next;
            let bucket = &mut self.buckets[(tick % BUCKETS as u64) as usize];
            let mut index = 0;
            while index < bucket.len() {
                if bucket[index].0 <= tick {
                    out.push(bucket.swap_remove(index).1);
                } else {
                    index += 1;
                }
            }
            if bucket.is_empty() {
                bucket.shrink_to(64);
            }
            self.next += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_timer_fires_once_and_within_a_tick(
            delays_ms in proptest::collection::vec(0u64..400_000, 1..40),
            step_ms in 1u64..5_000,
        ) {
            let start = Instant::now();
            let tick = Duration::from_millis(500);
            let mut wheel = TimerWheel::new(start, tick);
            for &delay_ms in &delays_ms {
                wheel.arm(start + Duration::from_millis(delay_ms), delay_ms);
            }
            let (mut now, mut fired) = (start, Vec::new());
            while fired.len() < delays_ms.len() {
                now += Duration::from_millis(step_ms);
                let before = fired.len();
                wheel.turn(now, &mut fired);
                for &delay_ms in &fired[before..] {
                    let late = (now - start).as_millis() as u64 - delay_ms.min((now - start).as_millis() as u64);
                    prop_assert!(start + Duration::from_millis(delay_ms) <= now);
                    prop_assert!(late <= 1_000 + step_ms);
                }
                prop_assert!(now < start + Duration::from_secs(500));
            }
        }
    }
}
