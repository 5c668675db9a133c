//! One timeframe of a symbol: the open bars, and the closed bars that may still be revised.
//!
//! Successive closed flat bars are one run of any length. So an outage or a silence of hours costs
//! as much as one bar. A run is split where a trade or a gap makes its bars different.

mod bounds;
mod closed_run;
mod flat_price;
mod last_trade;
mod saved;

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use self::bounds::TOLD_FILL_MAX;
pub use self::bounds::{CLOSED_MAX, FILL_MAX};
pub(crate) use self::closed_run::Judge;
use self::closed_run::{ClosedRun, give_out};
pub(crate) use self::last_trade::LastTrade;
use crate::bar::{Bar, BarState, Fold, Quality, merge_into};
use crate::series::missing::MissingTimes;
use crate::value::clock::UnixMillis;
use crate::value::price::Price;
use crate::value::timeframe::Timeframe;

/// Spare capacity of the store of closed bars that is kept when memory is released.
const SPARE: usize = 64;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Level {
    pub(crate) timeframe: Timeframe,
    /// The level whose closed bars are merged into this one; `None` if trades are folded directly.
    pub(crate) source: Option<usize>,
    /// Ascending by start. Above the narrowest level: the merged closed bars of the source.
    pub(crate) open: VecDeque<OpenBar>,
    /// Ascending by start, with holes for bars that can no longer change.
    closed: VecDeque<ClosedRun>,
    pub(crate) closed_until_ms: Option<UnixMillis>,
    pub(crate) last_close: Option<Price>,
    /// The start of the first bar that has closed.
    #[serde(default)]
    pub(crate) began_ms: Option<UnixMillis>,
    /// For a level that was added while bars were open: its bars lack trades before this time.
    #[serde(default)]
    pub(crate) joined_ms: Option<UnixMillis>,
    /// The newest trade that its bars lack for that reason.
    #[serde(default)]
    pub(crate) before: Option<LastTrade>,
    /// Some closed bar is to be published again.
    #[serde(default)]
    is_revised: bool,
    /// How many runs the last pruning left.
    #[serde(skip)]
    kept: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OpenBar {
    pub(crate) start_ms: UnixMillis,
    pub(crate) fold: Fold,
}

impl Level {
    pub(crate) fn new(timeframe: Timeframe, source: Option<usize>) -> Self {
        Self {
            timeframe,
            source,
            open: VecDeque::new(),
            closed: VecDeque::new(),
            closed_until_ms: None,
            last_close: None,
            began_ms: None,
            joined_ms: None,
            before: None,
            is_revised: false,
            kept: 0,
        }
    }

    #[inline]
    pub(crate) fn is_closed_at(&self, at: UnixMillis) -> bool {
        self.closed_until_ms.is_some_and(|until| at < until)
    }

    /// `judge`, for a level that may have joined later.
    fn own<'a>(&self, judge: Judge<'a>) -> Judge<'a> {
        Judge {
            complete_from_ms: judge.complete_from_ms.max(self.joined_ms),
            ..judge
        }
    }

    fn closed_index(&self, start_ms: UnixMillis) -> Option<usize> {
        let after = self.closed.partition_point(|run| run.start_ms <= start_ms);
        let index = after.checked_sub(1)?;
        (start_ms < self.closed[index].end_ms).then_some(index)
    }

    #[inline]
    pub(crate) fn merge_open(&mut self, start_ms: UnixMillis, fold: &Fold) {
        let mut index = self.open.len();
        while index > 0 && self.open[index - 1].start_ms > start_ms {
            index -= 1;
        }
        match index.checked_sub(1).map(|last| &mut self.open[last]) {
            Some(bar) if bar.start_ms == start_ms => bar.fold.merge(fold),
            _ => self.open.insert(
                index,
                OpenBar {
                    start_ms,
                    fold: *fold,
                },
            ),
        }
    }

    /// The start of the next bar to close, if there has been anything yet.
    pub(crate) fn next_start(&self) -> Option<UnixMillis> {
        self.closed_until_ms
            .or_else(|| self.open.front().map(|bar| bar.start_ms))
    }

    /// Skips flat bars before `filled_from_ms`, unless the venue has told of a short silence, and
    /// all but the newest of a long one.
    pub(crate) fn skip_silence(
        &mut self,
        limit_ms: UnixMillis,
        mut filled_from_ms: UnixMillis,
        is_told: bool,
    ) {
        let Some(until) = self.closed_until_ms else {
            return;
        };
        let silent_until = self
            .open
            .front()
            .map_or(limit_ms, |bar| bar.start_ms.min(limit_ms));
        if silent_until <= until {
            return;
        }
        let width = self.timeframe.end_of(until) - until;
        // The silence is measured whole, while its bars close one after the other.
        let begun_ms = self.began_ms.map_or(until, |at| self.timeframe.end_of(at));
        let told_ms = self.timeframe.start_of(filled_from_ms) - begun_ms;
        let told_width = self.timeframe.end_of(begun_ms) - begun_ms;
        if is_told && told_ms <= TOLD_FILL_MAX * told_width {
            filled_from_ms = UnixMillis::MIN;
        }
        let oldest = filled_from_ms.max(limit_ms.saturating_sub(FILL_MAX * width));
        if until >= oldest {
            return;
        }
        let end_ms = self.timeframe.start_of(oldest.min(silent_until));
        self.closed_until_ms = Some(end_ms);
        let mut run = ClosedRun {
            is_silent: true,
            ..ClosedRun::flat(until, end_ms, self.last_close)
        };
        run.trim(self.timeframe);
        if run.start_ms < run.end_ms {
            self.push_closed(run);
        }
    }

    /// Merges `fold` into a closed bar that is still kept; false if it is not.
    pub(crate) fn revise(&mut self, start_ms: UnixMillis, fold: &Fold, is_refetched: bool) -> bool {
        let Some(index) = self.closed_index(start_ms).or_else(|| self.begin(start_ms)) else {
            return false;
        };
        let index = self.part(index, start_ms);
        let close_before = self.close_of(&self.closed[index]);
        let bar = &mut self.closed[index];
        merge_into(&mut bar.fold, fold);
        bar.is_healed |= is_refetched;
        bar.is_revised = true;
        bar.is_changed = true;
        self.is_revised = true;
        let end_ms = bar.end_ms;
        let close = self.close_of(&self.closed[index]);
        if close != close_before {
            self.repeat(close, index + 1, end_ms);
        }
        true
    }

    /// A trade before the first bar makes a bar, and flat bars up to the first one. A level that
    /// joined later makes no such bar: it would lack the other trades of its time.
    fn begin(&mut self, start_ms: UnixMillis) -> Option<usize> {
        if self.joined_ms.is_some() {
            return None;
        }
        let first_ms = self.began_ms.filter(|&first| start_ms < first)?;
        let mut run = ClosedRun {
            is_silent: true,
            ..ClosedRun::flat(start_ms, first_ms, None)
        };
        run.trim(self.timeframe);
        if run.start_ms > start_ms {
            return None;
        }
        self.began_ms = Some(start_ms);
        self.closed.push_front(run);
        Some(0)
    }

    /// Splits the bar that starts at `start_ms` from its run; returns its index.
    fn part(&mut self, index: usize, start_ms: UnixMillis) -> usize {
        let run = self.closed[index];
        let end_ms = self.timeframe.end_of(start_ms);
        let mut index = index;
        if run.start_ms < start_ms {
            self.closed[index].end_ms = start_ms;
            index += 1;
            self.closed.insert(index, ClosedRun { start_ms, ..run });
        }
        if end_ms < run.end_ms {
            self.closed[index].end_ms = end_ms;
            let rest = ClosedRun {
                start_ms: end_ms,
                ..run
            };
            self.closed.insert(index + 1, rest);
        }
        index
    }

    /// Splits the bars that `is_due` selects from their runs, so that each run has one quality.
    fn cut(&mut self, judge: Judge<'_>, is_due: impl Fn(&ClosedRun) -> bool) {
        let timeframe = self.timeframe;
        let is_cut = |run: &ClosedRun| {
            timeframe.end_of(run.start_ms) < run.end_ms
                && is_due(run)
                && !judge.is_uniform(run.start_ms, run.end_ms)
        };
        if !self.closed.iter().any(is_cut) {
            return;
        }
        for run in std::mem::take(&mut self.closed) {
            if !is_cut(&run) {
                self.closed.push_back(run);
                continue;
            }
            let quality = |start_ms, end_ms| judge.quality(start_ms, end_ms, None, false);
            let mut part = ClosedRun {
                end_ms: timeframe.end_of(run.start_ms),
                ..run
            };
            let mut before = quality(part.start_ms, part.end_ms);
            while part.end_ms < run.end_ms {
                let end_ms = timeframe.end_of(part.end_ms);
                let next = quality(part.end_ms, end_ms);
                if next != before {
                    self.closed.push_back(part);
                    part.start_ms = part.end_ms;
                    before = next;
                }
                part.end_ms = end_ms;
            }
            self.closed.push_back(part);
        }
    }

    /// Marks closed bars for revision if their quality no longer matches the missing times.
    pub(crate) fn requalify(&mut self, judge: Judge<'_>) {
        let judge = self.own(judge);
        self.cut(judge, |run| !run.is_silent);
        for run in &mut self.closed {
            let end_ms = self.timeframe.end_of(run.start_ms);
            let is_gap = judge.is_gap(run.start_ms, end_ms, run.fold.as_ref());
            if !run.is_silent && is_gap != (run.quality == Quality::Gap) {
                run.is_revised = true;
                self.is_revised = true;
            }
        }
    }

    /// Returns the closed bars that have changed since the last call, each with `rev` + 1. Bars
    /// that end after `held_from_ms` wait.
    pub(crate) fn take_revised(
        &mut self,
        held_from_ms: UnixMillis,
        judge: Judge<'_>,
        out: &mut impl FnMut(Bar),
    ) {
        if !std::mem::take(&mut self.is_revised) {
            return;
        }
        let judge = self.own(judge);
        self.cut(judge, |run| run.is_revised);
        for run in self.closed.iter_mut().filter(|run| run.is_revised) {
            if run.end_ms > held_from_ms {
                self.is_revised = true;
                continue;
            }
            run.is_revised = false;
            let end_ms = self.timeframe.end_of(run.start_ms);
            let fold = run.fold.as_ref();
            let is_gap = judge.is_gap(run.start_ms, end_ms, fold);
            let is_healed = run.is_healed || (run.quality == Quality::Gap && !is_gap);
            let quality = judge.quality(run.start_ms, end_ms, fold, is_healed);
            // A gap may have come and gone while the bar waited.
            if !std::mem::take(&mut run.is_changed) && quality == run.quality {
                continue;
            }
            run.is_healed = is_healed;
            run.quality = quality;
            if !std::mem::take(&mut run.is_silent) {
                run.rev = run.rev.saturating_add(1);
            }
            give_out(self.timeframe, run, out);
        }
    }

    /// Closes the next bar. `None` if no bar is left to close; otherwise the fold of the closed
    /// bar, if it had trades.
    pub(crate) fn close_next(
        &mut self,
        limit_ms: UnixMillis,
        judge: Judge<'_>,
        out: &mut impl FnMut(Bar),
    ) -> Option<Option<OpenBar>> {
        let start_ms = self.next_start()?;
        let end_ms = self.timeframe.end_of(start_ms);
        if end_ms > limit_ms {
            return None;
        }
        let folded = match self.open.front() {
            Some(bar) if bar.start_ms == start_ms => self.open.pop_front(),
            _ => None,
        };
        let fold = folded.map(|bar| bar.fold);
        let judge = self.own(judge);
        let run = ClosedRun {
            fold,
            quality: judge.quality(start_ms, end_ms, fold.as_ref(), false),
            ..ClosedRun::flat(start_ms, end_ms, self.last_close)
        };
        self.last_close = self.close_of(&run);
        self.closed_until_ms = Some(end_ms);
        self.began_ms.get_or_insert(start_ms);
        self.push_closed(run);
        if self.closed.len() > CLOSED_MAX {
            self.closed.pop_front();
        }
        give_out(self.timeframe, &run, out);
        Some(folded)
    }

    #[inline]
    fn push_closed(&mut self, run: ClosedRun) {
        match self.closed.back_mut() {
            Some(last) if last.goes_on_with(&run) => last.end_ms = run.end_ms,
            _ => self.closed.push_back(run),
        }
    }

    /// Whether a kept closed bar overlaps `from_ms..=to_ms`.
    pub(crate) fn keeps(&self, from_ms: UnixMillis, to_ms: UnixMillis) -> bool {
        let index = self.closed.partition_point(|run| run.end_ms <= from_ms);
        let run = self.closed.get(index);
        run.is_some_and(|run| run.start_ms <= to_ms)
    }

    pub(crate) fn kept_bars(&self) -> usize {
        self.open.len() + self.closed.len()
    }

    #[cfg(test)]
    pub(crate) fn room(&self) -> usize {
        self.closed.capacity()
    }

    /// Whether there are far more closed runs than the last pruning left.
    pub(crate) fn is_grown(&self) -> bool {
        self.closed.len() > 2 * self.kept + 16 * SPARE
    }

    /// Forgets closed bars that end before `horizon_ms`. It keeps bars to which trades may still
    /// come, and flat bars since the newest trade.
    pub(crate) fn prune(&mut self, horizon_ms: UnixMillis, needed: &MissingTimes) {
        let timeframe = self.timeframe;
        let newest_ms = self.closed.back().map(|run| run.start_ms);
        self.closed.retain_mut(|run| {
            run.trim(timeframe);
            run.end_ms >= horizon_ms
                || run.is_revised
                || newest_ms.is_some_and(|newest| newest <= run.start_ms)
                || needed.touches(run.start_ms, run.end_ms)
        });
        let runs = self.closed.iter().zip(self.closed.iter().skip(1));
        if runs.filter(|(run, next)| run.goes_on_with(next)).count() > SPARE {
            for run in std::mem::take(&mut self.closed) {
                self.push_closed(run);
            }
        }
        self.kept = self.closed.len();
        if self.closed.capacity() > 4 * self.kept + SPARE {
            self.closed.shrink_to(self.kept + SPARE);
        }
        if self.open.capacity() > 4 * self.open.len() + SPARE {
            self.open.shrink_to(self.open.len() + SPARE);
        }
    }
}

/// A bar that is still open.
pub(crate) fn forming_bar(
    level: &Level,
    start_ms: UnixMillis,
    fold: Fold,
    judge: Judge<'_>,
) -> Bar {
    let end_ms = level.timeframe.end_of(start_ms);
    Bar {
        timeframe: level.timeframe,
        start_ms,
        end_ms,
        fold: Some(fold),
        previous_close: level.last_close,
        state: BarState::Forming,
        rev: 0,
        quality: level
            .own(judge)
            .quality(start_ms, end_ms, Some(&fold), false),
    }
}
