//! The bars that sessions and clients lack, and what is held.

use market_core::protocol::Filter;

use super::holes::between;
use super::{ClosedBar, ClosedBars, Forgotten, HeldBar};
use crate::topics::state::bar::StreamPosition;
use crate::topics::state::progress::{AfterLate, Progress};
use client_frames::encode::payload::Payload;

impl ClosedBar {
    /// Its content, if it is held whole.
    pub(super) fn handed(&self) -> Option<Payload> {
        let payload = self.payload.as_ref()?;
        Some(match self.is_old {
            true => payload.bare(),
            false => payload.clone(),
        })
    }

    fn passes(&self, filter: Filter) -> bool {
        !(filter.no_fill && self.filled)
    }

    /// Whether a session that has seen all versions up to `seen` gets it for the first time. A
    /// revision says nothing of the bars after it.
    fn opens(&self, seen: u64, upto: u64) -> bool {
        self.rev == 0 && self.first_version > seen && self.first_version <= upto
    }
}

impl ClosedBars {
    /// Appends the bars up to version `upto` that a session lacks, in the order in which they
    /// closed, and returns the number of further ones.
    ///
    /// A session that gets a late bar also gets the bars after it that were here before the session
    /// began: they were not sent to it then. Those beyond `room` bytes are counted, which falls.
    pub(in crate::topics::state) fn since(
        &self,
        progress: Progress,
        upto: u64,
        filter: Filter,
        room: &mut usize,
        updates: &mut Vec<Payload>,
    ) -> u64 {
        let Progress { seen, begun } = progress;
        // Usually new bars are at the end.
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
        // A session that has not seen all of these is told of all: the count may be too high, but
        // never too low.
        let is_untold = |gone: &Forgotten| gone.untold_upto > seen && gone.untold_upto <= upto;
        let mut lacking = self
            .forgotten
            .filter(is_untold)
            .map_or(0, |gone| gone.untold);
        let mut held: Vec<(u64, Payload)> = Vec::new();
        // First version of the newest bar before this one that the session gets for the first time.
        let mut after_new = 0;
        // Whether the session has all from here on that was here before.
        let mut has_rest = false;
        for bar in self.bars.range(tail..) {
            // A session that came after a hole was known was not told of it. If it gets a late bar
            // from before the end of the hole, it is told, and others are told again.
            let is_new = |version| version > seen && version <= upto;
            if is_new(bar.first_version) || is_new(bar.hole_version) {
                lacking += u64::from(bar.missed);
            }
            let (place, is_earlier) = if is_new(bar.version) {
                // A session that has not seen the bar at all gets it in its place.
                let place = match bar.first_version > seen {
                    true => bar.first_version,
                    false => bar.version,
                };
                (place, false)
            } else if after_new > 0 && !has_rest && bar.first_version <= begun {
                (after_new, true)
            } else {
                // With a bar that is not the first, the session got those after it.
                let was_new = bar.first_version > begun && bar.first_version <= seen;
                has_rest |= bar.rev == 0 && was_new && bar.passes(filter);
                continue;
            };
            if !bar.passes(filter) {
                continue;
            }
            if bar.opens(seen, upto) {
                if after_new == 0 && !has_rest {
                    lacking += self.forgotten_after(bar, begun);
                }
                after_new = after_new.max(bar.first_version);
            }
            let fits = |payload: &Payload| !is_earlier || take(room, payload.json().len());
            match bar.handed().filter(fits) {
                Some(payload) => held.push((place, payload)),
                None => lacking += 1,
            }
        }
        if tail == 0 {
            held.sort_by_key(|(version, _)| *version);
        }
        updates.extend(held.into_iter().map(|(_, payload)| payload));
        lacking
    }

    /// The number of forgotten bars after a late one that a session may lack that began at a version.
    fn forgotten_after(&self, late: &ClosedBar, begun: u64) -> u64 {
        let Some(last) = self
            .forgotten
            .filter(|last| begun > 0 && late.start_ms <= last.start_ms)
        else {
            return 0;
        };
        let Some(upto_ms) = self.marks.lacking_upto_ms(begun) else {
            return 0;
        };
        let upto_ms = upto_ms.min(last.end_ms);
        let width_ms = late.end_ms.saturating_sub(late.start_ms);
        let missing = between(late.end_ms, upto_ms, width_ms);
        // Other late bars in between are remembered.
        let is_between = |bar: &&ClosedBar| bar.start_ms > late.start_ms && bar.start_ms < upto_ms;
        let here = self.bars.iter().filter(is_between).count();
        u64::from(missing).saturating_sub(here as u64)
    }

    /// Appends the bars that sessions that have seen all versions up to `seen` may lack after a late
    /// one: those up to where they began, see [`ClosedBars::since`].
    pub(in crate::topics::state) fn after_late(
        &self,
        seen: u64,
        upto: u64,
        bars: &mut Vec<AfterLate>,
    ) {
        if seen >= self.shuffled {
            return;
        }
        let Some(at) = self.bars.iter().position(|bar| bar.opens(seen, upto)) else {
            return;
        };
        let after = self.bars.range(at..).map(|bar| AfterLate {
            version: bar.first_version,
            is_held: bar.payload.is_some(),
        });
        let is_before = |last: Forgotten| self.bars[at].start_ms <= last.start_ms;
        let marks = self.marks.versions().map(|version| AfterLate {
            version,
            is_held: false,
        });
        if self.forgotten.is_some_and(is_before) {
            bars.extend(marks.filter(|bar| bar.version <= seen));
        }
        bars.extend(after.filter(|bar| bar.version <= seen));
    }

    /// The whole bars up to version `upto` that pass `filter`, the last first.
    pub(in crate::topics::state) fn last_first(
        &self,
        upto: u64,
        filter: Filter,
    ) -> impl Iterator<Item = Payload> {
        self.bars
            .iter()
            .rev()
            .filter(move |bar| bar.version <= upto && bar.passes(filter))
            .filter_map(ClosedBar::handed)
    }

    /// Whether a bar up to version `upto` has been revised since: then its content of that version
    /// is gone.
    pub(in crate::topics::state) fn is_torn(&self, upto: u64) -> bool {
        let is_torn = |bar: &ClosedBar| bar.first_version <= upto && bar.version > upto;
        self.bars.iter().any(is_torn)
    }

    /// The whole bars up to version `upto`, by their start.
    pub(in crate::topics::state) fn held(
        &self,
        upto: u64,
        filter: Filter,
    ) -> impl Iterator<Item = HeldBar> {
        self.bars
            .iter()
            .filter(move |bar| bar.version <= upto && bar.passes(filter))
            .filter_map(|bar| {
                Some(HeldBar {
                    version: bar.version,
                    start_ms: bar.start_ms,
                    end_ms: bar.end_ms,
                    rev: bar.rev,
                    payload: bar.handed()?,
                })
            })
    }

    /// Appends the whole bars up to version `upto` that a client lacks, by their start, and returns
    /// how many more it lacks. A client lacks the hole before a bar if `is_hole_lacking` says so
    /// for the bar.
    pub(in crate::topics::state) fn lacking(
        &self,
        upto: u64,
        filter: Filter,
        is_lacking: impl Fn(StreamPosition, i64) -> bool,
        is_hole_lacking: impl Fn(StreamPosition, i64) -> bool,
        updates: &mut Vec<Payload>,
    ) -> u64 {
        let mut lacking = 0;
        // Whether the client gets a first publication from before the bar.
        let mut is_after_sent = false;
        for bar in self.bars.iter().filter(|bar| bar.version <= upto) {
            if bar.missed > 0 && (is_after_sent || is_hole_lacking(bar.position, bar.end_ms)) {
                lacking += u64::from(bar.missed);
            }
            if bar.passes(filter) && is_lacking(bar.position, bar.end_ms) {
                is_after_sent |= bar.rev == 0;
                match bar.handed() {
                    Some(payload) => updates.push(payload),
                    None => lacking += 1,
                }
            }
        }
        lacking
    }
}

/// Takes bytes from a room, if there are so many.
fn take(room: &mut usize, bytes: usize) -> bool {
    let left = room.checked_sub(bytes);
    *room = left.unwrap_or(*room);
    left.is_some()
}
