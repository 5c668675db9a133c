//! Symbols, bars, trades, quotes, tickers and books in the form of Binance's spot API, for clients that were written for Binance.
//!
//! The gateway's streams and the rows of the REST API are written here, so they agree.
//! Source: Binance spot API, web socket streams and market data endpoints.

pub mod average;
pub mod book;
pub mod decimal;
pub mod depth;
pub mod kline;
pub mod minute;
pub mod quote;
pub mod symbol;
pub mod trade;
pub mod window;

pub use average::average_event;
pub use book::PartialDepth;
pub use depth::DepthBook;
pub use kline::Kline;
pub use minute::{Minute, MinuteBar};
pub use quote::{BookTicker, DayTicker};
pub use symbol::{asset_names, parse_symbol, symbol_name};
pub use trade::TradeEvent;
pub use window::{MinuteSums, TickerWindow};

use crate::value::symbol::Symbol;

/// The name of a stream of a symbol: `btcusdt@trade`. `None` if the symbol has no name.
#[must_use]
pub fn stream_of(symbol: &Symbol, kind: &str) -> Option<String> {
    let name = symbol_name(symbol)?.to_ascii_lowercase();
    Some(format!("{name}@{kind}"))
}
