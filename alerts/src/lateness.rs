//! How late bars come: until when it is known that a symbol was silent.

use std::time::{Duration, Instant};

use market_core::UnixMillis;

/// A bar is on the bus some seconds after its end, and later after an outage. Until then, its symbol
/// only looks silent.
#[derive(Debug)]
pub struct Lateness {
    allowance: Duration,
    /// When reading began, or failed last: what was published before may still be on its way.
    disturbed: Instant,
}

impl Lateness {
    /// Of a reader that begins now. `allowance` is how long after its end a bar may come.
    #[must_use]
    pub const fn new(allowance: Duration, now: Instant) -> Self {
        Self {
            allowance,
            disturbed: now,
        }
    }

    /// Bars could not be read. Publishers perhaps could not publish them, either.
    pub const fn disturb(&mut self, now: Instant) {
        self.disturbed = now;
    }

    /// Of a reader that has all that was published: until when it knows of all trades. `None` if it
    /// cannot say so.
    #[must_use]
    pub fn known_ms(&self, now: Instant, now_ms: UnixMillis) -> Option<UnixMillis> {
        if now.saturating_duration_since(self.disturbed) < self.allowance {
            return None;
        }
        let late_ms = i64::try_from(self.allowance.as_millis()).unwrap_or(i64::MAX);
        Some(now_ms.saturating_sub(late_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_silent_before_late_bars_have_had_their_time() {
        let (allowance, begun) = (Duration::from_secs(15), Instant::now());
        let after = |seconds| begun + Duration::from_secs(seconds);
        let mut lateness = Lateness::new(allowance, begun);
        assert_eq!(lateness.known_ms(after(14), 114_000), None);
        assert_eq!(lateness.known_ms(after(15), 115_000), Some(100_000));
        // An outage: what was not published meanwhile comes after it.
        lateness.disturb(after(60));
        assert_eq!(lateness.known_ms(after(74), 174_000), None);
        assert_eq!(lateness.known_ms(after(75), 175_000), Some(160_000));
    }
}
