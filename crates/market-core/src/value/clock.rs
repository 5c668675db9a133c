//! Units of time, and a venue's clock as seen from this host.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// Milliseconds since 1970-01-01T00:00Z.
pub type UnixMillis = i64;
/// Microseconds since 1970-01-01T00:00Z.
pub type UnixMicros = i64;

/// How far ahead of the clock an epoch may be, ms. A publisher takes an epoch above all that it has
/// heard, and keeps it after its clock is corrected. Gateways ignore a publisher with a lower
/// epoch. Therefore an epoch that is further ahead is ignored.
pub const EPOCH_AHEAD_MAX_MS: u64 = 86_400_000;

/// How far one sample may raise the estimate before other samples must confirm it.
const JUMP_MAX_MS: i64 = 5_000;
/// How many samples in a row must agree before a jump is accepted.
const JUMP_SAMPLES_MIN: u32 = 8;
/// The same number, while the estimate itself rests on fewer samples.
const JUMP_SAMPLES_FIRST: u32 = 2;
/// How long a sample counts, and the width of the buckets it is kept in.
const SPAN_MS: i64 = 60_000;
const BUCKET_MS: i64 = 1_000;
/// How long a sample represents the current transit time.
const RECENT_MS: i64 = 3_000;
/// The most by which a few recent samples may set the estimate back: they may be old trades.
const LAG_MAX_MS: i64 = 10_000;

/// Estimates a venue's clock from the event times and the receive times of its events.
///
/// A sample is event time − receive time: the difference of the clocks less the transit time. The
/// largest sample of the last seconds has the shortest transit time. So the estimate trails the
/// venue's clock by no more than this transit time, and is never ahead of it. When the feed falls
/// behind by seconds, the estimate falls behind with it, and bars wait for their trades. The
/// captures of the tests include a recorder whose clock was 1.27 s behind the venue's. A host that
/// judged lateness by its own clock would close every bar early, or never.
///
/// No single event sets it: one from the future has to be confirmed, and so has an old one while
/// nothing else has come lately, for a quiet symbol may begin with a trade that is days old.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct VenueClock {
    /// By host time, oldest first.
    buckets: VecDeque<Bucket>,
    /// The largest sample of all buckets, and of the newest ones.
    largest_ms: Option<i64>,
    recent_ms: i64,
    /// How many samples the newest buckets hold, and how many were believed in all.
    recent_samples: u32,
    samples: u32,
    jump: Option<(i64, u32)>,
}

/// The samples of a second.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Bucket {
    start_ms: UnixMillis,
    largest_ms: i64,
    samples: u32,
}

impl VenueClock {
    /// Takes a sample: this host received at `received_ms` an event with the venue's time
    /// `event_ms`. Do not offer frames that carry old events on purpose (snapshots).
    pub fn observe(&mut self, event_ms: UnixMillis, received_ms: UnixMillis) {
        let sample = event_ms.saturating_sub(received_ms);
        if !self.is_believed(sample, received_ms) {
            return;
        }
        self.samples = self.samples.saturating_add(1);
        let start_ms = received_ms.saturating_sub(received_ms.rem_euclid(BUCKET_MS));
        match (self.buckets.back_mut(), self.largest_ms) {
            (Some(bucket), Some(largest_ms)) if bucket.start_ms >= start_ms => {
                bucket.largest_ms = sample.max(bucket.largest_ms);
                bucket.samples = bucket.samples.saturating_add(1);
                self.largest_ms = Some(largest_ms.max(sample));
                self.recent_ms = self.recent_ms.max(sample);
                self.recent_samples = self.recent_samples.saturating_add(1);
            }
            _ => {
                self.buckets.push_back(Bucket {
                    start_ms,
                    largest_ms: sample,
                    samples: 1,
                });
                self.look_again(start_ms);
            }
        }
    }

    /// A new second begins: drop the samples that are too old.
    fn look_again(&mut self, newest_ms: UnixMillis) {
        let oldest_ms = newest_ms.saturating_sub(SPAN_MS);
        while self
            .buckets
            .front()
            .is_some_and(|bucket| bucket.start_ms < oldest_ms)
        {
            self.buckets.pop_front();
        }
        self.largest_ms = self.buckets.iter().map(|bucket| bucket.largest_ms).max();
        let recent_from_ms = newest_ms.saturating_sub(RECENT_MS);
        let recent = || {
            let newest_first = self.buckets.iter().rev();
            newest_first.take_while(|bucket| bucket.start_ms > recent_from_ms)
        };
        let recent_ms = recent().map(|bucket| bucket.largest_ms).max();
        let samples = recent().map(|bucket| bucket.samples);
        let recent_samples = samples.fold(0, u32::saturating_add);
        self.recent_ms = recent_ms.unwrap_or_default();
        self.recent_samples = recent_samples;
    }

    /// One wrong timestamp must not close bars early, but a real step of the venue's or the host's
    /// clock must be followed. A sample that agrees with this host's clock needs no confirmation.
    fn is_believed(&mut self, sample: i64, received_ms: UnixMillis) -> bool {
        let before = self.largest_ms.unwrap_or(0);
        let is_ahead = sample > before.saturating_add(JUMP_MAX_MS);
        // With fresh samples beside it an old one says nothing; without any it would say all.
        let is_alone = self
            .buckets
            .back()
            .is_none_or(|bucket| bucket.start_ms < received_ms.saturating_sub(SPAN_MS));
        let is_behind = is_alone && sample < before.saturating_sub(LAG_MAX_MS);
        if !is_ahead && !is_behind || sample.saturating_abs() <= JUMP_MAX_MS {
            return true;
        }
        let agreeing = match self.jump {
            Some((first, agreeing))
                if sample.saturating_sub(first).saturating_abs() <= JUMP_MAX_MS =>
            {
                agreeing + 1
            }
            _ => 1,
        };
        let needed = if is_behind || self.samples < JUMP_SAMPLES_MIN {
            JUMP_SAMPLES_FIRST
        } else {
            JUMP_SAMPLES_MIN
        };
        if agreeing < needed {
            self.jump = Some((sample, agreeing));
            return false;
        }
        self.jump = None;
        // The clocks have stepped: earlier samples no longer apply.
        self.buckets.clear();
        true
    }

    /// Whether any sample was believed.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.largest_ms.is_some()
    }

    /// The venue's clock minus this host's, ms; 0 before the first sample.
    #[must_use]
    pub fn offset_ms(&self) -> i64 {
        let Some(largest_ms) = self.largest_ms else {
            return 0;
        };
        if self.recent_samples >= JUMP_SAMPLES_MIN {
            return self.recent_ms;
        }
        self.recent_ms.max(largest_ms.saturating_sub(LAG_MAX_MS))
    }

    /// The venue's clock at `host_ms` of this host's clock, or slightly earlier.
    #[must_use]
    pub fn venue_now(&self, host_ms: UnixMillis) -> UnixMillis {
        host_ms.saturating_add(self.offset_ms())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offset_follows_the_quickest_sample_of_the_last_seconds() {
        let mut clock = VenueClock::default();
        for step in 0..100 {
            let latency = if step == 80 { 3 } else { 40 };
            clock.observe(
                1_000_000 + step * 100 + 1_270,
                1_000_000 + step * 100 + latency,
            );
        }
        assert_eq!(clock.offset_ms(), 1_267);
        for step in 0..70 {
            clock.observe(1_010_000 + step * 100 + 1_270, 1_010_000 + step * 100 + 40);
        }
        assert_eq!(clock.offset_ms(), 1_230);
    }

    #[test]
    fn clock_falls_back_with_a_feed_that_falls_behind() {
        let mut clock = VenueClock::default();
        for step in 0..100 {
            clock.observe(1_000_000 + step * 100, 1_000_040 + step * 100);
        }
        assert_eq!(clock.offset_ms(), -40);
        // The way takes 4 s longer from now on.
        for step in 100..160 {
            clock.observe(1_000_000 + step * 100, 1_004_040 + step * 100);
        }
        assert_eq!(clock.offset_ms(), -4_040);
        for step in 160..200 {
            clock.observe(1_004_000 + step * 100, 1_004_040 + step * 100);
        }
        assert_eq!(clock.offset_ms(), -40);
    }

    #[test]
    fn host_clock_that_steps_is_followed_within_seconds() {
        for step_ms in [-600_000, -4_900, 4_900, 30_000, 3_600_000] {
            let mut clock = VenueClock::default();
            for step in 0..100 {
                clock.observe(10_000_000 + step * 100, 10_000_040 + step * 100);
            }
            for step in 100..150 {
                let received_ms = 10_000_040 + step * 100 + step_ms;
                clock.observe(10_000_000 + step * 100, received_ms);
            }
            assert_eq!(clock.offset_ms(), -40 - step_ms, "step of {step_ms} ms");
        }
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
    fn first_event_from_the_future_does_not_set_the_clock() {
        let mut clock = VenueClock::default();
        clock.observe(9_000_000, 1_000_000);
        assert_eq!(clock.offset_ms(), 0);
        clock.observe(1_000_050, 1_000_060);
        assert_eq!(clock.offset_ms(), -10);
    }

    #[test]
    fn old_events_pushed_on_subscribing_do_not_keep_the_clock_back() {
        let mut clock = VenueClock::default();
        for age_ms in [34_920_000, 10_000, 7_000_000] {
            clock.observe(100_000_000 - age_ms, 100_000_000);
        }
        clock.observe(100_000_900, 100_001_000);
        assert_eq!(clock.offset_ms(), -100);
    }

    #[test]
    fn one_old_event_of_a_quiet_symbol_does_not_set_the_clock_and_two_that_agree_do() {
        let three_days_ms = 259_200_000;
        let mut clock = VenueClock::default();
        clock.observe(1_000_000_000 - three_days_ms, 1_000_000_000);
        assert!(!clock.is_known());
        assert_eq!(clock.offset_ms(), 0);
        clock.observe(1_000_001_000 - three_days_ms, 1_000_001_000);
        assert_eq!(
            clock.offset_ms(),
            -three_days_ms,
            "this host's clock is ahead"
        );

        let mut quiet = VenueClock::default();
        quiet.observe(1_000_000, 1_000_010);
        quiet.observe(893_000, 1_000_000 + 10 * SPAN_MS);
        assert_eq!(quiet.offset_ms(), -10);
    }

    #[test]
    fn an_old_event_does_not_set_the_clock_back() {
        let mut clock = VenueClock::default();
        clock.observe(1_000_000, 1_000_005);
        clock.observe(893_000, 1_000_050);
        assert_eq!(clock.offset_ms(), -5);
        // Nor by much if nothing else has come for a while.
        clock.observe(893_000, 1_010_050);
        assert_eq!(clock.offset_ms(), -10_005);
    }

    #[test]
    fn extreme_timestamps_neither_panic_nor_move_the_clock() {
        let mut clock = VenueClock::default();
        clock.observe(1_000_000, 1_000_005);
        for event_ms in [i64::MIN, i64::MAX, 0] {
            clock.observe(event_ms, 1_000_050);
            assert_eq!(clock.offset_ms(), -5);
        }
        clock.observe(i64::MIN, i64::MIN);
        clock.observe(i64::MAX, i64::MAX);
        assert!(clock.venue_now(i64::MAX) > 0);
    }
}
