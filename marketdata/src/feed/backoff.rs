//! How long to wait before the next attempt.

/// Full-jitter exponential backoff: a random wait below a ceiling that doubles with each failure,
/// so that clients that were cut together do not come back together.
#[derive(Clone, Debug)]
pub struct Backoff {
    base_ms: u64,
    max_ms: u64,
    failures: u32,
}

impl Backoff {
    /// With ceilings from `base_ms` to `max_ms`.
    #[must_use]
    pub fn new(base_ms: u64, max_ms: u64) -> Self {
        Self {
            base_ms,
            max_ms,
            failures: 0,
        }
    }

    /// The wait after another failure, ms. `random` is in `0.0..1.0`.
    pub fn next_ms(&mut self, random: f64) -> u64 {
        let ceiling = self
            .base_ms
            .saturating_mul(1 << self.failures.min(20))
            .min(self.max_ms);
        self.failures = self.failures.saturating_add(1);
        (ceiling as f64 * random) as u64
    }

    /// The connection lasted: the next failure counts as the first again.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// Failures in a row.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::budget::WindowBudget;
    use crate::exchange::registry::EXCHANGES;

    proptest! {
        /// Ten minutes of refused connections, with the worst jitter among others.
        #[test]
        fn refused_connections_stay_within_every_venues_budget(
            seed in any::<u64>(),
            shards in 1usize..12,
            base_ms in 1u64..600,
            luck in 0.0f64..1.0,
        ) {
            for exchange in EXCHANGES {
                let limits = exchange.limits();
                let mut budget = WindowBudget::new(limits.attempts_max as u32, limits.attempts_window_ms);
                let mut attempts: Vec<i64> = Vec::new();
                let mut state = seed | 1;
                let mut random = || {
                    state ^= state << 13;
                    state ^= state >> 7;
                    state ^= state << 17;
                    (state >> 11) as f64 / (1u64 << 53) as f64 * luck
                };
                // Each shard: when it tries next.
                let mut waiting: Vec<(i64, Backoff)> =
                    (0..shards).map(|_| (0, Backoff::new(base_ms, 30_000))).collect();
                loop {
                    let (at, backoff) = waiting.iter_mut().min_by_key(|(at, _)| *at).expect("shards");
                    if *at > 600_000 {
                        break;
                    }
                    match budget.take(*at, 1) {
                        Ok(()) => {
                            attempts.push(*at);
                            *at += 1 + backoff.next_ms(random()) as i64;
                        }
                        Err(wait_ms) => *at += wait_ms,
                    }
                }
                let mut first = 0;
                for last in 0..attempts.len() {
                    while attempts[last] - attempts[first] >= limits.attempts_window_ms {
                        first += 1;
                    }
                    prop_assert!(last - first < limits.attempts_max, "{}", exchange.name());
                }
            }
        }
    }

    #[test]
    fn ceilings_double_up_to_the_largest_and_start_again() {
        let mut backoff = Backoff::new(500, 3_000);
        let waits: Vec<u64> = (0..5).map(|_| backoff.next_ms(0.999_999)).collect();
        assert_eq!(waits, [499, 999, 1_999, 2_999, 2_999]);
        assert_eq!(backoff.next_ms(0.0), 0);
        backoff.reset();
        assert_eq!(backoff.next_ms(0.5), 250);
    }
}
