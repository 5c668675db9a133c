//! What a plan's parts are made of.

use service::{Condition, Service};

use super::clients::VenueClients;
use crate::config::Config;
use crate::discovery::Found;

/// What the parts are made of.
pub(super) struct Inputs<'a> {
    pub(super) config: &'a Config,
    pub(super) found: Found,
    pub(super) clients: &'a VenueClients,
    pub(super) conditions: Conditions,
}

/// What must hold before the program is ready. It outlives a plan.
#[derive(Clone, Debug)]
pub(super) struct Conditions {
    pub(super) feeds: Condition,
    pub(super) bus: Condition,
    pub(super) store: Condition,
    pub(super) leases: Condition,
}

impl Conditions {
    /// The conditions of a program.
    pub(super) fn new(service: &Service) -> Self {
        let condition = |name| service.readiness.condition(name);
        Self {
            feeds: condition("feed_live"),
            bus: condition("bus"),
            store: condition("bars_stored"),
            leases: condition("leases"),
        }
    }
}
