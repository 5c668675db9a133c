//! Order books, from the venues' sockets to the best levels that are published.
//!
//! Books have connections of their own: a burst of changes must not delay a trade. `desk` is the
//! life of one connection as a pure state machine: frames, snapshots and time in; books, requests
//! for snapshots and messages out. [`feed`] runs it on a socket. A book is not there from the first
//! hole in its changes until the next snapshot, and each book waits longer between its snapshots, the
//! more of them are needed.

mod desk;
pub mod feed;
mod meters;
mod pace;

pub use desk::DeskSettings;
