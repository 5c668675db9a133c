//! Sessions that will be closed at a set time: all of them in a drain, some in a rebalance.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use crate::sessions::session_id::SessionId;

/// The sessions to close, and when.
#[derive(Debug, Default)]
pub(super) struct ScheduledCloses {
    by_time: BinaryHeap<Reverse<(Instant, SessionId)>>,
    /// The time until which a drain closes sessions; `None` without a drain.
    drain_until: Option<Instant>,
}

impl ScheduledCloses {
    /// A drain begins. It replaces the closes of a rebalance.
    pub(super) fn begin_drain(&mut self, until: Instant) {
        self.drain_until = Some(until);
        self.by_time.clear();
    }

    /// The time that the drain has left; `None` without a drain.
    pub(super) fn drain_rest(&self, now: Instant) -> Option<Duration> {
        Some(self.drain_until?.saturating_duration_since(now))
    }

    /// A session must be closed at this time.
    pub(super) fn add(&mut self, at: Instant, id: SessionId) {
        self.by_time.push(Reverse((at, id)));
    }

    /// When the next session must be closed.
    pub(super) fn next_at(&self) -> Option<Instant> {
        self.by_time.peek().map(|Reverse((at, _))| *at)
    }

    /// Takes one session that is due to close.
    pub(super) fn take(&mut self, now: Instant) -> Option<SessionId> {
        let at = self.next_at()?;
        (at <= now)
            .then(|| self.by_time.pop())
            .flatten()
            .map(|Reverse((_, id))| id)
    }
}
