//! The closed bars of a topic, by their start.
//!
//! A revision takes the place of the bar that it revises, so a thousand revisions of ten bars are
//! ten bars. The last ones are held whole for as long as the topic lives; whatever else comes is
//! held for its time, so that a burst of any length reaches all who read. Of those that are no
//! longer whole it is remembered that they were, to count what a slow client missed.

use std::collections::VecDeque;

use market_core::protocol::Filter;

use super::depth::{Depth, Keep};
use super::update::{Stamp, Update};
use crate::encode::payload::Payload;

/// A closed bar that was, whether or not it is still held whole.
#[derive(Debug)]
pub(super) struct ClosedBar {
    /// Version of its newest revision.
    pub(super) version: u64,
    /// Version of the first that came of it.
    first_version: u64,
    pub(super) stamp: Stamp,
    pub(super) start_ms: i64,
    pub(super) end_ms: i64,
    rev: u32,
    /// Closed bars that should have come before it and never reached this gateway.
    missed: u32,
    /// Where the hole in which they lie begins, unix ms.
    hole_ms: i64,
    filled: bool,
    /// Whether its time is over: what is made of it for an encoding is then not kept.
    is_old: bool,
    /// None once it is no longer held whole.
    payload: Option<Payload>,
}

/// What is known of the bars that are no longer remembered one by one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Forgotten {
    /// The last start.
    pub(super) start_ms: i64,
    /// The last end.
    pub(super) end_ms: i64,
    /// The newest stamp.
    pub(super) stamp: Stamp,
    /// How many of them, and holes before them, some session may not have been told of: there was
    /// no room to know which.
    untold: u64,
    /// The newest version of these.
    untold_upto: u64,
}

/// What became of a closed bar that was offered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Taken {
    /// It is new, and so many that should have come before it never did; or it is `late`, one of
    /// those.
    New { missed: u32, late: bool },
    /// It was here before.
    Duplicate,
}

/// The closed bars of a topic.
#[derive(Debug, Default)]
pub(super) struct ClosedBars {
    /// Ascending by start, none twice.
    bars: VecDeque<ClosedBar>,
    /// How many of them are held whole.
    whole: usize,
    /// Versions up to here may stand in any order; those above ascend at the end of `bars`.
    shuffled: u64,
    forgotten: Option<Forgotten>,
}

impl ClosedBar {
    /// What is sent of it, if it is held whole.
    fn handed(&self) -> Option<Payload> {
        let payload = self.payload.as_ref()?;
        Some(match self.is_old {
            true => payload.bare(),
            false => payload.clone(),
        })
    }

    fn passes(&self, filter: Filter) -> bool {
        !(filter.no_fill && self.filled)
    }
}

impl ClosedBars {
    /// Start and end of the bar that starts last, ms.
    pub(super) fn last_ms(&self) -> Option<(i64, i64)> {
        self.bars.back().map(|bar| (bar.start_ms, bar.end_ms))
    }

    /// See [`Forgotten`].
    pub(super) fn forgotten(&self) -> Option<Forgotten> {
        self.forgotten
    }

    /// How many are held whole.
    #[cfg(test)]
    pub(super) fn whole(&self) -> usize {
        self.whole
    }

    /// How many are remembered.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.bars.len()
    }

    /// Takes a bar. `early` is raised by the bars that are let go before their time.
    pub(super) fn offer(&mut self, update: Update, keep: Keep, early: &mut u64) -> Taken {
        let Keep {
            depth, old_upto, ..
        } = keep;
        let version = update.version;
        let (mut missed, mut late) = (0, false);
        let at = match self.find(update.start_ms) {
            Ok(at) => {
                let held = &mut self.bars[at];
                // Revisions are counted within an epoch: a publisher that restarts begins anew.
                if (held.stamp.epoch, held.rev) >= (update.stamp.epoch, update.rev) {
                    return Taken::Duplicate;
                }
                self.whole += usize::from(held.payload.is_none());
                held.version = version;
                held.stamp = update.stamp;
                held.end_ms = update.end_ms;
                held.rev = update.rev;
                held.filled = update.filled;
                held.is_old = false;
                held.payload = Some(update.payload);
                at
            }
            Err(at) => {
                // Nothing that was forgotten is newer than the newest of it.
                let was_here = |last: Forgotten| {
                    update.start_ms <= last.start_ms && update.stamp <= last.stamp
                };
                if self.forgotten.is_some_and(was_here) {
                    return Taken::Duplicate;
                }
                if at == self.bars.len() {
                    missed = self.missed_before(&update);
                } else {
                    late = self.no_longer_missed(at, update.start_ms);
                }
                let hole_ms = self.bars.back().map_or(update.start_ms, |last| last.end_ms);
                self.whole += 1;
                self.bars.insert(
                    at,
                    ClosedBar {
                        version,
                        first_version: version,
                        stamp: update.stamp,
                        start_ms: update.start_ms,
                        end_ms: update.end_ms,
                        rev: update.rev,
                        missed,
                        hole_ms,
                        filled: update.filled,
                        is_old: false,
                        payload: Some(update.payload),
                    },
                );
                // One more is not among the last.
                if let Some(beyond) = self.last_begin(depth).checked_sub(1)
                    && self.bars[beyond].version <= old_upto
                {
                    self.drop_payload(beyond);
                }
                at
            }
        };
        if at + 1 < self.bars.len() {
            self.shuffled = version;
        }
        *early += u64::from(self.whole > depth.burst_max && self.drop_oldest(depth));
        self.forget(keep);
        Taken::New { missed, late }
    }

    /// The time of a version is over: it is held on only if it is one of the last bars. True if
    /// it is no longer held.
    pub(super) fn let_go(&mut self, start_ms: i64, version: u64, keep: Keep) -> bool {
        let Ok(at) = self.find(start_ms) else {
            return false;
        };
        if self.bars[at].version != version {
            // A revision of it has a time of its own.
            return false;
        }
        if at >= self.last_begin(keep.depth) {
            // Few ask for it now, so what was made of it is not kept.
            let bar = &mut self.bars[at];
            bar.is_old = true;
            bar.payload = bar.handed();
            return false;
        }
        let was_whole = self.drop_payload(at);
        self.forget(keep);
        was_whole
    }

    /// Index from which on bars are held whatever their age.
    fn last_begin(&self, depth: Depth) -> usize {
        self.bars.len().saturating_sub(depth.closed_bars)
    }

    /// Where a start is, or belongs.
    fn find(&self, start_ms: i64) -> Result<usize, usize> {
        match self.bars.back() {
            Some(last) if last.start_ms >= start_ms => self
                .bars
                .binary_search_by_key(&start_ms, |bar| bar.start_ms),
            _ => Err(self.bars.len()),
        }
    }

    fn drop_payload(&mut self, at: usize) -> bool {
        let was_whole = self.bars[at].payload.take().is_some();
        self.whole -= usize::from(was_whole);
        was_whole
    }

    /// Drops the oldest that is held for its time only; false if none is.
    fn drop_oldest(&mut self, depth: Depth) -> bool {
        let end = self.last_begin(depth);
        let oldest = self
            .bars
            .range(..end)
            .enumerate()
            .filter(|(_, bar)| bar.payload.is_some())
            .min_by_key(|(_, bar)| bar.version)
            .map(|(at, _)| at);
        oldest.is_some_and(|at| self.drop_payload(at))
    }

    /// Forgets what is remembered beyond the bound, once every session has been told.
    fn forget(&mut self, keep: Keep) {
        let remembered_max = keep.depth.closed_log.max(keep.depth.closed_bars);
        let untold_max = remembered_max.max(keep.depth.burst_max);
        if let Some(forgotten) = &mut self.forgotten
            && forgotten.untold_upto <= keep.told_upto
        {
            forgotten.untold = 0;
        }
        while let Some(first) = self.bars.front()
            && first.payload.is_none()
            && self.bars.len() > remembered_max
            && (first.version <= keep.told_upto || self.bars.len() > untold_max)
            && let Some(bar) = self.bars.pop_front()
        {
            let last = self.forgotten.get_or_insert(Forgotten {
                start_ms: bar.start_ms,
                end_ms: bar.end_ms,
                stamp: bar.stamp,
                untold: 0,
                untold_upto: 0,
            });
            if bar.version > keep.told_upto {
                last.untold += 1 + u64::from(bar.missed);
                last.untold_upto = last.untold_upto.max(bar.version);
            }
            last.start_ms = last.start_ms.max(bar.start_ms);
            last.end_ms = last.end_ms.max(bar.end_ms);
            last.stamp = last.stamp.max(bar.stamp);
        }
    }

    /// How many bars lie between the last one and this one, by their times.
    fn missed_before(&self, update: &Update) -> u32 {
        let width_ms = update.end_ms.saturating_sub(update.start_ms);
        match self.bars.back() {
            Some(last) if update.start_ms > last.end_ms && width_ms > 0 => {
                // Months differ in width; rounding up never makes a hole vanish.
                let hole_ms = update.start_ms.saturating_sub(last.end_ms).unsigned_abs();
                u32::try_from(hole_ms.div_ceil(width_ms.unsigned_abs())).unwrap_or(u32::MAX)
            }
            _ => 0,
        }
    }

    /// A bar has come late, before that at `at`: the one after its hole no longer says that it
    /// was missed. False if it lies in no hole.
    fn no_longer_missed(&mut self, at: usize, start_ms: i64) -> bool {
        // Between the two there may be others of the hole that came late.
        match self.bars.range_mut(at..).find(|bar| bar.missed > 0) {
            Some(bar) if bar.hole_ms <= start_ms => {
                bar.missed -= 1;
                true
            }
            _ => false,
        }
    }

    /// Appends the bars of versions above `seen` and up to `upto`, in the order in which they
    /// closed, and returns how many more there were.
    pub(super) fn since(
        &self,
        seen: u64,
        upto: u64,
        filter: Filter,
        updates: &mut Vec<Payload>,
    ) -> u64 {
        // As a rule what is new stands at the end.
        let tail = match seen >= self.shuffled {
            true => {
                self.bars.len()
                    - self
                        .bars
                        .iter()
                        .rev()
                        .take_while(|bar| bar.version > seen)
                        .count()
            }
            false => 0,
        };
        // Who has not seen all of these is told of all: rather too many than too few.
        let is_untold = |gone: &Forgotten| gone.untold_upto > seen && gone.untold_upto <= upto;
        let mut lacking = self
            .forgotten
            .filter(is_untold)
            .map_or(0, |gone| gone.untold);
        let mut held: Vec<(u64, Payload)> = Vec::new();
        for bar in self.bars.range(tail..) {
            if bar.first_version > seen && bar.first_version <= upto {
                lacking += u64::from(bar.missed);
            }
            if bar.version > seen && bar.version <= upto && bar.passes(filter) {
                match bar.handed() {
                    // Who has not seen the bar at all gets it in its place.
                    Some(payload) if bar.first_version > seen => {
                        held.push((bar.first_version, payload));
                    }
                    Some(payload) => held.push((bar.version, payload)),
                    None => lacking += 1,
                }
            }
        }
        if tail == 0 {
            held.sort_by_key(|(version, _)| *version);
        }
        updates.extend(held.into_iter().map(|(_, payload)| payload));
        lacking
    }

    /// The whole bars up to version `upto` that pass `filter`, the last first.
    pub(super) fn last_first(&self, upto: u64, filter: Filter) -> impl Iterator<Item = Payload> {
        self.bars
            .iter()
            .rev()
            .filter(move |bar| bar.version <= upto && bar.passes(filter))
            .filter_map(ClosedBar::handed)
    }

    /// Appends the whole bars up to version `upto` that a client lacks, by their start, and
    /// returns how many more it lacks. A hole before a bar is lacking if `is_hole_lacking` says so
    /// of the bar.
    pub(super) fn lacking(
        &self,
        upto: u64,
        filter: Filter,
        is_lacking: impl Fn(Stamp, i64) -> bool,
        is_hole_lacking: impl Fn(Stamp, i64) -> bool,
        updates: &mut Vec<Payload>,
    ) -> u64 {
        let mut lacking = 0;
        for bar in self.bars.iter().filter(|bar| bar.version <= upto) {
            if bar.missed > 0 && is_hole_lacking(bar.stamp, bar.end_ms) {
                lacking += u64::from(bar.missed);
            }
            if bar.passes(filter) && is_lacking(bar.stamp, bar.end_ms) {
                match bar.handed() {
                    Some(payload) => updates.push(payload),
                    None => lacking += 1,
                }
            }
        }
        lacking
    }
}
