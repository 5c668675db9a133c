//! Compares our bars with the venue's own.
//!
//! [`compare`] is the pure comparison. [`klines`] reads a venue's bars from files. [`command`]
//! replays a capture and compares it, and [`report`] prints the result. [`background`] continuously
//! compares the published bars.

pub mod compare;
pub mod exact;

pub mod klines;
pub mod report;

pub mod command;

pub mod background;
