//! This host's clock: the only place that reads it.

use std::time::{SystemTime, UNIX_EPOCH};

use market_core::{UnixMicros, UnixMillis};

/// µs since 1970.
#[must_use]
pub(crate) fn now_us() -> UnixMicros {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// ms since 1970.
#[must_use]
pub(crate) fn now_ms() -> UnixMillis {
    now_us() / 1_000
}
