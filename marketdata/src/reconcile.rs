//! Compares our bars with the venue's own.
//!
//! [`compare`] is the pure comparison. [`klines`] reads a venue's bars from files. [`command`]
//! replays a capture and compares it, and [`report`] prints the result. [`background`] continuously
//! compares the published bars. [`ticker`] is the pure comparison of a venue's ticker with our bars,
//! and [`ticker_rounds`] continuously compares tickers.

pub mod compare;
pub mod exact;
pub mod ticker;

pub mod klines;
pub mod report;

pub mod command;

pub mod background;
pub mod ticker_rounds;
