//! The limits of a client: connections, sessions, and how often it may do something.

mod permits;
mod shares;

pub(crate) use permits::{Full, Limits, LimitsConfig, Permit, open_files_max};
pub(crate) use service::{AddressBudget, AddressGroups, Allowance, TokenBucket};
pub(crate) use shares::{Beyond, Sharer, Shares, SharesConfig};

/// The metric of addresses that a budget could not count.
pub(crate) const UNMETERED: &str = "gateway_unmetered_addresses_total";
