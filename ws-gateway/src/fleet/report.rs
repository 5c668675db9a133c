//! The messages between gateways.

use serde::{Deserialize, Serialize};

/// Longest id and address of a gateway that are accepted, bytes.
const NAME_LEN_MAX: usize = 128;
/// Most sessions of a gateway that are accepted: more than there are ports.
const SESSIONS_MAX: u64 = 10_000_000;

/// A gateway's report about itself.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct GatewayReport {
    /// Unique in the fleet, and new with each start.
    pub id: String,
    /// Its address for clients, for people.
    pub address: String,
    /// Its sessions.
    pub sessions: u64,
    /// Whether it drains: its sessions will move.
    pub is_leaving: bool,
    /// Whether it takes part in a rebalance: it closes sessions if it has too many.
    #[serde(default)]
    pub is_rebalancing: bool,
}

impl GatewayReport {
    /// Reads a report for the gateway `id`; `None` if it is not a report, or cannot be true.
    #[must_use]
    pub(crate) fn read(id: &str, payload: &[u8]) -> Option<Self> {
        let report: Self = serde_json::from_slice(payload).ok()?;
        let is_plausible = report.id == id
            && report.id.len() <= NAME_LEN_MAX
            && report.address.len() <= NAME_LEN_MAX
            && report.sessions <= SESSIONS_MAX;
        is_plausible.then_some(report)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(id: &str, sessions: u64) -> GatewayReport {
        GatewayReport {
            id: id.to_owned(),
            address: "127.0.0.1:1".to_owned(),
            sessions,
            is_leaving: false,
            is_rebalancing: false,
        }
    }

    #[test]
    fn reports_that_cannot_be_true_are_not_believed() {
        let read = |report: &GatewayReport| {
            let payload = serde_json::to_vec(report).expect("valid JSON");
            GatewayReport::read("0", &payload)
        };
        let good = report("0", 5);
        assert_eq!(read(&good), Some(good.clone()));
        let too_long = "x".repeat(NAME_LEN_MAX + 1);
        for bad in [
            report("1", 5),
            report("0", u64::MAX),
            GatewayReport {
                address: too_long,
                ..good
            },
        ] {
            assert_eq!(read(&bad), None);
        }
        assert_eq!(GatewayReport::read("0", b"{garbage"), None);
    }
}
