//! Coinbase Exchange. Source: docs.cdp.coinbase.com/exchange, WebSocket feed and REST API.

pub(crate) mod encode;
mod feed;
pub(crate) mod rest;
mod session;

pub(crate) use feed::Feed;
pub(crate) use session::Session;
