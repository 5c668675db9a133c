//! Exchange sockets: from connecting to the trades that go to a worker.
//!
//! [`connection`] is the life of one connection as a pure state machine: what to send and when,
//! what each frame means, when to give up. [`dial`] opens a socket, and `socket` is the thin edge
//! that runs the state machine on a real socket. [`connection_spec`] is what both are made of, and
//! [`meters`] what is counted at a socket. [`supervisor`] keeps one connection up for a share
//! of the symbols, and replaces it before the venue cuts it. [`subscriptions`] chooses the symbols
//! that a connection asks for, [`symbols`] has the state of each symbol, [`listing`] the venue's
//! list of symbols, and [`status`] the published status of the feed.

pub mod backoff;
pub mod connection;
pub mod connection_spec;
pub mod dial;
pub mod listing;
pub mod meters;
pub(crate) mod proof;
mod router;
pub(crate) mod silence;
mod socket;
pub mod status;
pub mod subscriptions;
pub mod supervisor;
pub mod symbols;
