//! When the changes of a topic set are sent.
//!
//! A change waits until its set has had no other change for a moment. So a burst becomes one frame,
//! and a single update goes out almost at once. A set that was just sent waits for its interval, so
//! that a steady stream becomes fewer frames.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::sessions::set_id::SetId;

/// How long changes wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Pace {
    /// Until no more changes have come for this time.
    pub settle: Duration,
    /// At most this time after the first change, even if more changes keep coming.
    pub linger: Duration,
    /// Between two frames of the same set.
    pub interval: Duration,
}

/// Changes of a set that are not sent yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct PendingChanges {
    /// When the first came.
    pub first: Instant,
    /// When the last change was noticed.
    pub last: Instant,
}

impl Pace {
    /// When to send the changes of a set that was last sent at `sent_at`.
    #[must_use]
    pub(crate) fn due_at(&self, changes: PendingChanges, sent_at: Option<Instant>) -> Instant {
        let settled = (changes.last + self.settle).min(changes.first + self.linger);
        sent_at.map_or(settled, |at| settled.max(at + self.interval))
    }
}

/// Sets by the time of their next check. Sets that changed or were sent together share one time.
#[derive(Debug, Default)]
pub(crate) struct FlushSchedule {
    by_time: BTreeMap<Instant, Vec<SetId>>,
}

impl FlushSchedule {
    /// Adds a set, which must not be in it.
    pub(crate) fn add(&mut self, at: Instant, set: SetId) {
        self.by_time.entry(at).or_default().push(set);
    }

    /// The time of the next check.
    #[must_use]
    pub(crate) fn next_at(&self) -> Option<Instant> {
        self.by_time.first_key_value().map(|(at, _)| *at)
    }

    /// Takes the sets of one time, if this time has come.
    pub(crate) fn take(&mut self, now: Instant) -> Option<Vec<SetId>> {
        let entry = self.by_time.first_entry()?;
        (*entry.key() <= now).then(|| entry.remove())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const PACE: Pace = Pace {
        settle: MS,
        linger: Duration::from_millis(5),
        interval: Duration::from_millis(10),
    };

    #[track_caller]
    fn check(first_ms: u32, last_ms: u32, sent_ms: Option<u32>, expected_ms: u32) {
        let start = Instant::now();
        let changes = PendingChanges {
            first: start + first_ms * MS,
            last: start + last_ms * MS,
        };
        let sent_at = sent_ms.map(|ms| start + ms * MS);
        assert_eq!(PACE.due_at(changes, sent_at), start + expected_ms * MS);
    }

    #[test]
    fn a_lone_change_waits_a_moment_and_a_burst_until_it_is_over() {
        check(20, 20, None, 21);
        check(20, 20, Some(0), 21);
        check(20, 23, Some(0), 24);
    }

    #[test]
    fn changes_without_end_wait_no_longer_than_the_linger() {
        check(20, 24, None, 25);
        check(20, 200, None, 25);
    }

    #[test]
    fn a_set_that_was_just_sent_waits_out_its_interval() {
        check(20, 20, Some(15), 25);
        check(20, 22, Some(18), 28);
    }

    #[test]
    fn sets_are_taken_in_the_order_of_their_times() {
        let (mut schedule, now) = (FlushSchedule::default(), Instant::now());
        schedule.add(now + 2 * MS, SetId(1));
        schedule.add(now + MS, SetId(2));
        schedule.add(now + MS, SetId(3));
        assert_eq!(
            (schedule.next_at(), schedule.take(now)),
            (Some(now + MS), None)
        );
        assert_eq!(schedule.take(now + MS), Some(vec![SetId(2), SetId(3)]));
        assert_eq!(schedule.take(now + MS), None);
        assert_eq!(schedule.take(now + 5 * MS), Some(vec![SetId(1)]));
        assert_eq!(schedule.next_at(), None);
    }
}
