//! When a worker ticks its symbols: in turns, and without delaying its inputs for long.

use std::time::{Duration, Instant};

/// When to tick again after a tick that took more than half of its period; `None` if it did not.
///
/// The inputs get as much time as the tick took. Otherwise a worker with much to revise would only
/// tick, and the trades that it drops in the meantime would cause even more revisions.
pub(crate) fn after_long_tick(began: Instant, ended: Instant, period: Duration) -> Option<Instant> {
    let took = ended.saturating_duration_since(began);
    (took * 2 > period).then(|| ended + took)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: Duration = Duration::from_millis(5);

    /// Time for inputs while ticks of this length come first whenever one is due, in 10 s.
    fn time_for_inputs(tick: Duration) -> Duration {
        let start = Instant::now();
        let (mut now, mut due, mut inputs) = (start, start, Duration::ZERO);
        while now < start + Duration::from_secs(10) {
            if now >= due {
                let began = now;
                now += tick;
                due = after_long_tick(began, now, PERIOD).unwrap_or(began + PERIOD);
            } else {
                let input = Duration::from_micros(100);
                now += input;
                inputs += input;
            }
        }
        inputs
    }

    #[test]
    fn ticks_of_any_length_leave_half_of_the_time_to_what_waits() {
        for tick_ms in [1, 2, 3, 5, 6, 50, 1_000] {
            let inputs = time_for_inputs(Duration::from_millis(tick_ms));
            assert!(
                inputs >= Duration::from_millis(4_000),
                "{tick_ms} ms: {inputs:?}"
            );
        }
    }

    #[test]
    fn short_ticks_come_at_their_period() {
        let began = Instant::now();
        assert_eq!(after_long_tick(began, began + PERIOD / 2, PERIOD), None);
    }
}
