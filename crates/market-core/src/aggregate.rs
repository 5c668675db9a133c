//! Trades in, bars out: forming, closed, revised, filled.
//!
//! Trades are folded into the narrowest timeframe only. A bar that closes is merged into the
//! timeframes above it, so that a higher timeframe is the fold of the lower by construction, and
//! a trade costs the same however many timeframes there are. A forming bar of a higher timeframe
//! is merged on demand, at the cadence of publication.

use std::collections::{BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use crate::bar::{Bar, BarState, Fold, Quality, merge_into};
use crate::clock::UnixMillis;
use crate::price::Price;
use crate::timeframe::{Timeframe, TimeframeSet};

/// The most flat bars that one silence yields per timeframe; of a longer one the newest are kept.
pub const FILL_MAX: i64 = 20_000;
/// The most closed bars kept per timeframe for revisions.
pub const CLOSED_MAX: usize = 20_000;
/// How many closed bars per timeframe a checkpoint carries, beside those with a gap.
const CHECKPOINT_CLOSED: usize = 4;

/// Event times between which trades are known to be missing, both ends included.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MissingTime {
    /// Event time of the trade before the missing ones.
    pub from_ms: UnixMillis,
    /// Event time of the trade after them; `None` while nobody knows.
    pub to_ms: Option<UnixMillis>,
}

impl MissingTime {
    fn touches(&self, start_ms: UnixMillis, end_ms: UnixMillis) -> bool {
        self.from_ms < end_ms && self.to_ms.is_none_or(|to| to >= start_ms)
    }
}

/// What became of a fold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Placed {
    /// In forming bars only.
    Forming,
    /// At least one closed bar was changed by it.
    Revised,
    /// A bar that it belongs to is closed and no longer kept; nothing was changed.
    TooOld,
}

/// One symbol's bars in every timeframe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Aggregator {
    levels: Vec<Level>,
    /// Bars that start before this were joined midway.
    complete_from_ms: Option<UnixMillis>,
    /// Closed bars to publish again: (level, start).
    revised: BTreeSet<(usize, UnixMillis)>,
    is_forming_changed: bool,
    is_requalify_due: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Level {
    timeframe: Timeframe,
    /// The level whose closed bars are merged into this one; trades are folded where none is.
    source: Option<usize>,
    /// Ascending by start. Above the narrowest, what closed bars of the source add up to.
    open: VecDeque<OpenBar>,
    /// Ascending by start, without holes; the newest ends at `closed_until_ms`.
    closed: VecDeque<ClosedBar>,
    closed_until_ms: Option<UnixMillis>,
    last_close: Option<Price>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct OpenBar {
    start_ms: UnixMillis,
    fold: Fold,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct ClosedBar {
    start_ms: UnixMillis,
    fold: Option<Fold>,
    previous_close: Option<Price>,
    rev: u32,
    quality: Quality,
    /// Trades were refetched into it after it was closed.
    is_healed: bool,
}

impl ClosedBar {
    fn close(&self) -> Option<Price> {
        self.fold.map(|fold| fold.close).or(self.previous_close)
    }
}

impl Level {
    fn is_closed_at(&self, at: UnixMillis) -> bool {
        self.closed_until_ms.is_some_and(|until| at < until)
    }

    fn closed_index(&self, start_ms: UnixMillis) -> Option<usize> {
        self.closed
            .binary_search_by_key(&start_ms, |bar| bar.start_ms)
            .ok()
    }

    #[inline]
    fn merge_open(&mut self, start_ms: UnixMillis, fold: &Fold) {
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
    fn next_start(&self) -> Option<UnixMillis> {
        self.closed_until_ms
            .or_else(|| self.open.front().map(|bar| bar.start_ms))
    }

    /// Of a silence longer than `FILL_MAX` bars, skips all but the newest.
    fn skip_long_silence(&mut self, limit_ms: UnixMillis) {
        let Some(until) = self.closed_until_ms else {
            return;
        };
        let width = self.timeframe.end_of(until) - until;
        let silent_until = self
            .open
            .front()
            .map_or(limit_ms, |bar| bar.start_ms.min(limit_ms));
        if (silent_until - until) / width > FILL_MAX {
            self.closed_until_ms = Some(self.timeframe.start_of(silent_until - FILL_MAX * width));
            self.closed.clear();
        }
    }
}

impl Aggregator {
    /// Bars in `timeframes`.
    #[must_use]
    pub fn new(timeframes: &TimeframeSet) -> Self {
        let level = |(index, &timeframe): (usize, &Timeframe)| Level {
            timeframe,
            source: timeframes.source_of(index),
            open: VecDeque::new(),
            closed: VecDeque::new(),
            closed_until_ms: None,
            last_close: None,
        };
        Self {
            levels: timeframes
                .as_slice()
                .iter()
                .enumerate()
                .map(level)
                .collect(),
            complete_from_ms: None,
            revised: BTreeSet::new(),
            is_forming_changed: false,
            is_requalify_due: false,
        }
    }

    /// The timeframes, narrowest first.
    pub fn timeframes(&self) -> impl Iterator<Item = Timeframe> {
        self.levels.iter().map(|level| level.timeframe)
    }

    /// For each timeframe, the end of its newest closed bar, or the start of its first one; nothing
    /// before there has been a trade.
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

    /// Adds a trade's fold. `is_refetched` says that it came by backfill.
    #[inline]
    pub fn add(&mut self, fold: &Fold, is_refetched: bool) -> Placed {
        let at = fold.event_ms();
        if self.levels.iter().any(|level| level.is_closed_at(at)) && !self.is_kept(at) {
            return Placed::TooOld;
        }
        let mut placed = Placed::Forming;
        for index in 0..self.levels.len() {
            if self.levels[index].source.is_none() && self.place(index, at, fold, is_refetched) {
                placed = Placed::Revised;
            }
        }
        placed
    }

    /// Whether every closed bar that holds `at` is still there to be revised.
    fn is_kept(&self, at: UnixMillis) -> bool {
        self.levels.iter().all(|level| {
            !level.is_closed_at(at) || level.closed_index(level.timeframe.start_of(at)).is_some()
        })
    }

    /// True if a closed bar was changed.
    fn place(&mut self, index: usize, at: UnixMillis, fold: &Fold, is_refetched: bool) -> bool {
        let level = &mut self.levels[index];
        let start_ms = level.timeframe.start_of(at);
        if !level.is_closed_at(at) {
            level.merge_open(start_ms, fold);
            self.is_forming_changed = true;
            return false;
        }
        self.revise(index, start_ms, fold, is_refetched);
        // What was closed has been merged upwards already, so the addition follows it.
        for above in index + 1..self.levels.len() {
            if self.levels[above].source == Some(index) {
                self.place(above, at, fold, is_refetched);
            }
        }
        true
    }

    fn revise(&mut self, index: usize, start_ms: UnixMillis, fold: &Fold, is_refetched: bool) {
        let level = &mut self.levels[index];
        let position = level
            .closed_index(start_ms)
            .expect("kept bars were checked");
        let bar = &mut level.closed[position];
        let close_before = bar.close();
        merge_into(&mut bar.fold, fold);
        bar.is_healed |= is_refetched;
        let close = bar.close();
        self.revised.insert((index, start_ms));
        if close == close_before {
            return;
        }
        // Flat bars repeat the close before them.
        let mut followers = level.closed.iter_mut().skip(position + 1);
        loop {
            match followers.next() {
                Some(follower) => {
                    follower.previous_close = close;
                    if follower.fold.is_some() {
                        break;
                    }
                    self.revised.insert((index, follower.start_ms));
                }
                None => {
                    level.last_close = close;
                    break;
                }
            }
        }
    }

    /// Has closed bars revised whose quality is no longer what the missing times say.
    pub fn requalify(&mut self) {
        self.is_requalify_due = true;
    }

    fn find_requalified(&mut self, missing: &[MissingTime]) {
        for (index, level) in self.levels.iter_mut().enumerate() {
            for bar in &mut level.closed {
                let end_ms = level.timeframe.end_of(bar.start_ms);
                let is_missing = missing.iter().any(|gap| gap.touches(bar.start_ms, end_ms));
                if is_missing != (bar.quality == Quality::Gap) {
                    bar.is_healed |= !is_missing;
                    self.revised.insert((index, bar.start_ms));
                }
            }
        }
    }

    /// Gives out the closed bars that have changed since the last call, each with `rev` + 1.
    pub fn take_revised(&mut self, missing: &[MissingTime], out: &mut impl FnMut(Bar)) {
        if std::mem::take(&mut self.is_requalify_due) {
            self.find_requalified(missing);
        }
        for (index, start_ms) in std::mem::take(&mut self.revised) {
            let level = &mut self.levels[index];
            let Some(position) = level.closed_index(start_ms) else {
                continue;
            };
            let end_ms = level.timeframe.end_of(start_ms);
            let bar = &mut level.closed[position];
            bar.rev += 1;
            bar.quality = quality(
                start_ms,
                end_ms,
                bar.fold.is_some(),
                bar.is_healed,
                self.complete_from_ms,
                missing,
            );
            out(closed_bar(level.timeframe, bar));
        }
    }

    /// Closes every bar that ends at or before `limit_ms`, narrowest timeframe first.
    pub fn close(
        &mut self,
        limit_ms: UnixMillis,
        missing: &[MissingTime],
        out: &mut impl FnMut(Bar),
    ) {
        for index in 0..self.levels.len() {
            let level = &mut self.levels[index];
            if level
                .next_start()
                .is_none_or(|start| level.timeframe.end_of(start) > limit_ms)
            {
                continue;
            }
            level.skip_long_silence(limit_ms);
            while let Some(folded) = self.close_next(index, limit_ms, missing, out) {
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

    /// `None` when nothing is left to close; else the folded bar, if the closed one had trades.
    fn close_next(
        &mut self,
        index: usize,
        limit_ms: UnixMillis,
        missing: &[MissingTime],
        out: &mut impl FnMut(Bar),
    ) -> Option<Option<OpenBar>> {
        let level = &mut self.levels[index];
        let start_ms = level.next_start()?;
        let end_ms = level.timeframe.end_of(start_ms);
        if end_ms > limit_ms {
            return None;
        }
        let folded = match level.open.front() {
            Some(bar) if bar.start_ms == start_ms => level.open.pop_front(),
            _ => None,
        };
        let bar = ClosedBar {
            start_ms,
            fold: folded.map(|bar| bar.fold),
            previous_close: level.last_close,
            rev: 0,
            quality: quality(
                start_ms,
                end_ms,
                folded.is_some(),
                false,
                self.complete_from_ms,
                missing,
            ),
            is_healed: false,
        };
        level.last_close = bar.close();
        level.closed_until_ms = Some(end_ms);
        level.closed.push_back(bar);
        if level.closed.len() > CLOSED_MAX {
            level.closed.pop_front();
        }
        out(closed_bar(level.timeframe, &bar));
        Some(folded)
    }

    /// Forgets closed bars that end before `horizon_ms`.
    pub fn prune(&mut self, horizon_ms: UnixMillis) {
        for level in &mut self.levels {
            while level
                .closed
                .front()
                .is_some_and(|bar| level.timeframe.end_of(bar.start_ms) < horizon_ms)
            {
                level.closed.pop_front();
            }
        }
    }

    /// Gives out the newest forming bar of every timeframe, if trades came since the last call.
    pub fn take_forming(&mut self, missing: &[MissingTime], out: &mut impl FnMut(Bar)) {
        if !std::mem::take(&mut self.is_forming_changed) {
            return;
        }
        for index in 0..self.levels.len() {
            if let Some(bar) = self.forming(index, missing) {
                out(bar);
            }
        }
    }

    /// What is forming is what closed bars of the source have brought so far, and what is still
    /// open in each level below.
    fn forming(&self, index: usize, missing: &[MissingTime]) -> Option<Bar> {
        let level = &self.levels[index];
        let sources =
            || std::iter::successors(Some(level), |level| Some(&self.levels[level.source?]));
        let newest = sources()
            .filter_map(|level| level.open.back())
            .map(|bar| bar.start_ms)
            .max()?;
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
        let quality = quality(
            start_ms,
            end_ms,
            true,
            false,
            self.complete_from_ms,
            missing,
        );
        Some(Bar {
            timeframe: level.timeframe,
            start_ms,
            end_ms,
            fold,
            previous_close: level.last_close,
            state: BarState::Forming,
            rev: 0,
            quality,
        })
    }

    /// A copy with no more closed bars than a restart needs: those to which trades after `from_ms`
    /// may still belong, those with a gap or a revision to publish, and the newest few.
    #[must_use]
    pub fn for_checkpoint(&self, from_ms: UnixMillis) -> Self {
        let trim = |(index, level): (usize, &Level)| {
            let is_needed = |bar: &ClosedBar| {
                bar.quality == Quality::Gap
                    || level.timeframe.end_of(bar.start_ms) > from_ms
                    || self.revised.contains(&(index, bar.start_ms))
            };
            let newest = level.closed.len().saturating_sub(CHECKPOINT_CLOSED);
            // The kept bars have to stay without holes, so one that is needed keeps all after it.
            let first = level
                .closed
                .iter()
                .take(newest)
                .position(is_needed)
                .unwrap_or(newest);
            Level {
                closed: level.closed.range(first..).copied().collect(),
                open: level.open.clone(),
                ..*level
            }
        };
        Self {
            levels: self.levels.iter().enumerate().map(trim).collect(),
            revised: self.revised.clone(),
            ..*self
        }
    }
}

fn closed_bar(timeframe: Timeframe, bar: &ClosedBar) -> Bar {
    Bar {
        timeframe,
        start_ms: bar.start_ms,
        end_ms: timeframe.end_of(bar.start_ms),
        fold: bar.fold,
        previous_close: bar.previous_close,
        state: BarState::Closed,
        rev: bar.rev,
        quality: bar.quality,
    }
}

fn quality(
    start_ms: UnixMillis,
    end_ms: UnixMillis,
    has_trades: bool,
    is_healed: bool,
    complete_from_ms: Option<UnixMillis>,
    missing: &[MissingTime],
) -> Quality {
    if missing.iter().any(|gap| gap.touches(start_ms, end_ms)) {
        Quality::Gap
    } else if complete_from_ms.is_some_and(|from| start_ms < from) {
        Quality::Partial
    } else if is_healed {
        Quality::Backfilled
    } else if has_trades {
        Quality::Complete
    } else {
        Quality::Filled
    }
}
