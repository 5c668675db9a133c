//! Why a question for bars has no answer.

use market_core::Timeframe;

use super::cursor::ParseCursorError;
use crate::Width;
use crate::store::StoreError;

/// The most stored bars in one bar that is asked for: a year of bars of 5 minutes.
pub const ROWS_PER_BAR_MAX: usize = 105_408;

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum RangeError {
    /// Nothing is stored of it.
    #[error("no bars of {symbol} at {exchange} are stored: /api/v1/symbols lists what there is")]
    Unknown {
        /// The venue.
        exchange: String,
        /// The symbol.
        symbol: String,
    },
    /// More than one venue has it.
    #[error("{symbol} is traded at {exchanges}: say which one with `exchange`")]
    Ambiguous {
        /// The symbol.
        symbol: String,
        /// The venues.
        exchanges: String,
    },
    /// No stored bars fit.
    #[error(
        "bars of {width} cannot be made of the stored ones ({stored}): ask for a multiple of one of them"
    )]
    NoSource {
        /// The width that was asked for.
        width: Width,
        /// The timeframes that are stored.
        stored: String,
    },
    /// One bar would be made of too many.
    #[error(
        "a bar of {width} is made of {rows} stored bars of {timeframe}, and {ROWS_PER_BAR_MAX} are the most: ask for a narrower width"
    )]
    TooWide {
        /// The width that was asked for.
        width: Width,
        /// The stored bars from which it would be made.
        timeframe: Timeframe,
        /// How many of them.
        rows: i64,
    },
    /// The cursor belongs to another question.
    #[error(transparent)]
    Cursor(#[from] ParseCursorError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
