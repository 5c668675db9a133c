//! The past: stores closed bars and trades, and reads them back by time.
//!
//! # Layout
//!
//! - [`store`]: what a store must do, and the embedded one. [`block`] packs rows into columns;
//! - [`BarRow`]: what is stored of a bar. [`WidthFold`] makes bars of any [`Width`] from stored
//!   ones, [`range`] reads them in pages, and [`completeness`] says what a day lacks;
//! - [`cache`]: the newest values of each market, in memory or on Redis;
//! - [`History`]: a store, what it holds, and the newest bars of the bus. Every part of the program
//!   that answers questions has one;
//! - [`import`], [`export`], [`copy`], [`verify`] and [`replay`]: commands that work on a store that no program uses;
//! - [`run`]: the program, which fills it from the bus. [`api`] answers over HTTP and over
//!   the bus.

mod answer;
pub mod api;
pub mod block;
mod books;
pub mod cache;
mod catalog;
pub mod completeness;
pub mod config;
mod consume;
pub mod copy;
mod error;
pub mod export;
mod fill;
mod filler;
/// Readers of bytes from outside, for fuzzers: not part of the interface.
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzz {
    pub use crate::api::binance::fuzz::{Klines, Refused, klines};
}
mod history;
pub mod import;
mod keep;
mod latest;
mod message;
mod metric_help;
mod offline;
mod outages;
mod program;
mod progress;
pub mod range;
mod reads;
pub mod replay;
mod retained;
mod retention;
mod snapshots;
pub mod store;
mod store_health;
mod stream;
pub mod verify;

pub use answer::{BarAnswer, NewestBar, NewestFrom};
pub use catalog::SeriesIndex;
pub use config::Config;
pub use error::Error;
pub use filler::FillError;
pub use history::{History, Status};
pub use keep::{Keep, ParseKeepError};
pub use latest::{Latest, NewestBars};
pub use market_core::{BarRow, ParseWidthError, Width, WidthFold};
pub use message::{ReadError, read_bar, read_trade};
pub use offline::{OpenError, StoreArgs};
pub use program::run;
