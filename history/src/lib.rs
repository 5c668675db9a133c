//! Stores closed bars and trades, and reads them back by time.
//!
//! [`BarRow`] is what is stored of a bar. [`block`] packs rows into columns, and [`store`] keeps
//! them on disk. [`WidthFold`] makes bars of any [`Width`] from stored ones, and
//! [`completeness`] says what a day lacks.

pub mod block;
pub mod completeness;
mod fold;
mod row;
pub mod store;
mod width;

pub use fold::WidthFold;
pub use row::BarRow;
pub use width::{ParseWidthError, Width};
