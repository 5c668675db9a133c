//! The bars of one symbol and width, folded from the bars of a narrower timeframe as they come.
//!
//! A state machine without clock and I/O: parts go in, bars come out. It keeps the parts of the
//! newest windows. Where parts are missing, it names the time that must be read from history.
//!
//! A part that follows the others costs one step of a running fold, however many parts its window
//! has. A part that does not, because it is revised or late, makes its window *stale*. Stale windows
//! are folded again when [`WidthBars::settle`] is called, and before a window closes, so that a
//! thousand revisions at once cost no more than one.

mod given;
mod holes;
mod owed;
mod part;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use market_core::{BarRow, BarState, Timeframe, UnixMillis, Width, WidthFold};

use self::given::Given;
use self::holes::Holes;
use self::owed::Owed;
use self::part::{PARTS_KEPT, Part, WINDOWS_KEPT};

/// A bar that was folded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Folded {
    /// Its fields.
    pub row: BarRow,
    /// Forming or closed.
    pub state: BarState,
}

/// The bars of one width.
#[derive(Debug)]
pub(crate) struct WidthBars {
    width: Width,
    source: Timeframe,
    parts: BTreeMap<UnixMillis, Part>,
    forming: Option<BarRow>,
    /// The fold of all parts.
    fold: WidthFold,
    /// For each window with parts: the fold of all parts before it.
    before: BTreeMap<UnixMillis, WidthFold>,
    /// Windows whose parts have changed since they were folded.
    stale: BTreeSet<UnixMillis>,
    /// Closed windows as they were given out.
    given: Given,
    /// All parts that begin here or later are known, but for those of `holes`.
    known_from: Option<UnixMillis>,
    /// Windows that wait for history before they are given out.
    holes: Holes,
    /// History could not tell what was before: the newest window may lack its beginning.
    is_partial: bool,
    owed: Owed,
    /// Parts that went into a fold since the last call of [`WidthBars::take_steps`].
    steps: u64,
}

impl WidthBars {
    /// `None` if bars of `width` are not whole numbers of bars of `source`.
    #[must_use]
    pub(crate) fn new(width: Width, source: Timeframe) -> Option<Self> {
        Some(Self {
            width,
            source,
            parts: BTreeMap::new(),
            forming: None,
            fold: WidthFold::new(width, source)?,
            before: BTreeMap::new(),
            stale: BTreeSet::new(),
            given: Given::default(),
            known_from: None,
            holes: Holes::default(),
            is_partial: false,
            owed: Owed::default(),
            steps: 0,
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
        let mut folded = Vec::new();
        for part in std::mem::take(&mut self.parts).into_values() {
            self.append(part, &mut folded);
        }
        self.let_go();
        self.give_forming(&mut folded);
        folded
    }

    /// Takes a closed bar, or a revision of one.
    pub(crate) fn closed(&mut self, epoch: u64, row: BarRow) -> Vec<Folded> {
        let mut folded = Vec::new();
        let part = Part { epoch, row };
        let window = self.width.start_of(row.start_ms);
        let known_from = *self.known_from.get_or_insert(row.start_ms);
        let is_next = self
            .parts
            .last_key_value()
            .is_none_or(|(last, _)| *last < row.start_ms);
        let is_unknown = match is_next {
            true => row.start_ms < known_from,
            false => window < known_from,
        };
        let is_newest = self.newest_window() == Some(window);
        if self.is_before_kept(window) || (is_unknown && !is_newest) {
            // Its other parts are with history.
            self.owed.add(window, part);
            return folded;
        }
        let held = self.parts.get(&row.start_ms);
        if held.is_some_and(|held| held.rank() >= part.rank()) {
            return folded;
        }
        if self
            .forming
            .is_some_and(|forming| forming.start_ms <= row.start_ms)
        {
            self.forming = None;
        }
        if is_next {
            self.append(part, &mut folded);
            self.let_go();
            self.give_forming(&mut folded);
        } else {
            self.insert(part);
        }
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

    /// Whether bars must be folded again.
    #[must_use]
    pub(crate) fn is_stale(&self) -> bool {
        !self.stale.is_empty()
    }

    /// Gives the bars whose parts were revised or came late since the last call.
    pub(crate) fn settle(&mut self) -> Vec<Folded> {
        let mut folded = Vec::new();
        if !self.stale.is_empty() {
            self.fold_stale(&mut folded);
            self.give_forming(&mut folded);
        }
        folded
    }

    /// The time whose parts history must tell: `None` if nothing is missing.
    #[must_use]
    pub(crate) fn missing(&self) -> Option<(UnixMillis, UnixMillis)> {
        let owed = self.owed.first();
        let owed = owed.map(|window| (window, self.width.end_of(window)));
        let owed = self.holes.first(self.source).or(owed);
        let newest = self.newest_window().zip(self.known_from);
        let newest = newest.filter(|(window, known_from)| known_from > window);
        // The newest bar comes first, unless history could not tell its beginning just now.
        match self.is_partial {
            true => owed.or(newest),
            false => newest.or(owed),
        }
    }

    /// History's parts of the time that was missing; `None` if it gave no answer.
    pub(crate) fn loaded(
        &mut self,
        (from_ms, to_ms): (UnixMillis, UnixMillis),
        rows: Option<&[BarRow]>,
    ) -> Vec<Folded> {
        let mut folded = Vec::new();
        if self.owed.has(from_ms) {
            // Without an answer, history is asked again.
            if let Some(rows) = rows {
                self.revise(from_ms, rows, &mut folded);
            }
            return folded;
        }
        let is_beginning = self.known_from == Some(to_ms);
        if let Some(hole) = self.holes.get(from_ms).filter(|_| !is_beginning) {
            let last_ms = rows.and_then(|rows| Some(rows.last()?.start_ms));
            // A history that is behind or down is asked again, but not for ever.
            let is_lost = rows.is_none() && self.holes.failed(from_ms);
            let rows = rows.filter(|_| hole.is_answered_by(last_ms));
            if let Some(rows) = rows.or(is_lost.then_some(&[])) {
                self.holes.remove(from_ms);
                self.insert_all(from_ms..hole.end_ms, rows);
                self.stale.insert(from_ms);
                self.fold_stale(&mut folded);
                self.give_forming(&mut folded);
            }
            return folded;
        }
        if let Some(rows) = rows {
            self.insert_all(from_ms..to_ms, rows);
            if is_beginning {
                self.known_from = Some(from_ms);
            }
        }
        self.is_partial = rows.is_none();
        if self.before.contains_key(&from_ms) {
            self.stale.insert(from_ms);
        }
        self.fold_stale(&mut folded);
        self.let_go();
        self.give_forming(&mut folded);
        folded
    }

    /// Adds the rows of history that are in a range. Bars of the bus are newer.
    fn insert_all(&mut self, range: Range<UnixMillis>, rows: &[BarRow]) {
        for row in rows.iter().filter(|row| range.contains(&row.start_ms)) {
            if !self.parts.contains_key(&row.start_ms) {
                let (epoch, row) = (0, *row);
                self.insert(Part { epoch, row });
            }
        }
    }

    /// How many parts went into a fold since the last call.
    #[cfg(test)]
    pub(crate) fn take_steps(&mut self) -> u64 {
        std::mem::take(&mut self.steps)
    }

    /// Revisions that were given up since the last call: too many bars wait for history.
    pub(crate) fn take_given_up(&mut self) -> u64 {
        self.owed.take_given_up()
    }

    /// A window whose parts are no longer kept has revised parts.
    fn revise(&mut self, window: UnixMillis, rows: &[BarRow], folded: &mut Vec<Folded>) {
        let Some(mut fold) = WidthFold::new(self.width, self.source) else {
            return;
        };
        for row in self.owed.take(window, rows).values() {
            let _ = self.step(&mut fold, row);
        }
        if let Some(row) = fold.finish(self.width.end_of(window)) {
            self.give(row, folded);
        }
    }

    fn newest_window(&self) -> Option<UnixMillis> {
        let part = self.parts.last_key_value().map(|(start_ms, _)| *start_ms);
        let newest = self.forming.map(|forming| forming.start_ms).max(part)?;
        Some(self.width.start_of(newest))
    }

    /// Whether a window is so old that its parts have been released.
    fn is_before_kept(&self, window: UnixMillis) -> bool {
        let first = self.before.first_key_value();
        first.is_some_and(|(first, _)| window < *first)
    }

    /// Adds a part after all others, and gives the bars that it completes.
    fn append(&mut self, part: Part, folded: &mut Vec<Folded>) {
        let row = part.row;
        let window = self.width.start_of(row.start_ms);
        let end_ms = self.width.end_of(window);
        let is_first = self.before.last_key_value().map(|(last, _)| *last) != Some(window);
        let is_last = self.source.end_of(row.start_ms) >= end_ms;
        if is_first || is_last {
            self.fold_stale(folded);
        }
        if let Some((last_ms, last)) = self.parts.last_key_value()
            && self.known_from.is_some_and(|from| from <= *last_ms)
        {
            self.holes.look(last, &part, self.width, self.source);
        }
        if is_first {
            self.before.insert(window, self.fold.clone());
        }
        self.parts.insert(row.start_ms, part);
        let mut fold = self.fold.clone();
        // A window is over once a later part has come, too.
        let over = self.step(&mut fold, &row);
        let whole = is_last.then(|| fold.clone().finish(end_ms)).flatten();
        self.fold = fold;
        for bar in over.into_iter().chain(whole) {
            self.give_if_known(bar, folded);
        }
    }

    /// Adds a part among the others, or replaces one.
    fn insert(&mut self, part: Part) {
        let window = self.width.start_of(part.row.start_ms);
        self.parts.insert(part.row.start_ms, part);
        if !self.before.contains_key(&window) {
            // The state before the next window was also the state before this one.
            let next = self.before.range(window..).next();
            let before = next.map_or(&self.fold, |(_, before)| before).clone();
            self.before.insert(window, before);
        }
        self.stale.insert(window);
    }

    /// Folds the stale windows again, and those after them that depend on their ends.
    fn fold_stale(&mut self, folded: &mut Vec<Folded>) {
        let mut next = self.stale.pop_first();
        while let Some(window) = next {
            let Some(before) = self.before.get(&window).cloned() else {
                next = self.stale.pop_first();
                continue;
            };
            let end_ms = self.width.end_of(window);
            let (mut fold, mut over, mut last_ms) = (before, None, window);
            let mut has_hole = false;
            for (start_ms, part) in self.parts.range(window..end_ms) {
                has_hole |= *start_ms != last_ms;
                self.steps = self.steps.wrapping_add(1);
                // The first part tells whether the window before has a hole at its end.
                over = fold.push(&part.row).or(over);
                last_ms = self.source.end_of(*start_ms);
            }
            let is_newest = self.before.range(end_ms..).next().is_none();
            if !has_hole && (is_newest || last_ms == end_ms) {
                // Those that were missing have come.
                self.holes.remove(window);
            }
            if let Some(over) = over {
                self.give_if_known(over, folded);
            }
            let after = self.before.range(end_ms..).next();
            let after = after.map(|(after, before)| (*after, fold.continues_as(before)));
            if let Some((after, is_same)) = after {
                // Its first part ends this window.
                let first = self.parts.range(after..).next().map(|(_, part)| part.row);
                let over = first.and_then(|first| self.step(&mut fold.clone(), &first));
                if let Some(over) = over {
                    self.give_if_known(over, folded);
                }
                self.before.insert(after, fold);
                if !is_same {
                    self.stale.insert(after);
                }
            } else {
                self.fold = fold;
                if let Some(whole) = self.fold.clone().finish(last_ms) {
                    self.give_if_known(whole, folded);
                }
            }
            next = self.stale.pop_first();
        }
    }

    fn step(&mut self, fold: &mut WidthFold, row: &BarRow) -> Option<BarRow> {
        self.steps = self.steps.wrapping_add(1);
        fold.push(row)
    }

    /// Gives a folded bar out, unless it may lack its beginning.
    fn give_if_known(&mut self, row: BarRow, folded: &mut Vec<Folded>) {
        let window = row.start_ms;
        let is_whole = self
            .known_from
            .is_some_and(|known_from| known_from <= window);
        let may_be_partial = self.is_partial && !self.given.has_since(window);
        if (is_whole || may_be_partial) && self.holes.get(window).is_none() {
            self.give(row, folded);
        }
    }

    fn give(&mut self, row: BarRow, folded: &mut Vec<Folded>) {
        folded.extend(self.given.give(row).map(|row| Folded {
            row,
            state: BarState::Closed,
        }));
    }

    fn give_forming(&mut self, folded: &mut Vec<Folded>) {
        let Some(window) = self.newest_window() else {
            return;
        };
        if self.given.has(window) {
            return;
        }
        let is_whole = self
            .known_from
            .is_some_and(|known_from| known_from <= window);
        if !is_whole && !self.is_partial {
            // The closed parts come from history first.
            return;
        }
        let mut fold = self.fold.clone();
        if let Some(forming) = self.forming {
            let _ = self.step(&mut fold, &forming);
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
        while self.before.len() > 2
            && (self.before.len() > WINDOWS_KEPT || self.parts.len() > PARTS_KEPT)
        {
            self.before.pop_first();
            let Some((&first, _)) = self.before.first_key_value() else {
                return;
            };
            while let Some(part) = self.parts.first_entry()
                && *part.key() < first
            {
                part.remove();
            }
            self.stale = self.stale.split_off(&first);
            self.owed.give_up(self.holes.let_go(first));
            self.known_from = self.known_from.max(Some(first));
        }
    }
}

#[cfg(test)]
mod tests;
