//! OKX v5. Source: www.okx.com/docs-v5, Public Data and Market Data, WebSocket and REST.

pub(crate) mod encode;
mod feed;
pub(crate) mod rest;
mod session;

pub(crate) use feed::{Feed, bar_interval};
pub(crate) use session::{Session, notice};
