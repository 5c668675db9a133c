//! The order book of a market: what is offered and asked for at each price.
//!
//! A venue sends a snapshot and then changes. A book that lacks one change is wrong for ever, and
//! looks right. So [`BookSync`] follows the numbers of the venue, and has no book from the first
//! hole until the next snapshot. [`BookUpdate`] is what venues send, [`Ladder`] is one side of a
//! book, and [`BookTop`] is what is published. [`BookLevels`] is what a client has of it.

mod ladder;
mod levels;
mod sync;
mod update;

pub use ladder::Ladder;
pub use levels::{BookLevels, CHECKSUM_LEVELS, LevelChanges};
pub use sync::{Applied, BookFault, BookLimits, BookSync, BookTop};
pub use update::{BookUpdate, LevelChange, UpdateNumbers};

/// Most levels of each side that are published.
pub const DEPTH_MAX: usize = 400;

#[cfg(test)]
mod tests;
