//! What a copy did.

use std::fmt;

/// What a copy did.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct CopySummary {
    /// Revisions of bars that were written.
    pub bars: u64,
    /// Trades that were written.
    pub trades: u64,
    /// Rows that were there already.
    pub rows_before: u64,
    /// Positions of streams that were written.
    pub watermarks: u64,
    /// Days of series that were compared.
    pub days: u64,
    /// Completeness records that were compared.
    pub records: u64,
    /// Days that differ.
    pub differences: u64,
}

impl fmt::Display for CopySummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} bars and {} trades were copied, {} rows were there before, {} positions; {} days of series and {} completeness records compared, {} differ",
            self.bars,
            self.trades,
            self.rows_before,
            self.watermarks,
            self.days,
            self.records,
            self.differences
        )
    }
}
