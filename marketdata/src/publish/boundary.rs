//! Boundary marks: a mark follows the last bar of an interval, when it is over for all symbols.
//!
//! A symbol counts from its first trade on. If a gap holds back the bar of a symbol, the mark waits
//! for it, but no longer than bars wait for gaps. The mark then says how many symbols are missing.
//!
//! One task publishes the marks, in the order in which they became due, while the leases are ours.
//! The end of the last marked interval is stored on the bus, so that a restart, and a standby with the
//! same instruments, continue after it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bus::Bus;
use market_core::wire::BoundaryMark;
use market_core::{Timeframe, TimeframeSet, UnixMillis, subject};
use metrics::Counter;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::durable::{Item, Lane};
use super::fence::Right;
use super::validity::{DOUBT, Validity};
use crate::host_clock::{now_ms, now_us};
use crate::instrument::InstrumentId;

/// How often overdue marks are searched for.
const LOOK: Duration = Duration::from_millis(100);
/// The mark waits this much longer than bars wait for gaps, so that those bars come before it.
const SLACK_MS: i64 = 1_000;

/// One timeframe's progress.
#[derive(Debug)]
struct Progress {
    timeframe: Timeframe,
    /// By instrument: the time up to which its bars are published. `None` before its first trade.
    until: Vec<Option<UnixMillis>>,
    /// Instruments that have traded.
    begun: usize,
    /// The end of the interval that is marked next.
    next_end: Option<UnixMillis>,
    /// The end of the interval that was marked last, in this run or the one before.
    marked_end: Option<UnixMillis>,
    /// Number of instruments whose bars are published up to `next_end`.
    through: usize,
    /// Published bars by their end, from `next_end` on.
    closings: BTreeMap<UnixMillis, Closings>,
}

#[derive(Debug)]
struct Closings {
    bars: u64,
    /// Host time at which the first was published, ms.
    first_ms: UnixMillis,
}

impl Progress {
    fn begin(&mut self, instrument: InstrumentId, from_ms: UnixMillis) {
        if self.until[instrument].is_some() {
            return;
        }
        self.until[instrument] = Some(from_ms);
        self.begun += 1;
        let first_end = self.timeframe.end_of(self.timeframe.start_of(from_ms));
        // Marks do not go back for an instrument whose bars end before the last mark.
        if self.next_end.is_none() {
            let after_marked = self.marked_end.map(|end| self.timeframe.end_of(end));
            self.next_end = Some(after_marked.map_or(first_end, |end| end.max(first_end)));
            self.count_through();
        } else {
            // Thousands begin together: each counts for itself.
            self.through += usize::from(self.is_through(from_ms));
        }
    }

    /// The instrument is published elsewhere: nothing waits for it.
    fn leave(&mut self, instrument: InstrumentId) {
        if let Some(until) = self.until[instrument].take() {
            self.begun -= 1;
            self.through -= usize::from(self.is_through(until));
        }
    }

    /// Whether bars up to there are enough for the next mark.
    fn is_through(&self, until: UnixMillis) -> bool {
        self.next_end.is_some_and(|next| until >= next)
    }

    fn count_through(&mut self) {
        let begun = self.until.iter().flatten();
        self.through = begun.filter(|&&until| self.is_through(until)).count();
    }

    fn close(&mut self, instrument: InstrumentId, end_ms: UnixMillis, now: UnixMillis) {
        self.begin(instrument, self.timeframe.start_of(end_ms - 1));
        let (Some(before), Some(next)) = (self.until[instrument], self.next_end) else {
            return;
        };
        self.until[instrument] = Some(before.max(end_ms));
        if before < next && next <= end_ms {
            self.through += 1;
        }
        if end_ms >= next {
            let closings = self.closings.entry(end_ms).or_insert(Closings {
                bars: 0,
                first_ms: now,
            });
            closings.bars += 1;
        }
    }

    /// The next mark, if all instruments have published their bars or the first bar has waited for
    /// `wait_ms`.
    fn next_mark(&mut self, now: UnixMillis, wait_ms: i64) -> Option<BoundaryMark> {
        let first = self.closings.first_entry()?;
        let end_ms = *first.key();
        let is_overdue = now.saturating_sub(first.get().first_ms) >= wait_ms;
        if self.next_end != Some(end_ms) {
            // No published bar ends in between. Either a long silence was skipped, or bars are held
            // back. In that case their marks come first.
            let start_ms = self.timeframe.start_of(end_ms - 1);
            let is_held = |until: &UnixMillis| *until < start_ms;
            if !is_overdue && self.until.iter().flatten().any(is_held) {
                return None;
            }
            self.next_end = Some(end_ms);
            self.count_through();
        }
        let missing = self.begun - self.through;
        if missing > 0 && !is_overdue {
            return None;
        }
        let bars = self.closings.remove(&end_ms)?.bars;
        self.next_end = Some(self.timeframe.end_of(end_ms));
        self.marked_end = Some(end_ms);
        self.count_through();
        Some(BoundaryMark {
            interval: self.timeframe.to_string().into(),
            end_ms,
            bars,
            missing: missing as u64,
        })
    }
}

#[derive(Debug)]
struct State {
    levels: Vec<Progress>,
    /// For a position that waits to be stored.
    right: Right,
    /// Marks to publish, in their order. There is at most one for each interval within the wait.
    due: VecDeque<BoundaryMark>,
}

impl State {
    /// Nothing waits for the instrument.
    fn leave(&mut self, instrument: InstrumentId) {
        for progress in &mut self.levels {
            progress.leave(instrument);
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Boundaries {
    state: Mutex<State>,
    /// Notified when `State::due` has a mark.
    is_due: Notify,
    /// Where the position is kept.
    position_subject: Arc<str>,
    wait_ms: i64,
    whole: Counter,
    incomplete: Counter,
    missing: Counter,
}

impl Boundaries {
    /// Boundaries for this number of instruments, whose position is kept under a subject: see
    /// [`position_subject`]. Their bars wait `gap_hold_ms` for gaps.
    #[must_use]
    pub fn new(
        timeframes: &TimeframeSet,
        instruments: usize,
        gap_hold_ms: i64,
        position_subject: Arc<str>,
    ) -> Self {
        let progress = |&timeframe: &Timeframe| Progress {
            timeframe,
            until: vec![None; instruments],
            begun: 0,
            next_end: None,
            marked_end: None,
            through: 0,
            closings: BTreeMap::new(),
        };
        let marks = |result: &'static str| metrics::counter!("marketdata_boundary_marks_total", "result" => result);
        Self {
            state: Mutex::new(State {
                levels: timeframes.as_slice().iter().map(progress).collect(),
                due: VecDeque::new(),
                right: Right::default(),
            }),
            is_due: Notify::new(),
            position_subject,
            wait_ms: gap_hold_ms + SLACK_MS,
            whole: marks("whole"),
            incomplete: marks("incomplete"),
            missing: metrics::counter!("marketdata_boundary_missing_symbols_total"),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("no code panics while it holds the boundaries")
    }

    /// An instrument has its first trade, or continues after a restart. `closed_until` has the start
    /// of the first unpublished bar of each timeframe.
    pub fn begin(&self, instrument: InstrumentId, closed_until: impl Iterator<Item = UnixMillis>) {
        for (progress, from_ms) in self.state().levels.iter_mut().zip(closed_until) {
            progress.begin(instrument, from_ms);
        }
    }

    /// An instrument is published elsewhere from now on, and all its bars from here are published.
    pub fn leave(&self, instrument: InstrumentId) {
        self.state().leave(instrument);
        // A mark may have waited for it alone.
        self.is_due.notify_one();
    }

    /// Another program has taken an instrument. With the last one it has taken the marks, too.
    pub fn lose(&self, instrument: InstrumentId) {
        let mut state = self.state();
        state.leave(instrument);
        if state.levels.iter().all(|progress| progress.begun == 0) {
            state.due.clear();
            for progress in &mut state.levels {
                progress.closings.clear();
            }
            std::mem::take(&mut state.right).lose();
        }
        drop(state);
        self.is_due.notify_one();
    }

    /// Where the position is kept.
    pub(crate) fn position_subject(&self) -> &Arc<str> {
        &self.position_subject
    }

    /// The first closing of a bar was published at `now`, host time.
    pub fn closed(
        &self,
        instrument: InstrumentId,
        timeframe: Timeframe,
        end_ms: UnixMillis,
        now: UnixMillis,
    ) {
        let State { levels, due, .. } = &mut *self.state();
        let Some(progress) = levels.iter_mut().find(|known| known.timeframe == timeframe) else {
            return;
        };
        progress.close(instrument, end_ms, now);
        // Most bars are not the last of their interval.
        if progress.through == progress.begun {
            self.take(progress, now, due);
        }
    }

    /// Finds the marks that are overdue at `now`, host time.
    pub fn look(&self, now: UnixMillis) {
        let State { levels, due, .. } = &mut *self.state();
        for progress in levels {
            self.take(progress, now, due);
        }
    }

    /// Gives out the next mark that is due.
    pub fn next_due(&self) -> Option<BoundaryMark> {
        self.state().due.pop_front()
    }

    fn take(&self, progress: &mut Progress, now: UnixMillis, due: &mut VecDeque<BoundaryMark>) {
        while let Some(mark) = progress.next_mark(now, self.wait_ms) {
            if mark.missing == 0 {
                self.whole.increment(1);
            } else {
                self.incomplete.increment(1);
                self.missing.increment(mark.missing);
            }
            due.push_back(mark);
            self.is_due.notify_one();
        }
    }

    /// Continues after the marks of an earlier run, or of another program, whose position was stored.
    /// An interval that is not over at `now` cannot have been marked, so such a position is ignored.
    pub fn resume(&self, position: &[u8], now: UnixMillis) {
        let Ok(position) = serde_json::from_slice::<BTreeMap<String, UnixMillis>>(position) else {
            warn!(
                "the position of the boundary marks cannot be read: some marks may be published twice"
            );
            return;
        };
        for progress in &mut self.state().levels {
            let end_ms = position.get(&progress.timeframe.to_string()).copied();
            let end_ms = end_ms.filter(|end_ms| (0..=now).contains(end_ms));
            progress.marked_end = progress.marked_end.max(end_ms);
            if let (Some(next), Some(marked)) = (progress.next_end, progress.marked_end)
                && next <= marked
            {
                progress.next_end = Some(progress.timeframe.end_of(marked));
                progress.closings.retain(|&end_ms, _| end_ms > marked);
                progress.count_through();
            }
        }
    }

    /// The end of the last marked interval of each timeframe.
    fn position(&self) -> Vec<u8> {
        let state = self.state();
        let marked = state.levels.iter().filter_map(|progress| {
            let end_ms = progress.marked_end?;
            Some((progress.timeframe.to_string(), end_ms))
        });
        let position: BTreeMap<String, UnixMillis> = marked.collect();
        serde_json::to_vec(&position).expect("plain fields")
    }

    /// Publishes marks until `stop`, while `validity` says that the leases are ours, and stores the
    /// position after them.
    pub async fn tell(
        self: Arc<Self>,
        bus: Arc<dyn Bus>,
        lane: Arc<Lane>,
        validity: Arc<Validity>,
        stop: CancellationToken,
    ) {
        loop {
            let is_stopping = stop.is_cancelled();
            if validity.holds() {
                self.look(now_ms());
            }
            let right = self.state().right.clone();
            let mut has_published = false;
            // For each mark: the program may have stood still since the last one.
            while validity.holds()
                && let Some(mark) = self.next_due()
            {
                publish(&*bus, &mark).await;
                has_published = true;
            }
            if has_published {
                let subject = Arc::clone(&self.position_subject);
                lane.set_checkpoint(Item::under(right, subject, self.position().into()));
            }
            if is_stopping {
                return;
            }
            if !validity.holds() {
                tokio::select! {
                    () = tokio::time::sleep(DOUBT) => {}
                    () = stop.cancelled() => {}
                }
                continue;
            }
            tokio::select! {
                () = self.is_due.notified() => {}
                () = tokio::time::sleep(LOOK) => {}
                () = stop.cancelled() => {}
            }
        }
    }
}

/// The subject of the stored position of a program that may publish these symbols. Programs with the
/// same instruments share it, whichever of them publishes.
#[must_use]
pub fn position_subject<'a>(symbols: impl Iterator<Item = &'a str>) -> Arc<str> {
    // FNV-1a: the same in all builds. No attacker chooses its input.
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let mut sorted: Vec<&str> = symbols.collect();
    sorted.sort_unstable();
    for byte in sorted.join(",").bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    subject::mark_positions(hash).into()
}

/// Publishes a mark at most once: a mark that is late is of no use.
async fn publish(bus: &dyn Bus, mark: &BoundaryMark) {
    let subject = subject::boundary(&mark.interval);
    if bus.publish(&subject, mark.encode(now_us())).await.is_err() {
        metrics::counter!("marketdata_publish_failures_total").increment(1);
    }
}

#[cfg(test)]
mod tests;
