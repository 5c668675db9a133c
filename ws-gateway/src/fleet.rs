//! The other gateways: how this one leaves them its sessions.
//!
//! `drain` has the phases of a drain. `rebalance` closes the sessions that this gateway has too
//! many, by its `view` of the fleet.

pub(crate) mod drain;
pub(crate) mod rebalance;
pub(crate) mod report;
pub(crate) mod view;
