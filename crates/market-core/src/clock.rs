//! Units of time, and a venue's clock as seen from this host.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// Milliseconds since 1970-01-01T00:00Z.
pub type UnixMillis = i64;
/// Microseconds since 1970-01-01T00:00Z.
pub type UnixMicros = i64;

/// How far one sample may raise the estimate before others have to agree with it.
const JUMP_MAX_MS: i64 = 5_000;
/// How many samples in a row have to agree before a jump is believed.
const JUMP_SAMPLES_MIN: u32 = 8;
/// How long a sample counts, and the width of the buckets it is kept in.
const SPAN_MS: i64 = 60_000;
const BUCKET_MS: i64 = 5_000;

/// Estimates a venue's clock from when its events were stamped and when they arrived.
///
/// A sample is event time − receive time: the clocks' difference less the way here. The largest
/// sample of the last minute comes from the quickest way, so the estimate trails the venue's
/// clock by no more than that way's time and is never ahead of it. A recorder whose clock was
/// 1.27 s behind the venue's is in the captures that the tests replay; a host that judged lateness
/// by its own clock would close every bar early, or never.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct VenueClock {
    /// Largest offset per bucket of host time, oldest first: (bucket start, offset), ms.
    buckets: VecDeque<(UnixMillis, i64)>,
    offset_ms: Option<i64>,
    jump: Option<(i64, u32)>,
}

impl VenueClock {
    /// Takes a sample: an event stamped `event_ms` by the venue came at `received_ms` by this
    /// host. Frames that bring old events on purpose (snapshots) are not to be offered.
    pub fn observe(&mut self, event_ms: UnixMillis, received_ms: UnixMillis) {
        let sample = event_ms - received_ms;
        if let Some(offset) = self.offset_ms
            && sample > offset + JUMP_MAX_MS
            && !self.is_jump_believed(sample)
        {
            return;
        }
        while self
            .buckets
            .front()
            .is_some_and(|&(at, _)| at + SPAN_MS < received_ms)
        {
            self.buckets.pop_front();
        }
        let bucket = received_ms - received_ms.rem_euclid(BUCKET_MS);
        match self.buckets.back_mut() {
            Some((at, offset)) if *at >= bucket => *offset = sample.max(*offset),
            _ => self.buckets.push_back((bucket, sample)),
        }
        self.offset_ms = self.buckets.iter().map(|&(_, offset)| offset).max();
    }

    /// One stray timestamp must not close bars early, but a venue's real step must be followed.
    fn is_jump_believed(&mut self, sample: i64) -> bool {
        let samples = match self.jump {
            Some((first, samples)) if (sample - first).abs() <= JUMP_MAX_MS => samples + 1,
            _ => 1,
        };
        if samples >= JUMP_SAMPLES_MIN {
            self.jump = None;
            return true;
        }
        self.jump = Some((sample, samples));
        false
    }

    /// The venue's clock less this host's, ms; 0 before the first sample.
    #[must_use]
    pub fn offset_ms(&self) -> i64 {
        self.offset_ms.unwrap_or(0)
    }

    /// What the venue's clock shows at `host_ms` of this host's, or a little less.
    #[must_use]
    pub fn venue_now(&self, host_ms: UnixMillis) -> UnixMillis {
        host_ms + self.offset_ms()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offset_follows_the_quickest_sample_of_the_last_minute() {
        let mut clock = VenueClock::default();
        for step in 0..100 {
            let latency = if step == 50 { 3 } else { 40 };
            clock.observe(
                1_000_000 + step * 100 + 1_270,
                1_000_000 + step * 100 + latency,
            );
        }
        assert_eq!(clock.offset_ms(), 1_267);
        for step in 0..700 {
            clock.observe(1_010_000 + step * 100 + 1_270, 1_010_000 + step * 100 + 40);
        }
        assert_eq!(clock.offset_ms(), 1_230);
    }

    #[test]
    fn one_stray_timestamp_does_not_move_the_clock_but_eight_do() {
        let mut clock = VenueClock::default();
        clock.observe(1_000, 1_010);
        clock.observe(3_600_000, 1_020);
        assert_eq!(clock.offset_ms(), -10);
        for step in 0..8 {
            clock.observe(3_600_000 + step, 1_030 + step);
        }
        assert!(clock.offset_ms() > 3_590_000);
    }

    #[test]
    fn an_old_event_does_not_set_the_clock_back() {
        let mut clock = VenueClock::default();
        clock.observe(1_000_000, 1_000_005);
        clock.observe(893_000, 1_000_050);
        assert_eq!(clock.offset_ms(), -5);
    }
}
