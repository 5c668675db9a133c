//! When a value that does not change is published again, so that its readers know that it is still so.

use std::time::{Duration, Instant};

/// Has each of some values once in a time. They come one after the other, not all at once.
#[derive(Debug)]
pub(super) struct Heartbeat {
    every: Duration,
    began: Option<Instant>,
    /// How many were due since it began.
    done: u128,
    next: usize,
}

impl Heartbeat {
    /// Each value once in `every`.
    pub(super) fn new(every: Duration) -> Self {
        Self {
            every: every.max(Duration::from_millis(1)),
            began: None,
            done: 0,
            next: 0,
        }
    }

    /// Which of `count` values are due now: each of them at most once.
    pub(super) fn due(&mut self, count: usize, now: Instant) -> impl Iterator<Item = usize> {
        let began = *self.began.get_or_insert(now);
        let elapsed = now.saturating_duration_since(began);
        let total = elapsed.as_nanos() * count as u128 / self.every.as_nanos();
        let due = total.saturating_sub(self.done).min(count as u128) as usize;
        self.done = total;
        let first = self.next;
        self.next = (first + due) % count.max(1);
        (first..first + due).map(move |at| at % count.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_is_due_once_in_the_time_whatever_the_steps() {
        let start = Instant::now();
        for step_ms in [1, 7, 100, 999] {
            let mut heartbeat = Heartbeat::new(Duration::from_secs(1));
            let mut counts = vec![0; 30];
            let mut most = 0;
            for step in 0..=10_000 / step_ms {
                let now = start + Duration::from_millis(step * step_ms);
                let due: Vec<usize> = heartbeat.due(counts.len(), now).collect();
                most = most.max(due.len());
                due.into_iter().for_each(|at| counts[at] += 1);
            }
            assert!(
                counts.iter().all(|count| (9..=10).contains(count)),
                "{counts:?}"
            );
            assert!(most <= (step_ms as usize * 30).div_ceil(1_000), "{most}");
        }
    }

    #[test]
    fn after_a_standstill_each_value_is_due_at_most_once() {
        let start = Instant::now();
        let mut heartbeat = Heartbeat::new(Duration::from_millis(10));
        assert_eq!(heartbeat.due(3, start).count(), 0);
        let later = start + Duration::from_secs(3_600);
        let mut due: Vec<usize> = heartbeat.due(3, later).collect();
        due.sort_unstable();
        assert_eq!(due, [0, 1, 2]);
        assert_eq!(heartbeat.due(3, later).count(), 0);
        assert_eq!(heartbeat.due(0, later).count(), 0);
    }
}
