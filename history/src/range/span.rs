//! The bars of a span, folded from stored ones.

use market_core::{Timeframe, UnixMillis};

use super::query::TIME_MAX_MS;
use crate::store::{BarSeries, BarStore, Order, Range, StoreError};
use crate::{BarRow, Width, WidthFold};

/// Stored bars that are read at once.
const CHUNK_ROWS: usize = 4_096;
/// How many flat bars are searched for the trade before them.
const FLAT_ROWS_MAX: usize = 4_096;

/// Reads spans of one series.
pub(super) struct SpanReader<'a> {
    store: &'a dyn BarStore,
    series: BarSeries,
    width: Width,
    as_of_ms: Option<UnixMillis>,
}

/// The bars of a span.
pub(super) struct Span {
    /// Ascending.
    pub(super) bars: Vec<BarRow>,
    /// How many stored bars were read for them.
    pub(super) rows_read: usize,
    /// The start of the stored bar after the span, if it was looked for.
    pub(super) after_ms: Option<UnixMillis>,
    /// When the first stored bar of the span, or the one after it, became known. Flat bars before it
    /// became known with it.
    pub(super) first_known_ms: Option<UnixMillis>,
}

impl<'a> SpanReader<'a> {
    pub(super) fn new(
        store: &'a dyn BarStore,
        series: BarSeries,
        width: Width,
        as_of_ms: Option<UnixMillis>,
    ) -> Self {
        Self {
            store,
            series,
            width,
            as_of_ms,
        }
    }

    fn range(&self, from_ms: UnixMillis, to_ms: UnixMillis, limit: usize) -> Range {
        Range {
            as_of_ms: self.as_of_ms,
            ..Range::new(from_ms, to_ms, limit)
        }
    }

    /// The newest stored bars that start before `at`, the newest one first.
    fn before(&self, at: UnixMillis, limit: usize) -> Result<Vec<BarRow>, StoreError> {
        let range = Range {
            order: Order::Descending,
            ..self.range(0, at, limit)
        };
        Ok(self.store.bars(&self.series, &range)?.rows)
    }

    /// The newest stored bar that starts before `at`.
    pub(super) fn newest_before(&self, at: UnixMillis) -> Result<Option<BarRow>, StoreError> {
        Ok(self.before(at, 1)?.pop())
    }

    /// The start of the newest stored bar.
    pub(super) fn newest_start(&self) -> Result<Option<UnixMillis>, StoreError> {
        // Only the bars themselves say what was known of them at a time.
        if self.as_of_ms.is_none() {
            let start_ms = self.store.newest_start(&self.series)?;
            if start_ms.is_none_or(|at| (0..TIME_MAX_MS).contains(&at)) {
                return Ok(start_ms);
            }
        }
        Ok(self.newest_before(TIME_MAX_MS)?.map(|row| row.start_ms))
    }

    /// Whether a stored bar starts before `at`.
    pub(super) fn has_before(&self, at: UnixMillis) -> Result<bool, StoreError> {
        match self.as_of_ms {
            Some(_) => Ok(self.newest_before(at)?.is_some()),
            None => Ok(self.last_known_after(at, UnixMillis::MIN)?.is_some()),
        }
    }

    /// What a fold must know of the bars before `at`: the newest bar, and before it the newest one
    /// with trades.
    fn context(&self, at: UnixMillis) -> Result<Vec<BarRow>, StoreError> {
        let Some(newest) = self.newest_before(at)? else {
            return Ok(Vec::new());
        };
        let mut context = vec![newest];
        let (mut at, mut searched, mut limit) = (newest.start_ms, 1, 16);
        while context[0].is_flat() && searched < FLAT_ROWS_MAX {
            let rows = self.before(at, limit)?;
            let Some(oldest) = rows.last() else {
                break;
            };
            (at, searched, limit) = (oldest.start_ms, searched + rows.len(), limit * 8);
            if let Some(traded) = rows.iter().find(|row| !row.is_flat()) {
                context.insert(0, *traded);
            }
        }
        Ok(context)
    }

    /// The bars that start in `[from, to)`; both are starts of bars.
    pub(super) fn read(&self, from: UnixMillis, to: UnixMillis) -> Result<Span, StoreError> {
        let mut fold = HoleFold::new(self.width, self.series.timeframe, from..to);
        let (rows_read, mut first_known_ms) = self.fold_rows(from, to, &mut fold)?;
        let mut after_ms = None;
        if fold.end_ms() != Some(to) {
            // The next bar tells whether trades are missing before it.
            let range = self.range(to, TIME_MAX_MS, 1);
            if let Some(after) = self.store.bars(&self.series, &range)?.rows.pop() {
                fold.push(&after);
                after_ms = Some(after.start_ms);
                first_known_ms = first_known_ms.or(Some(after.known_ms));
            }
        }
        Ok(Span {
            bars: fold.finish(),
            rows_read,
            after_ms,
            first_known_ms,
        })
    }

    /// See [`BarStore::last_known_after`].
    pub(super) fn last_known_after(
        &self,
        before_ms: UnixMillis,
        known_after_ms: UnixMillis,
    ) -> Result<Option<UnixMillis>, StoreError> {
        self.store
            .last_known_after(&self.series, before_ms, known_after_ms)
    }
}

impl SpanReader<'_> {
    /// Folds the stored bars that start in `[from, to)`, and what must be known of those before.
    /// Returns how many there are, and when the first of them became known.
    fn fold_rows(
        &self,
        from: UnixMillis,
        to: UnixMillis,
        fold: &mut HoleFold,
    ) -> Result<(usize, Option<UnixMillis>), StoreError> {
        let mut range = self.range(from, to, CHUNK_ROWS);
        let mut rows_read = 0;
        let mut first_known_ms = None;
        loop {
            let page = self.store.bars(&self.series, &range)?;
            // A bar with trades at the start of the span needs no bars before it.
            let is_joined = |row: &BarRow| row.start_ms == from && !row.is_flat();
            if rows_read == 0 && !page.rows.first().is_some_and(is_joined) {
                for row in self.context(from)? {
                    fold.push(&row);
                }
            }
            for row in &page.rows {
                fold.push(row);
                first_known_ms = first_known_ms.or(Some(row.known_ms));
            }
            rows_read += page.rows.len();
            range.cursor = page.next;
            if range.cursor.is_none() {
                return Ok((rows_read, first_known_ms));
            }
        }
    }

    /// The bars from `start` on, as far as they are stored, with these after them. The last one may
    /// lack what comes.
    pub(super) fn forming(
        &self,
        start: UnixMillis,
        live: &[BarRow],
    ) -> Result<Vec<BarRow>, StoreError> {
        let mut fold = HoleFold::new(self.width, self.series.timeframe, start..TIME_MAX_MS);
        self.fold_rows(start, self.width.end_of(start), &mut fold)?;
        let mut bars: Vec<BarRow> = live.iter().filter_map(|row| fold.fold.push(row)).collect();
        bars.extend(fold.fold.forming());
        bars.retain(|bar| bar.start_ms >= start);
        Ok(bars)
    }
}

/// Folds stored bars, and puts flat bars where no trade happened and none is stored.
struct HoleFold {
    fold: WidthFold,
    width: Width,
    source: Timeframe,
    span: std::ops::Range<UnixMillis>,
    newest: Option<BarRow>,
    /// The highest trade id so far, if the newest bars with trades have ids.
    last_id: Option<u64>,
    bars: Vec<BarRow>,
}

impl HoleFold {
    fn new(width: Width, source: Timeframe, span: std::ops::Range<UnixMillis>) -> Self {
        Self {
            fold: WidthFold::new(width, source).expect("the source was chosen to fit"),
            width,
            source,
            span,
            newest: None,
            last_id: None,
            bars: Vec::new(),
        }
    }

    /// The end of the newest stored bar.
    fn end_ms(&self) -> Option<UnixMillis> {
        self.newest
            .map(|newest| self.source.end_of(newest.start_ms))
    }

    fn push(&mut self, row: &BarRow) {
        let finished = self.fold.push(row);
        self.take(finished);
        self.fill_hole(row);
        self.newest = Some(*row);
        if !row.is_flat() {
            self.last_id = row.ids.map(|ids| ids.last);
        }
    }

    fn take(&mut self, bar: Option<BarRow>) {
        self.bars
            .extend(bar.filter(|bar| self.span.contains(&bar.start_ms)));
    }

    /// Adds the flat bars before a stored bar. Only adjoining trade ids prove that no trade
    /// happened between two bars.
    fn fill_hole(&mut self, next: &BarRow) {
        let (Some(newest), Some(last_id), Some(ids)) = (self.newest, self.last_id, next.ids) else {
            return;
        };
        if last_id.checked_add(1) != Some(ids.first) {
            return;
        }
        let hole_start = self.width.end_of(self.width.start_of(newest.start_ms));
        let hole_end = self.width.start_of(next.start_ms).min(self.span.end);
        let mut start_ms = hole_start.max(self.span.start);
        while start_ms < hole_end {
            self.bars.push(BarRow {
                is_imported: newest.is_imported && next.is_imported,
                ..BarRow::flat(start_ms, newest.close, next.known_ms)
            });
            start_ms = self.width.end_of(start_ms);
        }
    }

    fn finish(self) -> Vec<BarRow> {
        let Self {
            fold,
            span,
            mut bars,
            ..
        } = self;
        let last = fold.finish(span.end);
        bars.extend(last.filter(|bar| span.contains(&bar.start_ms)));
        bars
    }
}
