//! A rate with a burst.

use std::time::{Duration, Instant};

/// A token bucket: a number at once, and a rate in the long run.
#[derive(Clone, Copy, Debug)]
pub struct TokenBucket {
    per_second: u32,
    burst: u32,
    /// When the bucket was full, or will be.
    full_at: Instant,
}

impl TokenBucket {
    /// A full bucket; a rate of 0 is no limit.
    #[must_use]
    pub fn new(per_second: u32, burst: u32, now: Instant) -> Self {
        Self {
            per_second,
            burst: burst.max(1),
            full_at: now,
        }
    }

    fn token(&self) -> Duration {
        Duration::from_secs(1) / self.per_second
    }

    /// Takes `cost` tokens; false if there are too few.
    pub fn take(&mut self, cost: u32, now: Instant) -> bool {
        if self.per_second == 0 {
            return true;
        }
        let full_at = self.full_at.max(now) + self.token() * cost.min(self.burst);
        if full_at > now + self.token() * self.burst {
            return false;
        }
        self.full_at = full_at;
        true
    }

    /// Whether it has all its tokens.
    #[must_use]
    pub fn is_full(&self, now: Instant) -> bool {
        self.full_at <= now
    }

    /// When there is a token again.
    #[must_use]
    pub fn next_at(&self, now: Instant) -> Instant {
        if self.per_second == 0 {
            return now;
        }
        let at = self.full_at + self.token();
        at.checked_sub(self.token() * self.burst).unwrap_or(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let start = Instant::now();
        let mut bucket = TokenBucket::new(10, 3, start);
        assert!((0..3).all(|_| bucket.take(1, start)));
        assert!(!bucket.take(1, start));
        assert_eq!(bucket.next_at(start), start + Duration::from_millis(100));
        assert!(bucket.take(1, start + Duration::from_millis(100)));
        assert!(!bucket.take(1, start + Duration::from_millis(100)));
        assert!(bucket.take(3, start + Duration::from_secs(5)));
        assert!(TokenBucket::new(0, 1, start).take(1_000, start));
    }
}
