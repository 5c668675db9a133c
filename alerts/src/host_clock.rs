//! This host's wall clock.

use std::time::{SystemTime, UNIX_EPOCH};

use market_core::UnixMillis;

/// Milliseconds since 1970.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads the wall clock"
)]
pub(crate) fn now_ms() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        UnixMillis::try_from(since.as_millis()).unwrap_or(UnixMillis::MAX)
    })
}
