//! How much of a timeframe is kept.

/// The most flat bars that one silence yields per timeframe, and that are kept of it. Of a longer
/// silence, these are the newest bars.
pub const FILL_MAX: i64 = 20_000;
/// The most closed bars with trades kept per timeframe for revisions.
pub const CLOSED_MAX: usize = 20_000;
/// The most flat bars per timeframe between the last trade before a feed began and its begin. Where
/// there would be more, there are none: a thousand quiet symbols begin at once.
pub(super) const TOLD_FILL_MAX: i64 = 60;
