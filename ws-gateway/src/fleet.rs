//! The other gateways: how this one leaves them its sessions.
//!
//! `leaving` has the phases of a drain. `rebalance` closes the sessions that this gateway has too
//! many, by its `view` of the fleet.

pub(crate) mod leaving;
pub(crate) mod rebalance;
pub(crate) mod report;
pub(crate) mod view;
