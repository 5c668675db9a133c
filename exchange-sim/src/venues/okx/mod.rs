//! OKX v5. Source: www.okx.com/docs-v5, Public Data and Market Data, WebSocket and REST.

pub(crate) mod encode;
pub(crate) mod rest;
mod session;

pub(crate) use session::{Feed, Session, bar_interval, notice};
