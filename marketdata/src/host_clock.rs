//! This host's clock: only this module reads it.
//!
//! The wall clock is read once, at the first use. After that, time advances by the monotonic clock.
//! So a step of the wall clock, back or forward, has no effect: no silence begins or ends, no
//! budget is used or freed, and no bar closes early. The venues' clocks are estimated against this
//! clock ([`market_core::VenueClock`]), so bars still follow the venues' time.

use std::sync::OnceLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use market_core::{UnixMicros, UnixMillis};

/// A clock that shows the wall time of its start plus the time that has passed since.
#[derive(Clone, Copy, Debug)]
struct SteadyClock {
    wall_us: UnixMicros,
    started: Instant,
}

impl SteadyClock {
    fn at(&self, now: Instant) -> UnixMicros {
        let passed = now.saturating_duration_since(self.started).as_micros();
        self.wall_us
            .saturating_add(i64::try_from(passed).unwrap_or(i64::MAX))
    }

    /// How far the wall clock has moved against this one since the start, µs.
    fn wall_step_us(&self, now: Instant, wall_us: UnixMicros) -> i64 {
        wall_us.saturating_sub(self.at(now))
    }
}

static CLOCK: OnceLock<SteadyClock> = OnceLock::new();

fn clock() -> &'static SteadyClock {
    CLOCK.get_or_init(|| SteadyClock {
        wall_us: wall_us(),
        started: Instant::now(),
    })
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads the wall clock"
)]
fn wall_us() -> UnixMicros {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// µs since 1970; never goes back.
#[must_use]
pub(crate) fn now_us() -> UnixMicros {
    clock().at(Instant::now())
}

/// ms since 1970; never goes back.
#[must_use]
pub(crate) fn now_ms() -> UnixMillis {
    now_us() / 1_000
}

/// How far the wall clock has been set since the start, ms: forward if above 0.
#[must_use]
pub(crate) fn wall_step_ms() -> i64 {
    clock().wall_step_us(Instant::now(), wall_us()) / 1_000
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever the wall clock is set to, the time goes on by what has passed, and the step
        /// is told.
        #[test]
        fn a_step_of_the_wall_clock_moves_no_time(
            wall_us in 0i64..4_000_000_000_000_000,
            turns in proptest::collection::vec((0u64..5_000_000, -7_200_000_000i64..7_200_000_000), 1..50),
        ) {
            let started = Instant::now();
            let clock = SteadyClock { wall_us, started };
            let (mut passed_us, mut stepped_us, mut before) = (0, 0, clock.at(started));
            for (pause_us, step_us) in turns {
                passed_us += pause_us;
                stepped_us += step_us;
                let now = started + Duration::from_micros(passed_us);
                let shown = clock.at(now);
                prop_assert_eq!(shown - before, i64::try_from(pause_us).expect("small"));
                before = shown;
                let wall = wall_us + i64::try_from(passed_us).expect("small") + stepped_us;
                prop_assert_eq!(clock.wall_step_us(now, wall), stepped_us);
            }
        }
    }
}
