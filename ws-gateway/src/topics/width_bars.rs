//! The bars of one symbol and width, folded from the bars of a narrower timeframe as they come.
//!
//! A state machine without clock and I/O: parts go in, bars come out. It keeps the parts of the
//! newest windows. Where parts are missing, it names the time that must be read from history.

use std::collections::BTreeMap;

use market_core::{BarRow, BarState, Timeframe, UnixMillis, Width, WidthFold};

/// Most closed windows whose parts are kept, and most parts of all of them but the newest two.
const WINDOWS_KEPT: usize = 32;
const PARTS_KEPT: usize = 4_096;
/// Most windows that wait for their parts from history.
const OWED_MAX: usize = 64;

/// A bar that was folded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Folded {
    /// Its fields.
    pub row: BarRow,
    /// Forming or closed.
    pub state: BarState,
}

/// A closed bar of the narrower timeframe.
#[derive(Clone, Copy, Debug)]
struct Part {
    epoch: u64,
    row: BarRow,
}

/// The bars of one width.
#[derive(Debug)]
pub(crate) struct WidthBars {
    width: Width,
    source: Timeframe,
    parts: BTreeMap<UnixMillis, Part>,
    forming: Option<BarRow>,
    /// The closed parts of the newest window.
    fold: Option<WidthFold>,
    /// Closed windows as they were given out.
    given: BTreeMap<UnixMillis, BarRow>,
    /// All parts that begin here or later are known.
    known_from: Option<UnixMillis>,
    /// History could not tell what was before: the newest window may lack its beginning.
    is_partial: bool,
    /// Revised parts of windows whose other parts are no longer kept.
    owed: BTreeMap<UnixMillis, Vec<Part>>,
}

impl WidthBars {
    /// `None` if bars of `width` are not whole numbers of bars of `source`.
    #[must_use]
    pub(crate) fn new(width: Width, source: Timeframe) -> Option<Self> {
        width.is_made_of(source).then(|| Self {
            width,
            source,
            parts: BTreeMap::new(),
            forming: None,
            fold: None,
            given: BTreeMap::new(),
            known_from: None,
            is_partial: false,
            owed: BTreeMap::new(),
        })
    }

    /// Takes a closed bar that is held when the fold begins, in the order of starts; only then.
    pub(crate) fn seed(&mut self, epoch: u64, row: BarRow) {
        let adjoins = self
            .parts
            .last_key_value()
            .is_some_and(|(last, _)| self.source.end_of(*last) == row.start_ms);
        if !adjoins {
            self.known_from = Some(row.start_ms);
        }
        self.parts.insert(row.start_ms, Part { epoch, row });
    }

    /// The fold begins: gives the bars that the held parts make.
    pub(crate) fn begin(&mut self) -> Vec<Folded> {
        let windows = self.windows();
        let mut folded = Vec::new();
        for window in windows {
            self.refold(window, &mut folded);
        }
        self.give_forming(&mut folded);
        folded
    }

    /// Takes a closed bar, or a revision of one.
    pub(crate) fn closed(&mut self, epoch: u64, row: BarRow) -> Vec<Folded> {
        let mut folded = Vec::new();
        let window = self.width.start_of(row.start_ms);
        let known_from = *self.known_from.get_or_insert(row.start_ms);
        let is_unknown = row.start_ms < known_from && self.newest_window() != Some(window);
        if self.is_before_kept(window) || is_unknown {
            // Its other parts are with history.
            if self.owed.len() < OWED_MAX || self.owed.contains_key(&window) {
                self.owed
                    .entry(window)
                    .or_default()
                    .push(Part { epoch, row });
            }
            return folded;
        }
        let rank = |part: &Part| (part.epoch, part.row.rev);
        let part = Part { epoch, row };
        if self
            .parts
            .get(&row.start_ms)
            .is_some_and(|held| rank(held) >= rank(&part))
        {
            return folded;
        }
        self.parts.insert(row.start_ms, part);
        if self
            .forming
            .is_some_and(|forming| forming.start_ms <= row.start_ms)
        {
            self.forming = None;
        }
        // A window is over once a later part has come, too.
        let before = self.parts.range(..window).next_back();
        let before = before.map(|(start_ms, _)| self.width.start_of(*start_ms));
        for window in before.into_iter().chain([window]) {
            self.refold(window, &mut folded);
        }
        self.let_go();
        self.give_forming(&mut folded);
        folded
    }

    /// Takes a forming bar.
    pub(crate) fn forming(&mut self, row: BarRow) -> Vec<Folded> {
        let is_old = self
            .parts
            .last_key_value()
            .is_some_and(|(start_ms, _)| row.start_ms <= *start_ms);
        let mut folded = Vec::new();
        if !is_old {
            self.known_from.get_or_insert(row.start_ms);
            self.forming = Some(row);
            self.give_forming(&mut folded);
        }
        folded
    }

    /// The time whose parts history must tell: `None` if nothing is missing.
    #[must_use]
    pub(crate) fn missing(&self) -> Option<(UnixMillis, UnixMillis)> {
        if let Some((&window, _)) = self.owed.first_key_value() {
            return Some((window, self.width.end_of(window)));
        }
        let window = self.newest_window()?;
        let known_from = self.known_from?;
        (known_from > window).then_some((window, known_from))
    }

    /// History's parts of the time that was missing; `None` if it gave no answer.
    pub(crate) fn loaded(
        &mut self,
        (from_ms, to_ms): (UnixMillis, UnixMillis),
        rows: Option<&[BarRow]>,
    ) -> Vec<Folded> {
        let mut folded = Vec::new();
        if let Some(owed) = self.owed.remove(&from_ms) {
            if let Some(rows) = rows {
                self.revise(from_ms, rows, &owed, &mut folded);
            }
            return folded;
        }
        if let Some(rows) = rows {
            for row in rows {
                // What came on the bus is newer.
                let part = Part {
                    epoch: 0,
                    row: *row,
                };
                self.parts.entry(row.start_ms).or_insert(part);
            }
            if self.known_from == Some(to_ms) {
                self.known_from = Some(from_ms);
            }
        }
        self.is_partial = rows.is_none();
        self.refold(from_ms, &mut folded);
        self.give_forming(&mut folded);
        folded
    }

    /// A window whose parts are no longer kept has revised parts.
    fn revise(
        &mut self,
        window: UnixMillis,
        rows: &[BarRow],
        owed: &[Part],
        folded: &mut Vec<Folded>,
    ) {
        let mut parts: BTreeMap<UnixMillis, BarRow> =
            rows.iter().map(|row| (row.start_ms, *row)).collect();
        for part in owed {
            let held = parts.entry(part.row.start_ms).or_insert(part.row);
            if part.row.rev >= held.rev {
                *held = part.row;
            }
        }
        let Some(mut fold) = WidthFold::new(self.width, self.source) else {
            return;
        };
        for row in parts.values() {
            let _ = fold.push(row);
        }
        if let Some(row) = fold.finish(self.width.end_of(window)) {
            self.give(row, folded);
        }
    }

    fn windows(&self) -> Vec<UnixMillis> {
        let mut windows: Vec<UnixMillis> = self
            .parts
            .keys()
            .map(|start_ms| self.width.start_of(*start_ms))
            .collect();
        windows.dedup();
        windows
    }

    fn newest_window(&self) -> Option<UnixMillis> {
        let part = self.parts.last_key_value().map(|(start_ms, _)| *start_ms);
        let newest = self.forming.map(|forming| forming.start_ms).max(part)?;
        Some(self.width.start_of(newest))
    }

    /// Whether a window is so old that its parts have been released.
    fn is_before_kept(&self, window: UnixMillis) -> bool {
        let first = self.parts.first_key_value();
        first.is_some_and(|(start_ms, _)| window < self.width.start_of(*start_ms))
    }

    /// Folds a window anew, and gives it out if it is over and says something new.
    fn refold(&mut self, window: UnixMillis, folded: &mut Vec<Folded>) {
        let is_newest = self.newest_window() == Some(window);
        let is_whole = self
            .known_from
            .is_some_and(|known_from| known_from <= window);
        let may_be_partial = self.is_partial && self.given.range(window..).next().is_none();
        if !is_whole && !may_be_partial {
            if is_newest {
                self.fold = None;
            }
            return;
        }
        let Some(mut fold) = WidthFold::new(self.width, self.source) else {
            return;
        };
        // The part before tells whether a hole at the beginning is one.
        if let Some((_, part)) = self.parts.range(..window).next_back() {
            let _ = fold.push(&part.row);
        }
        let end_ms = self.width.end_of(window);
        let mut row = None;
        let mut known_ms = window;
        for (start_ms, part) in self.parts.range(window..) {
            if *start_ms >= end_ms {
                row = fold.push(&part.row).or(row);
                known_ms = end_ms;
                break;
            }
            let _ = fold.push(&part.row);
            known_ms = self.source.end_of(*start_ms);
        }
        if row.is_none() {
            row = fold.clone().finish(known_ms);
        }
        if is_newest {
            self.fold = Some(fold);
        }
        if let Some(row) = row.filter(|row| row.start_ms == window) {
            self.give(row, folded);
        }
    }

    fn give(&mut self, mut row: BarRow, folded: &mut Vec<Folded>) {
        if let Some(given) = self.given.get(&row.start_ms) {
            let is_same = BarRow {
                rev: given.rev,
                ..row
            }
            .says_the_same(given);
            if is_same {
                return;
            }
            // Whatever changed, the bar that replaces another has a higher number.
            row.rev = row.rev.max(given.rev.saturating_add(1));
        }
        self.given.insert(row.start_ms, row);
        folded.push(Folded {
            row,
            state: BarState::Closed,
        });
        while self.given.len() > 2 * WINDOWS_KEPT {
            self.given.pop_first();
        }
    }

    fn give_forming(&mut self, folded: &mut Vec<Folded>) {
        let Some(window) = self.newest_window() else {
            return;
        };
        if self.given.contains_key(&window) {
            return;
        }
        let is_whole = self
            .known_from
            .is_some_and(|known_from| known_from <= window);
        if !is_whole && !self.is_partial {
            // The closed parts come from history first.
            return;
        }
        let fold = self.fold.clone().filter(|fold| {
            let current = fold.forming().map(|row| row.start_ms);
            current.is_some_and(|start_ms| start_ms >= window) || self.forming.is_some()
        });
        let Some(mut fold) = fold.or_else(|| WidthFold::new(self.width, self.source)) else {
            return;
        };
        if let Some(forming) = &self.forming {
            let _ = fold.push(forming);
        }
        if let Some(row) = fold.forming().filter(|row| row.start_ms == window) {
            folded.push(Folded {
                row: *row,
                state: BarState::Forming,
            });
        }
    }

    /// Releases the parts of windows beyond the last ones.
    fn let_go(&mut self) {
        loop {
            let windows = self.windows();
            let is_full = windows.len() > WINDOWS_KEPT || self.parts.len() > PARTS_KEPT;
            if windows.len() <= 2 || !is_full {
                return;
            }
            let kept = self.parts.split_off(&windows[1]);
            self.parts = kept;
            self.known_from = self.known_from.max(Some(windows[1]));
        }
    }
}

#[cfg(test)]
mod tests;
