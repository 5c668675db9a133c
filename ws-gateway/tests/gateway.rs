//! The gateway from outside: real sockets, a memory bus.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

#[path = "gateway/auth.rs"]
mod auth;
#[path = "gateway/binance.rs"]
mod binance;
#[path = "gateway/books.rs"]
mod books;
#[path = "gateway/bounds.rs"]
mod bounds;
#[path = "gateway/bus.rs"]
mod bus;
#[path = "gateway/deflate.rs"]
mod deflate;
#[path = "gateway/fickle_bus.rs"]
mod fickle_bus;
#[path = "gateway/handshake.rs"]
mod handshake;
#[path = "gateway/hostile.rs"]
mod hostile;
#[path = "gateway/metrics.rs"]
mod metrics;
#[path = "gateway/order.rs"]
mod order;
#[path = "gateway/origin.rs"]
mod origin;
#[path = "gateway/past.rs"]
mod past;
#[path = "gateway/protobuf.rs"]
mod protobuf;
#[path = "gateway/rolling.rs"]
mod rolling;
#[path = "gateway/slow.rs"]
mod slow;
#[path = "gateway/subscribe.rs"]
mod subscribe;
#[path = "gateway/supervision.rs"]
mod supervision;
#[path = "gateway/traces.rs"]
mod traces;
#[path = "gateway/trades.rs"]
mod trades;
#[path = "gateway/truth.rs"]
mod truth;
#[path = "gateway/values.rs"]
mod values;
