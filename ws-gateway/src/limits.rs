//! The limits of a client: connections, sessions, and how often it may do something.

mod address;
mod permits;
mod token_bucket;

pub(crate) use address::{AddressBudget, AddressGroups, Allowance};
pub(crate) use permits::{Full, Limits, LimitsConfig, Permit, open_files_max};
pub(crate) use token_bucket::TokenBucket;
