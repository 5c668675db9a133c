//! A bound on how often one event is logged.

use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Lets one log line through per interval, and counts the lines that it held back. A slow consumer
/// causes an event for every lost message, and a log line for each would make it slower.
#[derive(Debug)]
pub struct LogLimit {
    interval: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    logged_at: Option<Instant>,
    events: u64,
}

impl LogLimit {
    /// A limit of one line an interval.
    #[must_use]
    pub fn new(interval: Duration) -> LogLimit {
        LogLimit {
            interval,
            state: Mutex::new(State {
                logged_at: None,
                events: 0,
            }),
        }
    }

    /// Adds `events` at `now`. `Some` says to log, with the events since the last line.
    ///
    /// # Panics
    /// Never fails: no code panics under this lock.
    pub fn pass(&self, now: Instant, events: u64) -> Option<u64> {
        let mut state = self.state.lock().expect("nothing panics under this lock");
        state.events = state.events.saturating_add(events);
        let is_due = state
            .logged_at
            .is_none_or(|logged_at| now.saturating_duration_since(logged_at) >= self.interval);
        if !is_due {
            return None;
        }
        state.logged_at = Some(now);
        Some(std::mem::take(&mut state.events))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_per_interval_carries_the_events_since_the_last() {
        let limit = LogLimit::new(Duration::from_secs(10));
        let start = Instant::now();
        assert_eq!(limit.pass(start, 1), Some(1));
        for second in 1..10 {
            assert_eq!(limit.pass(start + Duration::from_secs(second), 100), None);
        }
        assert_eq!(limit.pass(start + Duration::from_secs(10), 1), Some(901));
        assert_eq!(limit.pass(start + Duration::from_secs(11), 1), None);
    }
}
