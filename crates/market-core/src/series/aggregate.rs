//! Folds trades into bars: forming, closed, revised, filled.
//!
//! Trades are folded into the narrowest timeframe only. A bar that closes is merged into the
//! timeframes above it. So a higher timeframe is the fold of the lower one by construction, and the
//! number of timeframes does not change the cost of a trade. A forming bar of a higher timeframe is
//! merged on demand, when it is published. A trade that is too late for a bar of a low timeframe
//! still counts in the higher timeframes whose bar is open to it.

mod change;

use serde::{Deserialize, Serialize};

use crate::bar::{Bar, Fold, merge_into};
pub use crate::series::level::{CLOSED_MAX, FILL_MAX};
use crate::series::level::{Judge, Level, forming_bar};
use crate::series::missing::MissingTimes;
use crate::value::clock::UnixMillis;
use crate::value::timeframe::{Timeframe, TimeframeSet};

/// How far the horizon moves before closed bars are pruned again.
const PRUNE_STEP_MS: i64 = 10_000;

/// The outcome of a fold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Placed {
    /// In forming bars only.
    Forming,
    /// It changed at least one closed bar, or its narrow bars closed so long ago that only wider
    /// ones could take it.
    Revised,
    /// All its bars are closed and no longer kept; nothing was changed.
    TooOld,
}

/// What [`Aggregator::place`] has met.
#[derive(Default)]
struct Met {
    is_taken: bool,
    is_closed: bool,
}

/// One symbol's bars in every timeframe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Aggregator {
    levels: Vec<Level>,
    /// Bars that start before this time were joined midway.
    complete_from_ms: Option<UnixMillis>,
    /// Silence before this time yields no flat bars.
    #[serde(default)]
    filled_from_ms: UnixMillis,
    /// The venue has said that there were no trades before that time, back to the last bar.
    #[serde(default)]
    is_silence_told: bool,
    is_forming_changed: bool,
    is_requalify_due: bool,
    /// The horizon of the last pruning.
    #[serde(skip)]
    pruned_ms: Option<UnixMillis>,
}

impl Aggregator {
    /// Bars in `timeframes`.
    #[must_use]
    pub fn new(timeframes: &TimeframeSet) -> Self {
        let levels = timeframes.as_slice().iter().enumerate();
        Self {
            levels: levels
                .map(|(index, &timeframe)| Level::new(timeframe, timeframes.source_of(index)))
                .collect(),
            complete_from_ms: None,
            filled_from_ms: 0,
            is_silence_told: false,
            is_forming_changed: false,
            is_requalify_due: false,
            pruned_ms: None,
        }
    }

    /// The timeframes, narrowest first.
    pub fn timeframes(&self) -> impl Iterator<Item = Timeframe> {
        self.levels.iter().map(|level| level.timeframe)
    }

    /// For each timeframe, the end of its newest closed bar, or the start of its first one. No
    /// trade happened before it.
    pub fn closed_until(&self) -> impl Iterator<Item = UnixMillis> {
        let bars = self.levels.iter().filter_map(|level| level.open.front());
        let first_ms = bars.map(|bar| bar.start_ms).min();
        self.levels.iter().filter_map(move |level| {
            let first = || first_ms.map(|at| level.timeframe.start_of(at));
            level.closed_until_ms.or_else(first)
        })
    }

    /// From `at` on, every trade is known or counted as missing; earlier, nothing is known.
    pub fn set_complete_from(&mut self, at: UnixMillis) {
        self.complete_from_ms = Some(self.complete_from_ms.map_or(at, |before| before.min(at)));
    }

    /// Silence before `at` yields no flat bars, because the feed was not watched then.
    pub fn set_filled_from(&mut self, at: UnixMillis) {
        self.filled_from_ms = at;
        self.is_silence_told = false;
    }

    /// As [`Aggregator::set_filled_from`], for a feed that begins at `at` with the last trade before
    /// it. Where few bars lie between the two, they are flat ones, and there is no hole.
    pub fn begin_at(&mut self, at: UnixMillis) {
        self.filled_from_ms = at;
        self.is_silence_told = true;
    }

    fn judge<'a>(&self, missing: &'a MissingTimes) -> Judge<'a> {
        Judge {
            complete_from_ms: self.complete_from_ms,
            missing,
        }
    }

    /// Adds a trade's fold. `is_refetched` says that it came by backfill.
    #[inline]
    pub fn add(&mut self, fold: &Fold, is_refetched: bool) -> Placed {
        let mut met = Met::default();
        for index in 0..self.levels.len() {
            if self.levels[index].source.is_none() {
                self.place(index, fold, is_refetched, &mut met);
            }
        }
        match met {
            Met {
                is_taken: false, ..
            } => Placed::TooOld,
            Met {
                is_closed: true, ..
            } => Placed::Revised,
            Met { .. } => Placed::Forming,
        }
    }

    fn place(&mut self, index: usize, fold: &Fold, is_refetched: bool, met: &mut Met) {
        let at = fold.event_ms();
        let level = &mut self.levels[index];
        let start_ms = level.timeframe.start_of(at);
        if !level.is_closed_at(at) {
            level.merge_open(start_ms, fold);
            self.is_forming_changed = true;
            met.is_taken = true;
            return;
        }
        met.is_closed = true;
        if level.revise(start_ms, fold, is_refetched) {
            met.is_taken = true;
        } else {
            level.pass(fold);
        }
        // Closed bars have been merged upwards already, so the addition is merged upwards, too.
        for above in index + 1..self.levels.len() {
            if self.levels[above].source == Some(index) {
                self.place(above, fold, is_refetched, met);
            }
        }
    }

    /// Marks closed bars for revision if their quality no longer matches the missing times.
    pub fn requalify(&mut self) {
        self.is_requalify_due = true;
    }

    /// Returns the closed bars that have changed since the last call, each with `rev` + 1. Bars
    /// that end after `held_from_ms` wait, because they will change again soon.
    pub fn take_revised(
        &mut self,
        held_from_ms: Option<UnixMillis>,
        missing: &MissingTimes,
        out: &mut impl FnMut(Bar),
    ) {
        let judge = self.judge(missing);
        let is_requalify_due = std::mem::take(&mut self.is_requalify_due);
        for level in &mut self.levels {
            if is_requalify_due {
                level.requalify(judge);
            }
            level.take_revised(held_from_ms.unwrap_or(UnixMillis::MAX), judge, out);
        }
    }

    /// Closes every bar that ends at or before `limit_ms`, narrowest timeframe first.
    pub fn close(
        &mut self,
        limit_ms: UnixMillis,
        missing: &MissingTimes,
        out: &mut impl FnMut(Bar),
    ) {
        let judge = self.judge(missing);
        for index in 0..self.levels.len() {
            loop {
                let level = &mut self.levels[index];
                level.skip_silence(limit_ms, self.filled_from_ms, self.is_silence_told);
                let Some(folded) = level.close_next(limit_ms, judge, out) else {
                    break;
                };
                let Some(bar) = folded else { continue };
                for above in index + 1..self.levels.len() {
                    if self.levels[above].source == Some(index) {
                        let start_ms = self.levels[above].timeframe.start_of(bar.start_ms);
                        self.levels[above].merge_open(start_ms, &bar.fold);
                    }
                }
            }
        }
    }

    /// Whether [`Aggregator::prune`] has work to do.
    #[must_use]
    pub fn is_prune_due(&self, horizon_ms: UnixMillis) -> bool {
        let is_step = self.pruned_ms.is_none_or(|before| {
            horizon_ms < before || horizon_ms.saturating_sub(before) >= PRUNE_STEP_MS
        });
        is_step || self.levels.iter().any(Level::is_grown)
    }

    /// Forgets closed bars that end before `horizon_ms`. It keeps bars to which trades of the
    /// `needed` times may still come, and flat bars since the newest trade.
    pub fn prune(&mut self, horizon_ms: UnixMillis, needed: &MissingTimes) {
        self.pruned_ms = Some(horizon_ms);
        for level in &mut self.levels {
            level.prune(horizon_ms, needed);
        }
    }

    /// Whether a kept closed bar overlaps `from_ms..=to_ms`.
    #[must_use]
    pub fn keeps(&self, from_ms: UnixMillis, to_ms: UnixMillis) -> bool {
        self.levels.iter().any(|level| level.keeps(from_ms, to_ms))
    }

    /// How many bars are in memory, runs of flat ones counting as one.
    #[must_use]
    pub fn kept_bars(&self) -> usize {
        self.levels.iter().map(Level::kept_bars).sum()
    }

    #[cfg(test)]
    pub(crate) fn room(&self) -> usize {
        self.levels.iter().map(Level::room).sum()
    }

    /// Returns the forming bar of every timeframe at `now`, if trades came since the last call.
    pub fn take_forming(
        &mut self,
        now: UnixMillis,
        missing: &MissingTimes,
        out: &mut impl FnMut(Bar),
    ) {
        if !std::mem::take(&mut self.is_forming_changed) {
            return;
        }
        for index in 0..self.levels.len() {
            if let Some(bar) = self.forming(index, now, missing) {
                out(bar);
            }
        }
    }

    /// A forming bar is the merge of the source's closed bars so far and of the open bars in each
    /// level below. A trade with a time ahead of the clock waits for its bar.
    fn forming(&self, index: usize, now: UnixMillis, missing: &MissingTimes) -> Option<Bar> {
        let level = &self.levels[index];
        let sources =
            || std::iter::successors(Some(level), |level| Some(&self.levels[level.source?]));
        let newest_of = |level: &Level| {
            let mut open = level.open.iter().rev();
            open.find(|bar| bar.start_ms <= now).map(|bar| bar.start_ms)
        };
        let newest = sources().filter_map(newest_of).max()?;
        let start_ms = level.timeframe.start_of(newest);
        let end_ms = level.timeframe.end_of(start_ms);
        let mut fold = None;
        for source in sources() {
            for bar in source
                .open
                .iter()
                .rev()
                .take_while(|bar| bar.start_ms >= start_ms)
            {
                if bar.start_ms < end_ms {
                    merge_into(&mut fold, &bar.fold);
                }
            }
        }
        Some(forming_bar(level, start_ms, fold?, self.judge(missing)))
    }

    /// A copy with no more closed bars than a restart needs. `None` if these are too many; then an
    /// older copy is equally good. Trades may still come to the bars of the `needed` times.
    #[must_use]
    pub fn for_checkpoint(&self, needed: &MissingTimes) -> Option<Self> {
        let levels = self.levels.iter();
        let levels: Option<Vec<Level>> = levels.map(|level| level.for_checkpoint(needed)).collect();
        Some(Self {
            levels: levels?,
            ..*self
        })
    }

    /// Whether a stored copy is valid: its times are possible, in order and aligned, and no level
    /// has closed further than its source.
    pub(crate) fn is_sound(&mut self, is_time: impl Fn(UnixMillis) -> bool + Copy) -> bool {
        let times = [self.complete_from_ms, Some(self.filled_from_ms)];
        let levels = &self.levels;
        let is_fed = |(index, level): (usize, &Level)| {
            level.source.is_none_or(|source| {
                source < index
                    && level.timeframe.is_made_of(levels[source].timeframe)
                    && level.closed_until_ms <= levels[source].closed_until_ms
            })
        };
        !levels.is_empty()
            && levels.is_sorted_by(|one, next| one.timeframe < next.timeframe)
            && levels.iter().enumerate().all(is_fed)
            && times.into_iter().flatten().all(is_time)
            && self.levels.iter_mut().all(|level| level.is_sound(is_time))
    }
}
