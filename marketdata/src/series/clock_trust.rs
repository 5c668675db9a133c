//! What a symbol knows of its venue's clock.

use market_core::UnixMillis;

/// How long bars wait for a frame that tells the venue's clock before this host's clock counts.
const CLOCK_WAIT_MS: i64 = 5_000;

/// The venue's clock, after a frame has told it; this host's clock until then.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClockTrust {
    waits_since_ms: UnixMillis,
    offset_ms: Option<i64>,
}

impl ClockTrust {
    /// Nothing is known at `now`.
    pub(super) fn new(now: UnixMillis) -> Self {
        Self {
            waits_since_ms: now,
            offset_ms: None,
        }
    }

    /// A frame has told the venue's clock.
    pub(super) fn is_told(&self) -> bool {
        self.offset_ms.is_some()
    }

    /// The venue's clock minus this host's.
    pub(super) fn tell(&mut self, offset_ms: i64) {
        self.offset_ms = Some(offset_ms);
    }

    /// The venue's time at a time of this host.
    pub(super) fn venue_ms(&self, host_ms: UnixMillis) -> UnixMillis {
        host_ms + self.offset_ms.unwrap_or(0)
    }

    /// Whether bars may close: until a frame has told the venue's clock, this host's clock could
    /// close bars too early.
    pub(super) fn may_close(&self, now: UnixMillis) -> bool {
        self.is_told() || now - self.waits_since_ms >= CLOCK_WAIT_MS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_wait_for_the_venues_clock_but_not_for_long() {
        let clock = ClockTrust::new(1_000);
        assert!(!clock.may_close(1_000 + CLOCK_WAIT_MS - 1));
        assert!(clock.may_close(1_000 + CLOCK_WAIT_MS));
        assert_eq!(clock.venue_ms(7_000), 7_000);
    }

    #[test]
    fn a_told_clock_counts_at_once() {
        let mut clock = ClockTrust::new(1_000);
        clock.tell(-40);
        assert!(clock.is_told() && clock.may_close(1_000));
        assert_eq!(clock.venue_ms(7_000), 6_960);
    }
}
