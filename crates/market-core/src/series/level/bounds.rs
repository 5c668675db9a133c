//! How much of a timeframe is kept.

/// The most flat bars that one silence yields per timeframe, and that are kept of it. Of a longer
/// silence, these are the newest bars.
pub const FILL_MAX: i64 = 20_000;
/// The most closed bars with trades kept per timeframe for revisions.
pub const CLOSED_MAX: usize = 20_000;
