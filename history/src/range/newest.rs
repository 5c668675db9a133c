//! The closed bars of the bus that are not stored yet, beside stored bars.

use market_core::{Timeframe, UnixMillis};

use crate::BarRow;
use crate::store::{BarSeries, BarStore, Cursor, Order, Page, Range, StoreError, Watermark};

/// A store with some more bars of one series.
pub(crate) struct WithNewest<'a> {
    store: &'a dyn BarStore,
    series: &'a BarSeries,
    newest: Vec<BarRow>,
}

/// The bars, by ascending start, that join the stored ones: behind a hole, none.
///
/// A store that lags lacks bars that the bus no longer remembers here. An answer with newer ones
/// would have a hole, and a reader that goes on from its end would never get the bars between.
pub(crate) fn joined(
    timeframe: Timeframe,
    stored_until: Option<UnixMillis>,
    newest: Vec<BarRow>,
) -> Vec<BarRow> {
    let Some(mut until) = stored_until else {
        // None is stored, so none is missing before them.
        return newest;
    };
    let rows = newest.into_iter().take_while(|row| {
        let joins = row.start_ms <= until;
        until = until.max(timeframe.end_of(row.start_ms));
        joins
    });
    rows.collect()
}

impl<'a> WithNewest<'a> {
    pub(crate) fn new(store: &'a dyn BarStore, series: &'a BarSeries, newest: Vec<BarRow>) -> Self {
        Self {
            store,
            series,
            newest,
        }
    }
}

impl BarStore for WithNewest<'_> {
    fn append_bars(
        &self,
        batch: &[(BarSeries, Vec<BarRow>)],
        watermark: Option<&Watermark>,
    ) -> Result<(), StoreError> {
        self.store.append_bars(batch, watermark)
    }

    fn bars(&self, series: &BarSeries, range: &Range) -> Result<Page<BarRow>, StoreError> {
        let mut page = self.store.bars(series, range)?;
        // Bars that were known earlier are in the store.
        if series != self.series || range.as_of_ms.is_some() {
            return Ok(page);
        }
        let is_up = range.order == Order::Ascending;
        let is_in_page = |start_ms: UnixMillis| {
            let is_after = |at: Cursor| {
                if is_up {
                    start_ms > at.at_ms
                } else {
                    start_ms < at.at_ms
                }
            };
            (range.from_ms..range.to_ms).contains(&start_ms)
                && range.cursor.is_none_or(is_after)
                // Beyond the end of the page, they belong to the next one.
                && page.next.is_none_or(|next| !is_after(next))
        };
        let newest = self.newest.iter();
        let newest: Vec<BarRow> = newest
            .filter(|row| is_in_page(row.start_ms))
            .copied()
            .collect();
        if newest.is_empty() {
            return Ok(page);
        }
        let rows = &mut page.rows;
        rows.extend(newest);
        rows.sort_by_key(|row| row.start_ms);
        let groups = rows.chunk_by(|a, b| a.start_ms == b.start_ms);
        let current = groups.filter_map(|group| Some(group[BarRow::current(group)?]));
        *rows = current.collect();
        if !is_up {
            rows.reverse();
        }
        if rows.len() > range.limit {
            rows.truncate(range.limit);
            page.next = rows.last().map(|row| Cursor {
                at_ms: row.start_ms,
                id: 0,
            });
        }
        Ok(page)
    }

    fn revisions_between(
        &self,
        series: &BarSeries,
        from_ms: UnixMillis,
        to_ms: UnixMillis,
    ) -> Result<Vec<BarRow>, StoreError> {
        self.store.revisions_between(series, from_ms, to_ms)
    }

    fn last_known_after(
        &self,
        series: &BarSeries,
        before_ms: UnixMillis,
        known_after_ms: UnixMillis,
    ) -> Result<Option<UnixMillis>, StoreError> {
        let stored = self
            .store
            .last_known_after(series, before_ms, known_after_ms)?;
        let newest = self.newest.iter().filter(|row| {
            series == self.series && row.start_ms < before_ms && row.known_ms > known_after_ms
        });
        Ok(stored.max(newest.map(|row| row.start_ms).max()))
    }

    fn newest_start(&self, series: &BarSeries) -> Result<Option<UnixMillis>, StoreError> {
        let stored = self.store.newest_start(series)?;
        let newest = self.newest.iter().filter(|_| series == self.series);
        Ok(stored.max(newest.map(|row| row.start_ms).max()))
    }

    fn check_bar(&self, series: &BarSeries, row: &BarRow) -> Result<(), StoreError> {
        self.store.check_bar(series, row)
    }
}
