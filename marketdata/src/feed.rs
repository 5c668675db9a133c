//! Exchange sockets, from connect to the frame's trades on their way to a worker.
//!
//! [`connection`] is one connection's life as a pure state machine: what to send and when, what
//! each frame means, when to give up. [`dial`] opens a socket, and `socket` is the thin edge that does it on a real socket.
//! [`supervisor`] keeps one connection up for a share of the symbols, and replaces it before the
//! venue cuts it. [`subscriptions`] is what a connection asks the venue for, [`symbols`] where each
//! symbol stands, [`listing`] what the venue says that it has, and [`status`] what is said about it
//! all.

pub mod backoff;
pub mod connection;
pub mod dial;
pub mod listing;
pub(crate) mod proof;
mod router;
mod socket;
pub mod status;
pub mod subscriptions;
pub mod supervisor;
pub mod symbols;
