//! The gateway from outside: real sockets, a memory bus.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

#[path = "gateway/subscribe.rs"]
mod subscribe;
