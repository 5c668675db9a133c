//! The bars that sessions and clients lack, and what is held.

use market_core::protocol::Filter;

use super::{ClosedBar, ClosedBars, Forgotten, HeldBar};
use crate::topics::state::bar::StreamPosition;
use crate::topics::state::progress::Progress;
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
    /// began: they were not sent to it then.
    pub(in crate::topics::state) fn since(
        &self,
        progress: Progress,
        upto: u64,
        filter: Filter,
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
        for bar in self.bars.range(tail..) {
            // A session that came after a hole was known was not told of it. If it gets a late bar
            // from before the end of the hole, it is told, and others are told again.
            let is_new = |version| version > seen && version <= upto;
            if is_new(bar.first_version) || is_new(bar.hole_version) {
                lacking += u64::from(bar.missed);
            }
            let place = if is_new(bar.version) {
                // A session that has not seen the bar at all gets it in its place.
                match bar.first_version > seen {
                    true => bar.first_version,
                    false => bar.version,
                }
            } else if after_new > 0 && bar.first_version <= begun {
                after_new
            } else {
                continue;
            };
            if !bar.passes(filter) {
                continue;
            }
            let Some(payload) = bar.handed() else {
                lacking += 1;
                continue;
            };
            held.push((place, payload));
            if bar.opens(seen, upto) {
                after_new = after_new.max(bar.first_version);
            }
        }
        if tail == 0 {
            held.sort_by_key(|(version, _)| *version);
        }
        updates.extend(held.into_iter().map(|(_, payload)| payload));
        lacking
    }

    /// Appends the first versions of the bars that a session that has seen all versions up to `seen`
    /// may lack after a late one: those up to where it began, see [`ClosedBars::since`].
    pub(in crate::topics::state) fn after_late(
        &self,
        seen: u64,
        upto: u64,
        versions: &mut Vec<u64>,
    ) {
        if seen >= self.shuffled {
            return;
        }
        let from_late = self.bars.iter().skip_while(|bar| !bar.opens(seen, upto));
        versions.extend(
            from_late
                .map(|bar| bar.first_version)
                .filter(|version| *version <= seen),
        );
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
