//! Binance spot. Source: binance-spot-api-docs, web-socket-streams.md and rest-api.md.

pub(super) mod stream;

pub(crate) mod encode;
pub(crate) mod frame;

mod session;

mod query;

mod history;
mod symbol_info;
mod ticker;

pub(crate) mod rest;

pub(crate) use session::Session;
pub(crate) use stream::{INTERVALS, Stream, find_interval, kline_interval, parse_name};
