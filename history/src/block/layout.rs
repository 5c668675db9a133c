//! What all blocks have in common.

/// The most rows in a block.
pub const BLOCK_ROWS_MAX: usize = 65_536;

/// Raised whenever older programs would read blocks wrongly.
pub(super) const VERSION: u8 = 4;
/// The oldest version that this program reads. In its bars, 0 stands also for what a venue does not
/// say.
pub(super) const VERSION_MIN: u8 = 2;
/// The newest version whose trades do not know the trades before them: sides as they are, prices less
/// the price before, receive times less the event times.
pub(super) const VERSION_TRADES_ALONE: u8 = 3;
