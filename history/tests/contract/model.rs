//! A store as simple as it can be: all rows in a list.

use history::BarRow;
use history::store::{Order, Range};
use market_core::UnixMillis;

/// The bars of one series.
#[derive(Default)]
pub(crate) struct Model(Vec<BarRow>);

impl Model {
    /// Two rows that say the same are one, known since the earlier time.
    pub(crate) fn append(&mut self, row: BarRow) {
        match self.0.iter_mut().find(|before| before.says_the_same(&row)) {
            Some(before) => before.known_ms = before.known_ms.min(row.known_ms),
            None => self.0.push(row),
        }
    }

    /// The rows of a range, without its cursor and limit.
    pub(crate) fn rows(&self, range: &Range) -> Vec<BarRow> {
        let is_known = |row: &&BarRow| range.as_of_ms.is_none_or(|at| row.known_ms <= at);
        let mut starts: Vec<UnixMillis> = self.0.iter().map(|row| row.start_ms).collect();
        starts.sort_unstable();
        starts.dedup();
        starts.retain(|start| (range.from_ms..range.to_ms).contains(start));
        if range.order == Order::Descending {
            starts.reverse();
        }
        let current = |start: &UnixMillis| {
            let revisions = self.0.iter().filter(|row| row.start_ms == *start);
            let revisions: Vec<BarRow> = revisions.filter(is_known).copied().collect();
            BarRow::current(&revisions).map(|at| revisions[at])
        };
        starts.iter().filter_map(current).collect()
    }

    pub(crate) fn revisions(&self, start_ms: UnixMillis) -> Vec<BarRow> {
        let mut rows = self.0.clone();
        rows.retain(|row| row.start_ms == start_ms);
        rows.sort_by_key(BarRow::rank);
        rows
    }
}
