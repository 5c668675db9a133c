//! A part of a wider bar.

use market_core::BarRow;

/// Most closed windows whose parts are kept, and most parts of all of them but the newest two.
pub(super) const WINDOWS_KEPT: usize = 32;
pub(super) const PARTS_KEPT: usize = 4_096;

/// A closed bar of the narrower timeframe.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    pub(super) epoch: u64,
    pub(super) row: BarRow,
}

impl Part {
    /// The higher of two parts with the same start replaces the other.
    pub(super) fn rank(&self) -> (u64, u32) {
        (self.epoch, self.row.rev)
    }
}
