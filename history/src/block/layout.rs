//! What all blocks have in common.

/// The most rows in a block.
pub const BLOCK_ROWS_MAX: usize = 65_536;

/// Raised whenever older blocks would be read wrongly.
pub(super) const VERSION: u8 = 2;
