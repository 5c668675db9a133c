//! When something of the past comes.

use market_core::UnixMicros;
use tokio::time::{Duration, Instant};

/// A wait beyond the range of the clock, which the shutdown ends.
const FOR_EVER: Duration = Duration::from_secs(u32::MAX as u64);

/// The clock of a replay: it begins with the first thing that comes.
pub(super) struct Pace {
    /// How many seconds of the past go by in a second; 0 is as fast as it goes.
    speed: f64,
    began: Option<(Instant, UnixMicros)>,
}

impl Pace {
    pub(super) fn new(speed: f64) -> Self {
        Self { speed, began: None }
    }

    /// When the clock comes to a time; `None` for at once.
    pub(super) fn at(&mut self, at_us: UnixMicros, now: Instant) -> Option<Instant> {
        if self.speed == 0.0 {
            return None;
        }
        let (began, began_us) = *self.began.get_or_insert((now, at_us));
        let past_us = at_us.saturating_sub(began_us).max(0);
        let after = Duration::try_from_secs_f64(past_us as f64 / 1_000_000.0 / self.speed);
        began.checked_add(after.unwrap_or(FOR_EVER).min(FOR_EVER))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_begins_with_the_first_time_and_runs_at_its_speed() {
        let now = Instant::now();
        let mut pace = Pace::new(10.0);
        assert_eq!(pace.at(5_000_000, now), Some(now));
        let later = now + Duration::from_secs(1);
        assert_eq!(pace.at(25_000_000, now), Some(now + Duration::from_secs(2)));
        assert_eq!(pace.at(1, later), Some(now), "what is late comes at once");
        assert!(pace.at(UnixMicros::MAX, now).is_some_and(|at| at > later));
        assert_eq!(Pace::new(0.0).at(5, now), None);
    }
}
