//! What clients send and receive, as bytes: pure code, without socket, clock or task.
//!
//! # Layout
//!
//! - [`dialect`] is the protocols that clients speak: requests, replies and updates in JSON, in
//!   protobuf, and as Binance writes them;
//! - [`encode`] is updates as frames, made once for each encoding that a session has.
//!
//! Nothing here knows a session or the state of a topic. A gateway decides which session gets which
//! update, and this crate how the update is written.

pub mod dialect;
pub mod encode;
