//! Boundary marks: a mark follows the last bar of an interval, when it is over for all symbols.
//!
//! A symbol counts from its first trade on. If a gap holds back the bar of a symbol, the mark waits
//! for it, but no longer than bars wait for gaps. The mark then says how many symbols are missing. A
//! symbol that this program is taking over counts, too: its last holder may have published nothing
//! of the interval.
//!
//! One task publishes the marks, in the order in which they became due, while the leases are ours.
//! The end of the last marked interval is stored on the bus, so that a restart, and a standby with the
//! same instruments, continue after it.

mod progress;

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bus::Bus;
use market_core::wire::BoundaryMark;
use market_core::{Timeframe, TimeframeSet, UnixMillis, subject};
use metrics::Counter;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use self::progress::Progress;
use super::durable::{Item, Lane};
use super::fence::Right;
use super::validity::{DOUBT, Validity};
use crate::host_clock::{now_ms, now_us};
use crate::instrument::InstrumentId;

/// How often overdue marks are searched for.
const LOOK: Duration = Duration::from_millis(100);
/// The mark waits this much longer than bars wait for gaps, so that those bars come before it.
const SLACK_MS: i64 = 1_000;

#[derive(Debug)]
struct State {
    levels: Vec<Progress>,
    /// Instruments that are being taken over, and have not begun.
    coming: HashSet<InstrumentId>,
    /// For a position that waits to be stored.
    right: Right,
    /// Marks to publish, in their order. There is at most one for each interval within the wait.
    due: VecDeque<BoundaryMark>,
}

impl State {
    /// Nothing waits for the instrument.
    fn leave(&mut self, instrument: InstrumentId) {
        self.coming.remove(&instrument);
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
        let progress = |&timeframe: &Timeframe| Progress::new(timeframe, instruments);
        let marks = |result: &'static str| metrics::counter!("marketdata_boundary_marks_total", "result" => result);
        Self {
            state: Mutex::new(State {
                levels: timeframes.as_slice().iter().map(progress).collect(),
                coming: HashSet::new(),
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
        let State { levels, coming, .. } = &mut *self.state();
        let is_taken_over = coming.remove(&instrument);
        for (progress, from_ms) in levels.iter_mut().zip(closed_until) {
            progress.begin(instrument, from_ms, is_taken_over);
        }
    }

    /// These instruments are being taken over: until they begin, no mark says that they are through.
    pub(crate) fn expect(&self, coming: HashSet<InstrumentId>) {
        let mut state = self.state();
        let has_fewer = coming.len() < state.coming.len();
        state.coming = coming;
        drop(state);
        if has_fewer {
            // A mark may have waited for those alone.
            self.is_due.notify_one();
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
                progress.lose();
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
        let State {
            levels,
            coming,
            due,
            ..
        } = &mut *self.state();
        let Some(progress) = levels.iter_mut().find(|known| known.timeframe == timeframe) else {
            return;
        };
        progress.close(instrument, end_ms, now);
        // Most bars are not the last of their interval.
        if coming.is_empty() && progress.is_complete() {
            self.take(progress, 0, now, due);
        }
    }

    /// Finds the marks that are overdue at `now`, host time.
    pub fn look(&self, now: UnixMillis) {
        let State {
            levels,
            coming,
            due,
            ..
        } = &mut *self.state();
        for progress in levels {
            self.take(progress, coming.len(), now, due);
        }
    }

    /// Gives out the next mark that is due.
    pub fn next_due(&self) -> Option<BoundaryMark> {
        self.state().due.pop_front()
    }

    fn take(
        &self,
        progress: &mut Progress,
        coming: usize,
        now: UnixMillis,
        due: &mut VecDeque<BoundaryMark>,
    ) {
        while let Some(mark) = progress.next_mark(coming, now, self.wait_ms) {
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
            progress.resume(end_ms);
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
