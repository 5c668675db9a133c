//! This host's wall clock. It can be set back: [`std::time::Instant`] is for durations.

use std::time::{SystemTime, UNIX_EPOCH};

use market_core::UnixMillis;

/// Milliseconds since 1970 by the wall clock; 0 if it shows an earlier time.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads the wall clock for programs without a clock of their own"
)]
pub fn wall_clock_ms() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        UnixMillis::try_from(since.as_millis()).unwrap_or(UnixMillis::MAX)
    })
}
