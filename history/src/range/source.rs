//! The stored bars from which a width is folded.

use market_core::{Timeframe, UnixMillis};

use super::cursor::{BarCursor, ParseCursorError};
use super::error::{ROWS_PER_BAR_MAX, RangeError};
use super::query::BarQuery;
use crate::Width;

/// What is stored of an instrument in one timeframe.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StoredBars {
    /// How wide the bars are.
    pub timeframe: Timeframe,
    /// The start of the first one.
    pub first_ms: UnixMillis,
}

impl StoredBars {
    /// None is stored yet, and the bus has new ones. The store may get older ones at any time.
    pub(crate) fn not_yet(timeframe: Timeframe) -> Self {
        Self {
            timeframe,
            first_ms: UnixMillis::MAX,
        }
    }

    fn is_stored(&self) -> bool {
        self.first_ms < UnixMillis::MAX
    }
}

/// The timeframe itself if it is stored. Otherwise the widest one that reaches back as far as any
/// that fits, or as far as the question does: timeframes are kept for different times.
pub(super) fn of(query: &BarQuery, stored: &[StoredBars]) -> Result<Timeframe, RangeError> {
    let width = query.width;
    if stored.is_empty() {
        return Err(RangeError::Unknown {
            exchange: query.instrument.exchange.to_string(),
            symbol: query.instrument.symbol.to_string(),
        });
    }
    if let Some(own) = stored
        .iter()
        .find(|own| Width::from(own.timeframe) == width && own.is_stored())
    {
        return Ok(own.timeframe);
    }
    let fitting = || {
        stored
            .iter()
            .filter(|stored| width.is_made_of(stored.timeframe))
    };
    let first_ms = fitting().map(|stored| stored.first_ms).min();
    let needed_ms = first_ms.max(query.from_ms);
    let reaches = |stored: &&StoredBars| Some(stored.first_ms) <= needed_ms;
    let source = fitting()
        .filter(reaches)
        .map(|stored| stored.timeframe)
        .max();
    source.ok_or_else(|| {
        let mut stored: Vec<Timeframe> = stored.iter().map(|stored| stored.timeframe).collect();
        stored.sort_unstable();
        let names: Vec<String> = stored.iter().map(Timeframe::to_string).collect();
        RangeError::NoSource {
            width,
            stored: names.join(", "),
        }
    })
}

/// The source that the page before had.
pub(super) fn of_cursor(
    cursor: &BarCursor,
    stored: &[StoredBars],
) -> Result<Timeframe, RangeError> {
    let is_stored = |stored: &StoredBars| stored.timeframe == cursor.source;
    if stored.iter().any(is_stored) && cursor.width().is_made_of(cursor.source) {
        Ok(cursor.source)
    } else {
        Err(ParseCursorError.into())
    }
}

/// How many stored bars make one bar.
pub(super) fn rows_per_bar(width: Width, source: Timeframe) -> Result<usize, RangeError> {
    let start = width.start_of(0);
    let source_ms = source.end_of(source.start_of(0)) - source.start_of(0);
    let rows = ((width.end_of(start) - start) / source_ms).max(1);
    match usize::try_from(rows) {
        Ok(count) if count <= ROWS_PER_BAR_MAX => Ok(count),
        _ => Err(RangeError::TooWide {
            width,
            timeframe: source,
            rows,
        }),
    }
}
