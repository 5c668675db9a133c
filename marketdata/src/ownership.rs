//! Which of the configured instruments this program publishes now.
//!
//! An operator, and later a lease, assigns instruments to the running program and revokes them.
//! `ledger` is the pure state machine: what may begin, and under which number. `transfer` does
//! the work. To assign an instrument is to load its last checkpoint, to take an epoch above all that
//! published it, and to carry it on a socket. To revoke it is to leave the socket, and to publish
//! and store its last bars and its state. So the next program continues where this one has stopped.
//! `task` runs both, and `control` is the operator's side.

pub mod control;
pub(crate) mod ledger;
pub(crate) mod task;
pub(crate) mod transfer;
