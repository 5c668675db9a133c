//! What history holds of a day: which trade ids, bars with which content, and why bars are not what
//! they should be.

pub mod causes;

use std::fmt::Write as _;

use market_core::{IdSpan, Quality, Timeframe, UnixMillis};

use crate::store::{BarSeries, BarStore, Instrument, Order, Page, Range, StoreError, TradeStore};
use market_core::BarRow;

pub use causes::{Cause, CauseSpan, Causes};

/// One UTC day in milliseconds.
pub const DAY_MS: i64 = 86_400_000;
/// The most spans that a record lists.
pub const SPANS_MAX: usize = 4_096;
/// Rows that are read at once.
const PAGE_ROWS: usize = 10_000;
/// How many flat bars are searched for the trade before them.
const FLAT_ROWS_MAX: usize = 4_096;

/// What is stored of one instrument and UTC day. Two stores with equal records hold the same bars.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Completeness {
    /// The first instant of the day.
    pub day_ms: UnixMillis,
    /// The ids of stored trades, ascending; adjoining ids are one span.
    pub held: Vec<IdSpan>,
    /// The ids between held ones, also those before the first and after the last trade of the day.
    /// Some of them may be trades of the day before or after.
    pub missing: Vec<IdSpan>,
    /// How many spans of `held` were left out, because there are more than [`SPANS_MAX`].
    pub held_more: usize,
    /// How many spans of `missing` were left out.
    pub missing_more: usize,
    /// How many bars are stored.
    pub bars: u64,
    /// How many of them are neither `complete`, `backfilled` nor `filled`.
    pub bars_incomplete: u64,
    /// CRC-32 of the bars as text: start, open, high, low, close, both volumes, both taker's volumes
    /// and count of each, separated by commas, a line each. An unknown value is empty.
    pub bars_checksum: u32,
    /// Where bars are missing or special, and why, by ascending time.
    pub causes: Vec<CauseSpan>,
    /// How many spans of `causes` were left out.
    pub causes_more: usize,
}

/// Reads what is stored of the day that holds `at`, with the bars as they were known at `as_of_ms`.
///
/// # Errors
/// If the store cannot be read.
pub fn of_day(
    store: &(impl TradeStore + BarStore + ?Sized),
    instrument: &Instrument,
    timeframe: Timeframe,
    at: UnixMillis,
    as_of_ms: Option<UnixMillis>,
) -> Result<Completeness, StoreError> {
    let day_ms = at.saturating_sub(at.rem_euclid(DAY_MS));
    let day = Range::new(day_ms, day_ms.saturating_add(DAY_MS), PAGE_ROWS);
    let mut held: Vec<IdSpan> = Vec::new();
    each_page(day, |range| {
        let page = store.trades(instrument, range)?;
        for trade in &page.rows {
            let (first, last) = (trade.first_id, trade.last_id);
            match held.last_mut() {
                Some(span) if span.last.checked_add(1) == Some(first) => span.last = last,
                _ => held.push(IdSpan { first, last }),
            }
        }
        Ok(page)
    })?;
    // Ids need not rise with the event time.
    held.sort_unstable_by_key(|span| (span.first, span.last));
    held.dedup_by(|next, span| {
        let is_joined = next.first <= span.last.saturating_add(1);
        if is_joined {
            span.last = span.last.max(next.last);
        }
        is_joined
    });
    let mut missing = missing_between(&held, neighbours(store, instrument, &day)?);

    let series = BarSeries {
        instrument: instrument.clone(),
        timeframe,
    };
    let (mut bars, mut bars_incomplete) = (0, 0);
    let (mut checksum, mut text) = (crc32fast::Hasher::new(), String::new());
    let day = Range { as_of_ms, ..day };
    let (mut causes, mut causes_more) = (Vec::new(), 0);
    let mut tell = |span: CauseSpan| match causes.len() < SPANS_MAX {
        true => causes.push(span),
        false => causes_more += 1,
    };
    let mut found = Causes::new(timeframe, day.from_ms, day.to_ms);
    for row in before(store, &series, &day)? {
        found.push(&row, &mut tell);
    }
    each_page(day, |range| {
        let page = store.bars(&series, range)?;
        for row in &page.rows {
            found.push(row, &mut tell);
            bars += 1;
            bars_incomplete += u64::from(matches!(row.quality, Quality::Gap | Quality::Partial));
            text.clear();
            write_line(&mut text, row);
            checksum.update(text.as_bytes());
        }
        Ok(page)
    })?;
    let after = Range {
        as_of_ms,
        ..Range::new(day.to_ms, UnixMillis::MAX, 1)
    };
    if let Some(row) = store.bars(&series, &after)?.rows.first() {
        found.push(row, &mut tell);
    }
    found.finish(&mut tell);
    let (held_more, missing_more) = (shorten(&mut held), shorten(&mut missing));
    Ok(Completeness {
        day_ms,
        held,
        missing,
        held_more,
        missing_more,
        bars,
        bars_incomplete,
        bars_checksum: checksum.finalize(),
        causes,
        causes_more,
    })
}

/// The newest bar before a day, and before it the newest one with trades, by ascending start.
fn before(
    store: &(impl BarStore + ?Sized),
    series: &BarSeries,
    day: &Range,
) -> Result<Vec<BarRow>, StoreError> {
    let newest = |limit| {
        let range = Range {
            order: Order::Descending,
            as_of_ms: day.as_of_ms,
            ..Range::new(UnixMillis::MIN, day.from_ms, limit)
        };
        Ok::<_, StoreError>(store.bars(series, &range)?.rows)
    };
    let mut rows = newest(1)?;
    if rows.first().is_some_and(BarRow::is_flat) {
        let traded = newest(FLAT_ROWS_MAX)?;
        rows.extend(traded.into_iter().find(|row| !row.is_flat()));
    }
    rows.reverse();
    Ok(rows)
}

/// Reads a range page by page.
fn each_page<T>(
    mut range: Range,
    mut read: impl FnMut(&Range) -> Result<Page<T>, StoreError>,
) -> Result<(), StoreError> {
    loop {
        range.cursor = read(&range)?.next;
        if range.cursor.is_none() {
            return Ok(());
        }
    }
}

/// The last id before a day and the first id after it.
fn neighbours(
    store: &(impl TradeStore + ?Sized),
    instrument: &Instrument,
    day: &Range,
) -> Result<(Option<u64>, Option<u64>), StoreError> {
    let before = Range {
        order: Order::Descending,
        ..Range::new(UnixMillis::MIN, day.from_ms, 1)
    };
    let after = Range::new(day.to_ms, UnixMillis::MAX, 1);
    let before = store.trades(instrument, &before)?.rows.pop();
    let after = store.trades(instrument, &after)?.rows.pop();
    Ok((
        before.map(|trade| trade.last_id),
        after.map(|trade| trade.first_id),
    ))
}

/// The ids between spans, and between them and the neighbours.
fn missing_between(held: &[IdSpan], (before, after): (Option<u64>, Option<u64>)) -> Vec<IdSpan> {
    let ends = before.into_iter().chain(held.iter().map(|span| span.last));
    let starts = held.iter().map(|span| span.first).chain(after);
    // Without a neighbour, nothing is known of the ids on that side.
    let starts = starts.skip(usize::from(before.is_none()));
    let between = ends.zip(starts).filter_map(|(end, start)| {
        let (first, last) = (end.checked_add(1)?, start.checked_sub(1)?);
        (first <= last).then_some(IdSpan { first, last })
    });
    between.collect()
}

fn shorten(spans: &mut Vec<IdSpan>) -> usize {
    let more = spans.len().saturating_sub(SPANS_MAX);
    spans.truncate(SPANS_MAX);
    more
}

fn write_line(text: &mut String, row: &BarRow) {
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "{},{},{},{},{},{},{},{},{},{}",
        row.start_ms,
        row.open,
        row.high,
        row.low,
        row.close,
        row.volume,
        told(row.quote_volume),
        told(row.taker_buy_volume),
        told(row.taker_buy_quote_volume),
        told(row.count),
    );
}

/// A value that the venue does not publish is empty.
fn told(value: Option<impl std::fmt::Display>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}
