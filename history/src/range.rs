//! One page of bars of any width: the question behind every way to ask.
//!
//! A page is made in spans of whole bars. `span` reads the stored bars of a span and folds them,
//! and this module chooses the spans, upwards or downwards. The end of a page is the start or end
//! of a bar, so pages fit together whatever their size, and the same bar comes out of every page.

mod cursor;
mod error;
mod newest;
mod query;
mod source;
mod span;

use market_core::{Quality, Timeframe, UnixMillis};

use crate::store::{BarSeries, BarStore, Order, StoreError};
use crate::{BarRow, Width};

pub use cursor::{BarCursor, ParseCursorError};
pub use error::{ROWS_PER_BAR_MAX, RangeError};
pub use query::BarQuery;
pub use source::StoredBars;

pub(crate) use newest::{WithNewest, joined};

use query::TIME_MAX_MS;
use span::SpanReader;

/// The most stored bars that are read for one page. A page that needs more ends early.
const ROWS_PER_PAGE_MAX: usize = 200_000;
/// What a span costs at least, in stored bars: a search of the store.
const SPAN_COST: usize = 256;

/// Closed bars, and where the next page begins.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BarPage {
    /// In the order that was asked for.
    pub bars: Vec<BarRow>,
    /// `None` if nothing follows in the range. A page can be short, and even empty, although
    /// something follows.
    pub next: Option<BarCursor>,
    /// The stored bars from which they are made.
    pub source: Timeframe,
    /// The end of the newest bar of the width that is closed, whether or not it is in the page.
    pub closed_until_ms: Option<UnixMillis>,
}

/// The stored bars from which the bars of a question are made.
///
/// # Errors
/// If nothing is stored, nothing fits, or the cursor is that of another question.
pub fn source_of(query: &BarQuery, stored: &[StoredBars]) -> Result<Timeframe, RangeError> {
    match &query.cursor {
        Some(cursor) => {
            cursor.check(query.width, query.order)?;
            source::of_cursor(cursor, stored)
        }
        None => source::of(query, stored),
    }
}

/// Reads one page of closed bars. `stored` says what is stored of the instrument.
///
/// The work is bounded by the limit and by `ROWS_PER_PAGE_MAX`, whatever the width and the range.
///
/// # Errors
/// See [`RangeError`].
pub fn bars(
    store: &dyn BarStore,
    stored: &[StoredBars],
    query: &BarQuery,
) -> Result<BarPage, RangeError> {
    let source = source_of(query, stored)?;
    let rows_per_bar = source::rows_per_bar(query.width, source)?;
    let series = BarSeries {
        instrument: query.instrument.clone(),
        timeframe: source,
    };
    let width = query.width;
    let spans = SpanReader::new(store, series, width, query.as_of_ms);
    let Some(newest_ms) = spans.newest_start()? else {
        return Ok(BarPage {
            bars: Vec::new(),
            next: None,
            source,
            closed_until_ms: None,
        });
    };
    // A window whose end is not stored yet is still forming.
    let closed_until = width.start_of(source.end_of(newest_ms));
    let from = first_start(width, query.from_ms.unwrap_or(0));
    let to = query.to_ms.unwrap_or(TIME_MAX_MS).clamp(0, TIME_MAX_MS);
    let mut walk = Walk {
        spans,
        width,
        rows_per_bar,
        rows_left: ROWS_PER_PAGE_MAX,
        from,
        to: first_start(width, to).min(closed_until),
        limit: query.limit,
        has_flat_bars: query.has_flat_bars,
        known_after: query.known_after_ms,
        may_skip: false,
        bars: Vec::new(),
    };
    let at_ms = query.cursor.as_ref().map(|cursor| cursor.at_ms);
    let next = match query.order {
        Order::Ascending => walk.upwards(at_ms)?,
        Order::Descending => walk.downwards(at_ms)?,
    };
    Ok(BarPage {
        bars: walk.bars,
        next: next.map(|at_ms| BarCursor::new(query.width, query.order, source, at_ms)),
        source,
        closed_until_ms: Some(closed_until),
    })
}

/// The bars of a width that are not closed: what is stored of them, and the bars of their source
/// that are not closed, by ascending start (`live`).
///
/// A bar behind a hole is not told while the hole is new. The bus carries the newest forming bar of a
/// series alone, so a bar that had trades in its last moment only is first seen when it closes,
/// seconds after its interval. A hole that ends before `old_before_ms` is one that stays.
///
/// # Errors
/// As for [`bars`].
pub fn forming(
    store: &dyn BarStore,
    query: &BarQuery,
    source: Timeframe,
    live: &[BarRow],
    old_before_ms: UnixMillis,
) -> Result<Vec<BarRow>, RangeError> {
    let width = query.width;
    source::rows_per_bar(width, source)?;
    let series = BarSeries {
        instrument: query.instrument.clone(),
        timeframe: source,
    };
    let spans = SpanReader::new(store, series, width, None);
    let stored_until = spans
        .newest_start()?
        .map(|start_ms| source.end_of(start_ms));
    // A forming bar that was overtaken by its close is old.
    let is_new = |row: &&BarRow| stored_until.is_none_or(|until| until <= row.start_ms);
    let mut until = stored_until;
    let joins = |row: &&BarRow| {
        let hole_start = until.replace(source.end_of(row.start_ms));
        hole_start.is_none_or(|start| row.start_ms <= start || row.start_ms < old_before_ms)
    };
    let live = live.iter().filter(is_new).take_while(joins);
    let live: Vec<BarRow> = live.copied().collect();
    let first = stored_until.or_else(|| live.first().map(|row| row.start_ms));
    let Some(first) = first else {
        return Ok(Vec::new());
    };
    Ok(spans.forming(width.start_of(first), &live)?)
}

/// The first start of a bar at or after `at`.
fn first_start(width: Width, at: UnixMillis) -> UnixMillis {
    let at = at.clamp(0, TIME_MAX_MS);
    let start = width.start_of(at);
    if start == at { at } else { width.end_of(start) }
}

/// The making of one page.
struct Walk<'a> {
    spans: SpanReader<'a>,
    width: Width,
    rows_per_bar: usize,
    /// How many stored bars may still be read.
    rows_left: usize,
    /// The first start of a bar in the range.
    from: UnixMillis,
    /// The first start of a bar after the range.
    to: UnixMillis,
    limit: usize,
    has_flat_bars: bool,
    known_after: Option<UnixMillis>,
    /// Whether bars that became known earlier may be skipped here. Flat bars before a stored one
    /// became known with it, so not after such a bar, nor at the start of a page.
    may_skip: bool,
    bars: Vec<BarRow>,
}

impl Walk<'_> {
    /// How many bars the next span has: enough for the page if all of them are there.
    fn span_bars(&self) -> usize {
        let wanted = self.limit.saturating_sub(self.bars.len());
        let cheap = SPAN_COST / self.rows_per_bar;
        let affordable = self.rows_left / self.rows_per_bar;
        wanted.max(cheap).min(affordable).max(1)
    }

    fn is_full(&self) -> bool {
        self.bars.len() >= self.limit || self.rows_left == 0
    }

    /// Reads the bars that start in `[from, to)`, without declined bars. The second value
    /// is the start of the stored bar at or after `to` if the span has none.
    fn read(
        &mut self,
        from: UnixMillis,
        to: UnixMillis,
    ) -> Result<(Vec<BarRow>, Option<UnixMillis>), StoreError> {
        let mut span = self.spans.read(from, to)?;
        self.rows_left = self
            .rows_left
            .saturating_sub(span.rows_read.saturating_add(SPAN_COST));
        self.may_skip = match (self.known_after, span.first_known_ms) {
            (Some(after), Some(known)) => known <= after,
            _ => true,
        };
        let is_hole = span.bars.is_empty();
        span.bars.retain(|bar| {
            let is_wanted = self.has_flat_bars || bar.quality != Quality::Filled;
            is_wanted && self.known_after.is_none_or(|after| after < bar.known_ms)
        });
        let after = if is_hole { span.after_ms } else { None };
        Ok((span.bars, after))
    }

    /// Ascending. Returns where the next page begins.
    fn upwards(&mut self, at: Option<UnixMillis>) -> Result<Option<UnixMillis>, StoreError> {
        let mut at = at.map_or(self.from, |at| first_start(self.width, at).max(self.from));
        while at < self.to {
            if self.is_full() {
                return Ok(Some(at));
            }
            let mut end = at;
            for _ in 0..self.span_bars() {
                end = self.width.end_of(end).min(self.to);
            }
            let (bars, after) = self.read(at, end)?;
            let room = self.limit - self.bars.len();
            let is_cut = bars.len() > room;
            self.bars.extend(bars.into_iter().take(room));
            at = match self.bars.last() {
                Some(last) if is_cut => self.width.end_of(last.start_ms),
                // The hole ends where bars are stored again.
                _ => after.map_or(end, |after| self.width.start_of(after).max(end)),
            };
        }
        Ok(None)
    }

    /// Where a search for bars that became known later goes on downwards: at the end of a bar that may
    /// be one of them. `None` if there is none. Without that condition, here.
    fn skip_known(&self, at: UnixMillis) -> Result<Option<UnixMillis>, StoreError> {
        let Some(known_after) = self.known_after.filter(|_| self.may_skip) else {
            return Ok(Some(at));
        };
        let last = self.spans.last_known_after(at, known_after)?;
        let end = |last| self.width.end_of(self.width.start_of(last));
        Ok(last.map(|last| end(last).min(at)))
    }

    /// Descending. Returns where the next page ends.
    fn downwards(&mut self, at: Option<UnixMillis>) -> Result<Option<UnixMillis>, StoreError> {
        let mut at = at.map_or(self.to, |at| {
            self.width.start_of(at.clamp(0, TIME_MAX_MS)).min(self.to)
        });
        while at > self.from {
            if self.is_full() {
                return Ok(self.spans.has_before(at)?.then_some(at));
            }
            at = match self.skip_known(at)? {
                Some(end) if end > self.from => end,
                _ => return Ok(None),
            };
            let mut start = at;
            for _ in 0..self.span_bars() {
                start = self.width.start_of(start - 1).max(self.from);
            }
            let before = self.bars.len();
            let (bars, _) = self.read(start, at)?;
            let room = self.limit - self.bars.len();
            let is_cut = bars.len() > room;
            self.bars.extend(bars.into_iter().rev().take(room));
            at = match self.bars.last() {
                Some(last) if is_cut => last.start_ms,
                _ if self.bars.len() > before => start,
                // The hole begins where a stored bar ends.
                _ => match self.spans.newest_before(start)? {
                    Some(row) => self
                        .width
                        .end_of(self.width.start_of(row.start_ms))
                        .min(start),
                    None => return Ok(None),
                },
            };
        }
        Ok(None)
    }
}
