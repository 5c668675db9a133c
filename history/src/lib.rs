//! Stores closed bars and trades, and reads them back by time.
//!
//! [`BarRow`] is what is stored of a bar. [`block`] packs rows into columns.

pub mod block;
mod row;

pub use row::BarRow;
