//! Symbols and bars in the form of Binance's spot API, for clients that were written for Binance.
//!
//! The gateway's streams and the rows of the REST API are written here, so they agree.
//! Source: Binance spot API, web socket streams and market data endpoints.

pub mod kline;
pub mod symbol;

pub use kline::Kline;
pub use symbol::{asset_names, parse_symbol, symbol_name};
