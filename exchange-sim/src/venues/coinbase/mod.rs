//! Coinbase Exchange. Source: docs.cdp.coinbase.com/exchange, WebSocket feed and REST API.

pub(crate) mod encode;
pub(crate) mod rest;
mod session;

pub(crate) use session::{Feed, Session};
