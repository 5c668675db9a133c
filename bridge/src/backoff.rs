//! Pauses after failures.

use std::time::Duration;

use rand::Rng as _;
use service::Shutdown;

/// The first pause.
const FIRST: Duration = Duration::from_millis(100);

/// Pauses that grow with each failure, up to a bound, each of them random between half and the whole
/// of it, so that many programs do not come back at once.
#[derive(Debug)]
pub(crate) struct Backoff {
    max: Duration,
    failures: u32,
}

impl Backoff {
    pub(crate) fn new(max: Duration) -> Backoff {
        Backoff { max, failures: 0 }
    }

    /// After a success.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }

    /// Failures since the last success.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    /// The next pause.
    pub(crate) fn next(&mut self) -> Duration {
        let whole = FIRST
            .saturating_mul(1 << self.failures.min(16))
            .min(self.max);
        self.failures = self.failures.saturating_add(1);
        whole.mul_f64(rand::rng().random_range(0.5..=1.0))
    }

    /// Waits for the next pause, or until the shutdown.
    pub(crate) async fn pause(&mut self, shutdown: &Shutdown) {
        let pause = self.next();
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = shutdown.triggered() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_bound_and_begin_anew_after_a_success() {
        let max = Duration::from_secs(5);
        let mut backoff = Backoff::new(max);
        for whole_ms in [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000] {
            let pause = backoff.next();
            let whole = Duration::from_millis(whole_ms);
            assert!(pause <= whole && pause >= whole / 2, "{pause:?}");
        }
        for _ in 0..100 {
            assert!(backoff.next() <= max);
        }
        backoff.reset();
        assert!(backoff.next() <= FIRST);
    }
}
