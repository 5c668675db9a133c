//! The other gateways: how this one leaves them its sessions.
//!
//! `leaving` is a drain's two steps; `rebalance` sends away what this gateway has too many of, as
//! its `view` of the fleet says.

pub(crate) mod leaving;
pub(crate) mod rebalance;
pub(crate) mod report;
pub(crate) mod view;
