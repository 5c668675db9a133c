//! How far the bars of one timeframe are published.

use std::collections::BTreeMap;

use market_core::wire::BoundaryMark;
use market_core::{Timeframe, UnixMillis};

use crate::instrument::InstrumentId;

/// One timeframe's progress.
#[derive(Debug)]
pub(super) struct Progress {
    pub(super) timeframe: Timeframe,
    /// By instrument: the time up to which its bars are published. `None` before its first trade.
    until: Vec<Option<UnixMillis>>,
    /// By instrument: whether nothing waits for it any more. Its last bars may still be published.
    has_left: Vec<bool>,
    /// Instruments that have traded.
    pub(super) begun: usize,
    /// The end of the interval that is marked next.
    next_end: Option<UnixMillis>,
    /// The end of the interval that was marked last, in this run or the one before.
    pub(super) marked_end: Option<UnixMillis>,
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
    /// The progress of so many instruments, none of which has traded.
    pub(super) fn new(timeframe: Timeframe, instruments: usize) -> Self {
        Self {
            timeframe,
            until: vec![None; instruments],
            has_left: vec![false; instruments],
            begun: 0,
            next_end: None,
            marked_end: None,
            through: 0,
            closings: BTreeMap::new(),
        }
    }

    /// Marks wait for an instrument whose first unpublished bar begins there. One that is taken over
    /// may be further behind than the others. The last trade before a cold start may be days old: no
    /// interval of that time is marked for it.
    pub(super) fn begin(
        &mut self,
        instrument: InstrumentId,
        from_ms: UnixMillis,
        is_taken_over: bool,
    ) {
        if self.until[instrument].is_some() {
            return;
        }
        self.until[instrument] = Some(from_ms);
        self.has_left[instrument] = false;
        self.begun += 1;
        let end_ms = self.timeframe.end_of(self.timeframe.start_of(from_ms));
        // Marks do not go back for an instrument whose bars end before the last mark.
        let least_ms = self.marked_end.map(|marked| self.timeframe.end_of(marked));
        let end_ms = least_ms.map_or(end_ms, |least_ms| least_ms.max(end_ms));
        if self
            .next_end
            .is_none_or(|next| is_taken_over && end_ms < next)
        {
            self.next_end = Some(end_ms);
            self.count_through();
        } else {
            // Thousands begin together: each counts for itself.
            self.through += usize::from(self.is_through(from_ms));
        }
    }

    /// The instrument is published elsewhere: nothing waits for it.
    pub(super) fn leave(&mut self, instrument: InstrumentId) {
        self.has_left[instrument] = true;
        if let Some(until) = self.until[instrument].take() {
            self.begun -= 1;
            self.through -= usize::from(self.is_through(until));
        }
    }

    /// Another program marks what was published so far.
    pub(super) fn lose(&mut self) {
        self.closings.clear();
    }

    /// Continues after a mark of an earlier run, or of another program.
    pub(super) fn resume(&mut self, marked_end: Option<UnixMillis>) {
        self.marked_end = self.marked_end.max(marked_end);
        if let (Some(next), Some(marked)) = (self.next_end, self.marked_end)
            && next <= marked
        {
            self.next_end = Some(self.timeframe.end_of(marked));
            self.closings.retain(|&end_ms, _| end_ms > marked);
            self.count_through();
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

    /// The bar of an instrument that ends there was published.
    pub(super) fn close(&mut self, instrument: InstrumentId, end_ms: UnixMillis, now: UnixMillis) {
        if !self.has_left[instrument] {
            self.begin(instrument, self.timeframe.start_of(end_ms - 1), false);
        }
        let Some(next) = self.next_end else {
            return;
        };
        if let Some(before) = self.until[instrument] {
            self.until[instrument] = Some(before.max(end_ms));
            if before < next && next <= end_ms {
                self.through += 1;
            }
        }
        if end_ms >= next {
            let closings = self.closings.entry(end_ms).or_insert(Closings {
                bars: 0,
                first_ms: now,
            });
            closings.bars += 1;
        }
    }

    /// Whether nothing waits for an instrument that has begun.
    pub(super) fn is_complete(&self) -> bool {
        self.through == self.begun
    }

    /// The next mark, if all instruments have published their bars, also those that are `coming`, or
    /// the first bar has waited for `wait_ms`.
    pub(super) fn next_mark(
        &mut self,
        coming: usize,
        now: UnixMillis,
        wait_ms: i64,
    ) -> Option<BoundaryMark> {
        let first = self.closings.first_entry()?;
        let end_ms = *first.key();
        let is_overdue = now.saturating_sub(first.get().first_ms) >= wait_ms;
        if coming > 0 && !is_overdue {
            return None;
        }
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
        let missing = self.begun - self.through + coming;
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
