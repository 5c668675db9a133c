//! A store that is a list.

use std::sync::atomic::{AtomicUsize, Ordering};

use history::BarRow;
use history::store::{BarSeries, BarStore, Cursor, Order, Page, Range, StoreError, Watermark};
use market_core::UnixMillis;

/// The bars of one series, in any order.
pub(crate) struct List {
    rows: Vec<BarRow>,
    calls: AtomicUsize,
}

impl List {
    pub(crate) fn of(rows: Vec<BarRow>) -> Self {
        Self {
            rows,
            calls: AtomicUsize::new(0),
        }
    }

    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }
}

impl BarStore for List {
    fn append_bars(
        &self,
        _: &[(BarSeries, Vec<BarRow>)],
        _: Option<&Watermark>,
    ) -> Result<(), StoreError> {
        unreachable!("the list is made at once")
    }

    fn bars(&self, _: &BarSeries, range: &Range) -> Result<Page<BarRow>, StoreError> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let mut rows: Vec<BarRow> = Vec::new();
        for row in &self.rows {
            let is_after = range.cursor.is_none_or(|cursor| match range.order {
                Order::Ascending => row.start_ms > cursor.at_ms,
                Order::Descending => row.start_ms < cursor.at_ms,
            });
            let is_known = range.as_of_ms.is_none_or(|at| row.known_ms <= at);
            if is_after && is_known && (range.from_ms..range.to_ms).contains(&row.start_ms) {
                rows.push(*row);
            }
        }
        rows.sort_by_key(|row| row.start_ms);
        let groups = rows.chunk_by(|a, b| a.start_ms == b.start_ms);
        let current = groups.filter_map(|group| Some(group[BarRow::current(group)?]));
        rows = current.collect();
        if range.order == Order::Descending {
            rows.reverse();
        }
        let is_more = rows.len() > range.limit;
        rows.truncate(range.limit);
        let last = rows.last().filter(|_| is_more);
        let next = last.map(|row| Cursor {
            at_ms: row.start_ms,
            id: 0,
        });
        Ok(Page { rows, next })
    }

    fn revisions_between(
        &self,
        _: &BarSeries,
        _: UnixMillis,
        _: UnixMillis,
    ) -> Result<Vec<BarRow>, StoreError> {
        unreachable!("no page needs them")
    }

    fn last_known_after(
        &self,
        _: &BarSeries,
        before_ms: UnixMillis,
        known_after_ms: UnixMillis,
    ) -> Result<Option<UnixMillis>, StoreError> {
        let rows = self.rows.iter();
        let known = rows.filter(|row| row.start_ms < before_ms && row.known_ms > known_after_ms);
        Ok(known.map(|row| row.start_ms).max())
    }

    fn check_bar(&self, _: &BarSeries, _: &BarRow) -> Result<(), StoreError> {
        unreachable!("nothing is stored")
    }
}
