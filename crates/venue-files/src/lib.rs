//! Files of past trades and bars, as venues and recorders publish them.
//!
//! [`Lines`] reads a file, plain, gzip or zip, line by line. [`binance`] reads a line of a trade,
//! [`KlineColumns`] one of a bar, and [`rest_bars`] one of a page of a REST API.

mod archive;
pub mod binance;
mod counted;
mod klines;
mod lines;
mod rest;
mod trade;

pub use klines::{Kline, KlineColumns, MissingColumn, VenueBar, timeframe_of};
pub use lines::{Lines, Opened, open};
pub use rest::{RestBar, is_rest, rest_bars};
pub use trade::trade_of;

use market_core::UnixMillis;

/// Venues stamp in ms; Binance can in µs, on request and in its newer archives.
#[must_use]
pub fn to_millis(stamp: i64) -> UnixMillis {
    // 1e14 ms is the year 5138.
    if stamp >= 100_000_000_000_000 {
        stamp / 1_000
    } else {
        stamp
    }
}
