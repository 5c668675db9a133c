//! When a book may have its next snapshot.

use market_core::UnixMillis;

/// Longest time between two snapshots of a book, ms.
const WAIT_MAX_MS: i64 = 60_000;
/// A book that was right for this long has its next snapshot at once, ms.
const CALM_MS: i64 = 60_000;

/// The time to the next snapshot doubles with each one: a venue that loses changes all the time must
/// not be asked all the time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    base_ms: i64,
    wait_ms: i64,
    next_at_ms: UnixMillis,
    valid_since_ms: Option<UnixMillis>,
}

impl Pace {
    /// The first snapshot may be at once, and the second one after `base_ms`.
    pub(super) fn new(base_ms: i64) -> Self {
        Self {
            base_ms: base_ms.max(1),
            wait_ms: base_ms.max(1),
            next_at_ms: UnixMillis::MIN,
            valid_since_ms: None,
        }
    }

    /// When the next snapshot may be.
    pub(super) fn next_at_ms(&self) -> UnixMillis {
        self.next_at_ms
    }

    /// A snapshot is asked for.
    pub(super) fn asked(&mut self, now: UnixMillis) {
        self.next_at_ms = now.saturating_add(self.wait_ms);
        self.wait_ms = self.wait_ms.saturating_mul(2).min(WAIT_MAX_MS);
    }

    /// The book is right from now on.
    pub(super) fn valid(&mut self, now: UnixMillis) {
        self.valid_since_ms.get_or_insert(now);
    }

    /// The book is wrong from now on.
    pub(super) fn invalid(&mut self, now: UnixMillis) {
        let since = self.valid_since_ms.take();
        if since.is_some_and(|since| now.saturating_sub(since) >= CALM_MS) {
            self.wait_ms = self.base_ms;
            self.next_at_ms = UnixMillis::MIN;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_book_that_breaks_again_and_again_waits_longer_for_each_snapshot() {
        let mut pace = Pace::new(1_000);
        let mut now = 0;
        let mut waits = Vec::new();
        for _ in 0..9 {
            pace.asked(now);
            pace.valid(now);
            pace.invalid(now + 5);
            waits.push(pace.next_at_ms() - now);
            now = pace.next_at_ms();
        }
        let expected = [1, 2, 4, 8, 16, 32, 60, 60, 60].map(|seconds| seconds * 1_000);
        assert_eq!(waits, expected);
    }

    #[test]
    fn a_book_that_was_right_for_a_minute_has_its_snapshot_at_once() {
        let mut pace = Pace::new(1_000);
        for now in [0, 1_000] {
            pace.asked(now);
        }
        pace.valid(1_500);
        pace.valid(30_000);
        pace.invalid(1_500 + CALM_MS);
        assert!(pace.next_at_ms() <= 0);
        pace.asked(70_000);
        assert_eq!(pace.next_at_ms(), 71_000);
    }
}
