//! Binance spot. Source: binance-spot-api-docs, web-socket-streams.md and rest-api.md.

pub(crate) mod encode;
pub(crate) mod rest;
mod session;
mod stream;
mod ticker;

pub(crate) use session::{COMBINED, MICROSECONDS, Session};
pub(crate) use stream::{INTERVALS, Stream, find_interval, kline_interval, parse_name};
