//! Stores closed bars and trades, and reads them back by time.
//!
//! [`BarRow`] is what is stored of a bar. [`block`] packs rows into columns, and [`store`] keeps
//! them on disk. [`WidthFold`] makes bars of any [`Width`] from stored ones, [`range`] reads them
//! in pages, and [`completeness`] says what a day lacks.

pub mod block;
pub mod completeness;
pub mod range;
pub mod store;

pub use market_core::{BarRow, ParseWidthError, Width, WidthFold};
