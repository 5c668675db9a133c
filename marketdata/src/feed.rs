//! Exchange sockets, from connect to the frame's trades on their way to a worker.
//!
//! [`connection`] is one connection's life as a pure state machine: what to send and when, what
//! each frame means, when to give up. `socket` is the thin edge that does it on a real socket.
//! [`supervisor`] keeps one connection up for a share of the symbols, and replaces it before the
//! venue cuts it. [`status`] is what is said about it all.

pub mod backoff;
pub mod connection;
mod router;
mod socket;
pub mod status;
pub mod supervisor;
