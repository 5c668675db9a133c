//! What makes a read of a topic's past a replay: a clock, and the bars that wait for it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use market_core::UnixMillis;

use crate::sessions::past::PastBar;
use crate::sessions::replay_places::ReplayPlace;

/// Most bars that wait for their time: a session holds no more memory for a replayed topic.
pub(super) const PAGE_BARS: usize = 100;
/// The longest wait through a hole in the past, ms of the client's time.
const HOLE_WAIT_MS: i64 = 1_000;
/// A wait beyond the range of the clock.
const FOR_EVER: Duration = Duration::from_secs(u32::MAX as u64);

/// The clock of the replays of one request, which all of them share.
#[derive(Clone, Debug)]
pub(super) struct ReplayClock {
    /// When it began.
    began: Instant,
    /// The time that was asked for.
    asked_ms: UnixMillis,
    /// The time of the past when it began: that of the earliest bar since `asked_ms`. Without it, a
    /// replay from a time long before the first bar would hold its place for as long.
    start_ms: Arc<AtomicI64>,
    /// How many seconds of the past go by in a second.
    speed: u32,
}

impl ReplayClock {
    /// A clock that begins now.
    pub(super) fn new(began: Instant, asked_ms: UnixMillis, speed: u32) -> Self {
        Self {
            began,
            asked_ms,
            start_ms: Arc::new(AtomicI64::new(UnixMillis::MAX)),
            speed,
        }
    }

    /// There is a bar that starts at this time: the clock begins there, or earlier.
    fn knows(&self, bar_start_ms: UnixMillis) {
        let start_ms = bar_start_ms.max(self.asked_ms);
        self.start_ms.fetch_min(start_ms, Ordering::Relaxed);
    }

    /// The time of the past to which it has come; `None` while no bar is known.
    fn time_ms(&self, now: Instant) -> Option<UnixMillis> {
        let start_ms = self.start_ms.load(Ordering::Relaxed);
        let elapsed = now.saturating_duration_since(self.began).as_micros();
        let elapsed_us = i64::try_from(elapsed).unwrap_or(i64::MAX);
        let past_ms = elapsed_us.saturating_mul(i64::from(self.speed)) / 1_000;
        (start_ms < UnixMillis::MAX).then(|| start_ms.saturating_add(past_ms))
    }

    /// No bar of its topics is in the time before this one: the clock goes there at once, unless it
    /// is there soon anyway. True if it has gone.
    pub(super) fn skip_to(&self, bar_start_ms: UnixMillis, now: Instant) -> bool {
        let Some(hole_ms) = self
            .time_ms(now)
            .map(|time_ms| bar_start_ms.saturating_sub(time_ms))
            .filter(|hole_ms| *hole_ms > HOLE_WAIT_MS.saturating_mul(i64::from(self.speed)))
        else {
            return false;
        };
        // Nothing from before the hole waits: only what comes is measured from its start.
        let start_ms = self.start_ms.load(Ordering::Relaxed);
        let start_ms = start_ms.saturating_add(hole_ms);
        self.start_ms.store(start_ms, Ordering::Relaxed);
        true
    }

    /// Whether both are the clock of one request.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.start_ms, &other.start_ms)
    }

    /// When it comes to a time.
    fn at(&self, time_ms: UnixMillis) -> Instant {
        let start_ms = self.start_ms.load(Ordering::Relaxed);
        let past_ms = u64::try_from(time_ms.saturating_sub(start_ms)).unwrap_or(0);
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
    place: ReplayPlace,
}

impl Replay {
    pub(super) fn new(clock: ReplayClock, place: ReplayPlace) -> Self {
        Self {
            clock,
            waiting: VecDeque::new(),
            is_at_end: false,
            place,
        }
    }

    /// Its place, for the replay that comes instead of it.
    pub(super) fn into_place(self) -> ReplayPlace {
        self.place
    }

    /// Takes the bars of a page.
    pub(super) fn take(&mut self, bars: Vec<PastBar>) {
        self.is_at_end = bars.is_empty();
        if let Some(first) = bars.first() {
            self.clock.knows(first.start_ms);
        }
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

    /// Its clock.
    pub(super) fn clock(&self) -> &ReplayClock {
        &self.clock
    }

    /// When the next bar that waits for its time begins, in the past.
    pub(super) fn next_start_ms(&self) -> Option<UnixMillis> {
        self.waiting.front().map(|bar| bar.start_ms)
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
