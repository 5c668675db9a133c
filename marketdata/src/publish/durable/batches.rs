//! Whether the stream of closed bars takes batches.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long bars are stored one by one after a stream took no batch.
const WITHOUT: Duration = Duration::from_secs(60);

/// See the module.
#[derive(Debug)]
pub(super) struct Batches {
    is_wanted: bool,
    since: Instant,
    /// Milliseconds after `since` until which it is not tried.
    not_before_ms: AtomicU64,
}

impl Batches {
    /// Batches are tried only if they are wanted.
    pub(super) fn new(is_wanted: bool) -> Self {
        Self {
            is_wanted,
            since: Instant::now(),
            not_before_ms: AtomicU64::new(0),
        }
    }

    fn passed_ms(&self, now: Instant) -> u64 {
        let passed = now.saturating_duration_since(self.since);
        u64::try_from(passed.as_millis()).unwrap_or(u64::MAX)
    }

    pub(super) fn may_be_tried(&self, now: Instant) -> bool {
        self.is_wanted && self.passed_ms(now) >= self.not_before_ms.load(Ordering::Relaxed)
    }

    pub(super) fn refused(&self, now: Instant) {
        let until = self.passed_ms(now + WITHOUT);
        self.not_before_ms.store(until, Ordering::Relaxed);
    }
}
