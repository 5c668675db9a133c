//! Where a series lacks bars.

use market_core::{BarRow, Quality, Timeframe, UnixMillis};

use crate::store::{BarSeries, BarStore, Range, StoreError};

/// A span of a series without stored bars, or with a bar that is not whole.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Hole {
    pub(crate) series: BarSeries,
    /// Its bar is there, and began before its first trade was received.
    pub(crate) is_partial: bool,
    pub(crate) from_ms: UnixMillis,
    pub(crate) to_ms: UnixMillis,
}

/// Stored bars that are looked at at once.
const PAGE_ROWS: usize = 4_096;
/// The narrowest timeframe whose partial bars the venue is asked for. A program that starts makes one
/// of each timeframe: of an hour, it is a chart's newest bar for an hour, and of a minute it is soon one
/// of many.
const PARTIAL_FROM: Timeframe = Timeframe::HOUR;

/// The spans between stored bars and these rows, and between the rows, without any; and the wide rows
/// that are partial. Of a new series, nothing is stored before the first row.
pub(crate) fn holes(
    series: &BarSeries,
    stored_end_ms: Option<UnixMillis>,
    rows: &[BarRow],
) -> Vec<Hole> {
    let hole = |is_partial, from_ms, to_ms| Hole {
        series: series.clone(),
        is_partial,
        from_ms,
        to_ms,
    };
    let end_of = |start_ms| series.timeframe.end_of(start_ms);
    let mut starts: Vec<UnixMillis> = rows.iter().map(|row| row.start_ms).collect();
    starts.sort_unstable();
    let mut holes = Vec::new();
    let mut end_ms = stored_end_ms.or(starts.first().copied());
    for start_ms in starts {
        let before_ms = end_ms.unwrap_or(start_ms);
        if start_ms > before_ms {
            holes.push(hole(false, before_ms, start_ms));
        }
        end_ms = Some(before_ms.max(end_of(start_ms)));
    }
    let partial = rows.iter().filter(|row| is_partial(series, row));
    holes.extend(partial.map(|row| hole(true, row.start_ms, end_of(row.start_ms))));
    holes
}

fn is_partial(series: &BarSeries, row: &BarRow) -> bool {
    series.timeframe >= PARTIAL_FROM && row.quality == Quality::Partial
}

/// What the store lacks of `[from_ms, to_ms)`: from the first bar that it does not have to the last one.
/// After the newest stored bar, none is missing yet. Between two bars of the venue, the venue has none.
pub(crate) fn lacking(
    store: &(impl BarStore + ?Sized),
    series: &BarSeries,
    from_ms: UnixMillis,
    to_ms: UnixMillis,
) -> Result<Option<(UnixMillis, UnixMillis)>, StoreError> {
    let mut lacking: Option<(UnixMillis, UnixMillis)> = None;
    let mut lacks = |from_ms, to_ms| {
        let first_ms = lacking.map_or(from_ms, |(first_ms, _)| first_ms);
        lacking = Some((first_ms, to_ms));
    };
    let mut range = Range::new(from_ms, to_ms, PAGE_ROWS);
    let mut end_ms = from_ms;
    let mut before: Option<BarRow> = None;
    loop {
        let page = store.bars(series, &range)?;
        for row in page.rows {
            let is_at_venue = |row: &BarRow| row.is_imported;
            let is_between = before.as_ref().is_some_and(is_at_venue) && is_at_venue(&row);
            if end_ms < row.start_ms && !is_between {
                lacks(end_ms, row.start_ms);
            }
            end_ms = series.timeframe.end_of(row.start_ms);
            if is_partial(series, &row) {
                lacks(row.start_ms, end_ms);
            }
            before = Some(row);
        }
        range.cursor = page.next;
        if range.cursor.is_none() {
            break;
        }
    }
    if before.is_none() && from_ms < to_ms {
        return Ok(Some((from_ms, to_ms)));
    }
    Ok(lacking)
}
