//! Whether this host's clock is so far behind that good bars look like bars of the future.
//!
//! A bar that begins too far ahead of this host's clock is refused: such a bar would make all later
//! ones look old. A gateway whose own clock is an hour behind refuses every bar for this reason,
//! and its clients get none. One publisher with a wrong clock is no reason to doubt our own, so
//! refused bars count only while no bar comes from a publisher whose clock agrees with ours. Bars
//! that are taken say nothing against our clock, whatever their publisher's: bars follow the venue's
//! clock, and a publisher that started with a wrong clock keeps it until it starts again.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use metrics::{Gauge, gauge};
use service::Condition;
use tracing::{info, warn};

/// The clock is doubted if no bar from a publisher whose clock agrees with ours comes for this
/// time.
const WINDOW: Duration = Duration::from_secs(10);

/// Readiness: met while no pattern says that this host's clock is behind.
pub(crate) struct ClockHealth {
    condition: Condition,
    behind: Mutex<usize>,
    gauge: Gauge,
}

impl ClockHealth {
    /// Met until the bars show otherwise.
    #[must_use]
    pub(crate) fn new(condition: Condition) -> Arc<Self> {
        condition.met();
        let gauge = gauge!("gateway_clock_behind_patterns");
        gauge.set(0.0);
        Arc::new(Self {
            condition,
            behind: Mutex::new(0),
            gauge,
        })
    }

    fn change(&self, is_behind: bool) {
        let mut behind = self.behind.lock().expect("no holder panics");
        *behind = match is_behind {
            true => behind.saturating_add(1),
            false => behind.saturating_sub(1),
        };
        self.gauge.set(*behind as f64);
        if *behind == 0 {
            self.condition.met();
        } else {
            self.condition.unmet(
                "every bar is published by a clock that is hours ahead of this host's: set this host's clock right, or the publishers'",
            );
        }
    }
}

/// How far the clocks of a pattern's publishers are ahead of ours.
pub(crate) struct ClockLead {
    health: Arc<ClockHealth>,
    max_ms: i64,
    /// When the first bar was refused since one came whose publisher's clock agrees with ours.
    refused_since: Option<Instant>,
    is_behind: bool,
}

impl ClockLead {
    /// Bars that are ahead by more than `max_ms` are refused.
    #[must_use]
    pub(crate) fn new(health: Arc<ClockHealth>, max_ms: i64) -> Self {
        Self {
            health,
            max_ms,
            refused_since: None,
            is_behind: false,
        }
    }

    /// A live bar was taken from a publisher whose clock is this far ahead of ours. True if bars
    /// were refused until now because our clock was behind, and it is right again.
    pub(crate) fn took(&mut self, lead_ms: i64) -> bool {
        if lead_ms >= self.max_ms {
            return false;
        }
        self.refused_since = None;
        let is_over = std::mem::take(&mut self.is_behind);
        if is_over {
            self.health.change(false);
            info!(
                "this host's clock agrees with the publishers' again, reading the retained messages"
            );
        }
        is_over
    }

    /// A live bar was refused because it begins too far ahead of our clock.
    pub(crate) fn refused(&mut self, now: Instant) {
        let since = *self.refused_since.get_or_insert(now);
        if !self.is_behind && now.saturating_duration_since(since) >= WINDOW {
            self.is_behind = true;
            self.health.change(true);
            warn!(
                ahead_min_ms = self.max_ms,
                "bars are refused, and every bar is published by a clock that is far ahead of this host's: set this host's clock right (timedatectl, chronyc), or the publishers'"
            );
        }
    }
}

impl Drop for ClockLead {
    fn drop(&mut self) {
        if self.is_behind {
            self.health.change(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use service::Service;

    use super::*;

    const MAX_MS: i64 = 3_600_000;

    #[test]
    fn a_clock_that_is_behind_all_publishers_makes_the_gateway_unready_until_it_is_right() {
        let service = Service::for_test();
        let health = ClockHealth::new(service.readiness.condition("clock"));
        let start = Instant::now();
        let mut leads = [(); 2].map(|()| ClockLead::new(Arc::clone(&health), MAX_MS));
        let is_ready = || service.readiness.is_ready();
        for lead in &mut leads {
            lead.refused(start);
            lead.refused(start + WINDOW / 2);
            assert!(is_ready(), "not yet for long");
        }
        for lead in &mut leads {
            // Of a width at which a bar begins long before it is published.
            assert!(!lead.took(2 * MAX_MS));
            lead.refused(start + WINDOW);
            assert!(!is_ready());
        }
        let [mut first, second] = leads;
        assert!(first.took(-3), "what was refused is read");
        assert!(!first.took(-3), "once");
        assert!(!is_ready(), "the other pattern's bars are refused still");
        drop(second);
        assert!(is_ready());
    }

    #[test]
    fn one_publisher_with_a_wrong_clock_is_no_sign_that_ours_is_wrong() {
        let service = Service::for_test();
        let health = ClockHealth::new(service.readiness.condition("clock"));
        let mut lead = ClockLead::new(health, MAX_MS);
        let start = Instant::now();
        for half in 0..10 {
            let now = start + half * WINDOW / 2;
            lead.refused(now);
            assert!(!lead.took(20));
        }
        assert!(service.readiness.is_ready());
    }

    #[test]
    fn a_publisher_that_started_with_a_wrong_clock_and_whose_bars_are_right_leaves_the_gateway_ready()
     {
        let service = Service::for_test();
        let health = ClockHealth::new(service.readiness.condition("clock"));
        let mut lead = ClockLead::new(health, MAX_MS);
        let start = Instant::now();
        // One bar of another publisher was refused.
        lead.refused(start);
        for _ in 0..10 {
            assert!(!lead.took(3 * MAX_MS));
        }
        assert!(service.readiness.is_ready());
    }
}
