//! The closed bars of a topic, by their start.
//!
//! A revision replaces the bar that it revises, so a thousand revisions of ten bars are ten bars.
//! The last bars are held whole for as long as the topic lives. All other bars are held for the
//! hold time, so that a burst of any length reaches all clients that read. Of older bars only the
//! existence is remembered, to count the bars that a slow client missed.

mod handing;
mod holes;
mod marks;

use std::collections::VecDeque;

use self::marks::Marks;
use super::bar::{Bar, StreamPosition};
use super::depth::{Depth, Keep};
use client_frames::encode::payload::Payload;

/// A closed bar whose existence is remembered; it may or may not be held whole.
#[derive(Debug)]
pub(super) struct ClosedBar {
    /// Version of its newest revision.
    pub(super) version: u64,
    /// Version of its first publication.
    first_version: u64,
    pub(super) position: StreamPosition,
    pub(super) start_ms: i64,
    pub(super) end_ms: i64,
    rev: u32,
    /// Closed bars before it that never reached this gateway.
    missed: u32,
    /// Where the hole of these bars begins, unix ms.
    hole_ms: i64,
    /// Version of the last bar that came late before the end of this hole.
    hole_version: u64,
    filled: bool,
    /// Whether its hold time is over: then its encoded forms are not kept.
    is_old: bool,
    /// `None` when it is no longer held whole.
    payload: Option<Payload>,
}

/// A closed bar that is held whole.
#[derive(Clone, Debug)]
pub(crate) struct HeldBar {
    /// Version of its newest revision.
    pub version: u64,
    /// First instant in it.
    pub start_ms: i64,
    /// First instant after it.
    pub end_ms: i64,
    /// Revision number.
    pub rev: u32,
    /// Its content.
    pub payload: Payload,
}

/// A summary of the bars that are no longer remembered separately.
#[derive(Clone, Copy, Debug)]
pub(super) struct Forgotten {
    /// The last start.
    pub(super) start_ms: i64,
    /// The last end.
    pub(super) end_ms: i64,
    /// The newest position.
    pub(super) position: StreamPosition,
    /// How many of them, and of the holes before them, some session may not have been told of:
    /// there was no room to remember which.
    untold: u64,
    /// The newest version of these.
    untold_upto: u64,
}

/// The result of offering a closed bar.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Taken {
    /// It is new, and `missed` bars before it never came; or it is `late`, one of those.
    New { missed: u32, late: bool },
    /// It was here before.
    Duplicate,
}

/// The closed bars of a topic.
#[derive(Debug, Default)]
pub(super) struct ClosedBars {
    /// Ascending by start, without duplicates.
    bars: VecDeque<ClosedBar>,
    /// How many of them are held whole.
    whole: usize,
    /// Versions up to here may be in any order; higher ones ascend at the end of `bars`.
    shuffled: u64,
    forgotten: Option<Forgotten>,
    /// When the forgotten ones came.
    marks: Marks,
}

impl ClosedBars {
    /// Start and end of the bar that starts last, ms.
    pub(super) fn last_ms(&self) -> Option<(i64, i64)> {
        self.bars.back().map(|bar| (bar.start_ms, bar.end_ms))
    }

    /// Start of the first bar from which on all bars are known, ms: they are remembered, or counted
    /// as missed. A revision of an older bar says nothing of the bars between the two.
    pub(super) fn first_ms(&self) -> Option<i64> {
        let mut bars = self.bars.iter().rev();
        let mut first = bars.next()?;
        for bar in bars {
            if bar.end_ms < first.start_ms && first.missed == 0 {
                break;
            }
            first = bar;
        }
        Some(first.start_ms)
    }

    /// Whether nothing can have closed between a position and the first bar that is remembered: a
    /// bar up to the position, or right after it, is here. Also true if no bar ever closed here.
    pub(super) fn reaches_back_to(&self, last: StreamPosition) -> bool {
        let next = StreamPosition {
            epoch: last.epoch,
            seq: last.seq.saturating_add(1),
        };
        self.bars.is_empty() || self.bars.iter().any(|bar| bar.position <= next)
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

    /// Takes a bar. `early` rises by the bars that are released early.
    pub(super) fn offer(&mut self, bar: Bar, keep: Keep, early: &mut u64) -> Taken {
        let Keep {
            depth, old_upto, ..
        } = keep;
        let version = bar.version;
        let (mut missed, mut late) = (0, false);
        let at = match self.find(bar.start_ms) {
            Ok(at) => {
                let held = &mut self.bars[at];
                // Revisions count within an epoch: a publisher that restarts starts again.
                if (held.position.epoch, held.rev) >= (bar.position.epoch, bar.rev) {
                    return Taken::Duplicate;
                }
                self.whole += usize::from(held.payload.is_none());
                held.version = version;
                held.position = bar.position;
                held.end_ms = bar.end_ms;
                held.rev = bar.rev;
                held.filled = bar.filled;
                held.is_old = false;
                held.payload = Some(bar.payload);
                at
            }
            Err(at) => {
                // No forgotten bar is newer than the newest of the summary.
                let was_here = |last: Forgotten| {
                    bar.start_ms <= last.start_ms && bar.position <= last.position
                };
                if self.forgotten.is_some_and(was_here) {
                    return Taken::Duplicate;
                }
                if at == self.bars.len() {
                    missed = self.missed_before(&bar);
                } else {
                    late = self.no_longer_missed(at, &bar);
                    missed = if late { 0 } else { self.open_hole(at, &bar) };
                }
                let hole_ms = self.bars.back().map_or(bar.start_ms, |last| last.end_ms);
                self.whole += 1;
                self.bars.insert(
                    at,
                    ClosedBar {
                        version,
                        first_version: version,
                        position: bar.position,
                        start_ms: bar.start_ms,
                        end_ms: bar.end_ms,
                        rev: bar.rev,
                        // What a late bar opens is before the bar after it.
                        missed: if at == self.bars.len() { missed } else { 0 },
                        hole_ms,
                        hole_version: 0,
                        filled: bar.filled,
                        is_old: false,
                        payload: Some(bar.payload),
                    },
                );
                // One more bar is not among the last.
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

    /// The hold time of a version is over: the bar stays only if it is one of the last. True if it
    /// is no longer held.
    pub(super) fn let_go(&mut self, start_ms: i64, version: u64, keep: Keep) -> bool {
        let Ok(at) = self.find(start_ms) else {
            return false;
        };
        if self.bars[at].version != version {
            // A revision of it has its own hold time.
            return false;
        }
        if at >= self.last_begin(keep.depth) {
            // Few clients ask for it now, so its encoded forms are not kept.
            let bar = &mut self.bars[at];
            bar.is_old = true;
            bar.payload = bar.handed();
            return false;
        }
        let was_whole = self.drop_payload(at);
        self.forget(keep);
        was_whole
    }

    /// Index from which bars are held whatever their age.
    fn last_begin(&self, depth: Depth) -> usize {
        self.bars.len().saturating_sub(depth.closed_bars)
    }

    /// The index of a start, or where it belongs.
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

    /// Drops the oldest bar that is held only for its hold time; false if there is none.
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

    /// Forgets the bars beyond the bound, once every session has been told.
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
                position: bar.position,
                untold: 0,
                untold_upto: 0,
            });
            let version = bar.version.max(bar.hole_version);
            if version > keep.told_upto {
                last.untold += 1 + u64::from(bar.missed);
                last.untold_upto = last.untold_upto.max(version);
            }
            if bar.start_ms >= last.start_ms {
                self.marks.note(bar.first_version, bar.end_ms);
            }
            last.start_ms = last.start_ms.max(bar.start_ms);
            last.end_ms = last.end_ms.max(bar.end_ms);
            last.position = last.position.max(bar.position);
        }
    }
}
