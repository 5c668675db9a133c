//! What makes a read of a topic's past a replay: a clock, and the bars that wait for it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use market_core::UnixMillis;

use crate::sessions::past::PastBar;
use crate::sessions::replay_places::ReplayPlace;

/// Most bars that wait for their time: a session holds no more memory for a replayed topic.
pub(super) const PAGE_BARS: usize = 100;
/// A wait beyond the range of the clock.
const FOR_EVER: Duration = Duration::from_secs(u32::MAX as u64);

/// The clock of a replay.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReplayClock {
    /// When it began.
    pub(super) began: Instant,
    /// The time of the past at that instant.
    pub(super) start_ms: UnixMillis,
    /// How many seconds of the past go by in a second.
    pub(super) speed: u32,
}

impl ReplayClock {
    /// When it comes to a time.
    fn at(&self, time_ms: UnixMillis) -> Instant {
        let past_ms = u64::try_from(time_ms.saturating_sub(self.start_ms)).unwrap_or(0);
        let past_us = past_ms.saturating_mul(1_000) / u64::from(self.speed.max(1));
        let after = Duration::from_micros(past_us).min(FOR_EVER);
        self.began.checked_add(after).unwrap_or(self.began)
    }
}

/// What a read needs to be a replay.
#[derive(Debug)]
pub(super) struct Replay {
    clock: ReplayClock,
    /// Bars that are not due yet, oldest first.
    waiting: VecDeque<PastBar>,
    /// Whether history had no bar after those that were sent.
    is_at_end: bool,
    _place: ReplayPlace,
}

impl Replay {
    pub(super) fn new(clock: ReplayClock, place: ReplayPlace) -> Self {
        Self {
            clock,
            waiting: VecDeque::new(),
            is_at_end: false,
            _place: place,
        }
    }

    /// Takes the bars of a page.
    pub(super) fn take(&mut self, bars: Vec<PastBar>) {
        self.is_at_end = bars.is_empty();
        self.waiting.extend(bars);
    }

    /// The bars whose time has come.
    pub(super) fn due(&mut self, now: Instant) -> Vec<PastBar> {
        let is_due = |bar: &PastBar| self.clock.at(bar.end_ms) <= now;
        let count = self.waiting.iter().take_while(|bar| is_due(bar)).count();
        self.waiting.drain(..count).collect()
    }

    /// When the next bar is due.
    pub(super) fn next_at(&self) -> Option<Instant> {
        let bar = self.waiting.front()?;
        Some(self.clock.at(bar.end_ms))
    }

    /// Whether bars wait for their time.
    pub(super) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Whether history must be asked for what has closed meanwhile.
    pub(super) fn is_behind(&self) -> bool {
        !self.is_at_end
    }
}
