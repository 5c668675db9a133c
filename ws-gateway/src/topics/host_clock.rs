//! This host's clock, for judging messages from the bus.
//!
//! If a wall clock is set back by hours, every bar seems to be of the future, and no client would
//! get one. Then the time follows the monotonic clock. After a suspension of the host, the
//! monotonic clock is behind, so the later of the two clocks counts.

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use market_core::clock::UnixMicros;

/// Both clocks at the first reading.
#[derive(Clone, Copy, Debug)]
struct Start {
    wall_us: UnixMicros,
    at: Instant,
}

impl Start {
    /// The later time, if the wall clock says `wall_us` and `passed` has passed since the start.
    fn latest_us(self, wall_us: UnixMicros, passed: Duration) -> UnixMicros {
        let passed_us = UnixMicros::try_from(passed.as_micros()).unwrap_or(UnixMicros::MAX);
        wall_us.max(self.wall_us.saturating_add(passed_us))
    }
}

static START: OnceLock<Start> = OnceLock::new();

/// µs since 1970 by the wall clock.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads the wall clock"
)]
pub(crate) fn wall_us() -> UnixMicros {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        UnixMicros::try_from(since.as_micros()).unwrap_or(UnixMicros::MAX)
    })
}

/// µs since 1970 by the later of both clocks: it does not go back with the wall clock.
#[must_use]
pub(crate) fn latest_us() -> UnixMicros {
    let start = START.get_or_init(|| Start {
        wall_us: wall_us(),
        at: Instant::now(),
    });
    start.latest_us(wall_us(), start.at.elapsed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wall_clock_that_is_set_back_makes_no_bar_one_of_the_future() {
        const START_US: UnixMicros = 1_800_000_000_000_000;
        const HOUR_US: UnixMicros = 3_600_000_000;
        let start = Start {
            wall_us: START_US,
            at: Instant::now(),
        };
        let passed = Duration::from_secs(5);
        let now_us = START_US + 5_000_000;
        assert_eq!(start.latest_us(now_us, passed), now_us);
        assert_eq!(start.latest_us(now_us - 3 * HOUR_US, passed), now_us);
        assert_eq!(start.latest_us(0, passed), now_us);
        // Set forward, or suspended for three hours: later bars are not of the future either.
        let later_us = now_us + 3 * HOUR_US;
        assert_eq!(start.latest_us(later_us, passed), later_us);
    }
}
