//! Addresses whose tokens fail too often.

use std::net::IpAddr;
use std::time::Instant;

use service::{AddressBudget, AddressGroups, Allowance};

/// Failures of one client at once unless configured.
const FAILURES_PER_IP_DEFAULT: u32 = 60;

/// Counts the failures of each client: a number at once, and one more each second.
#[derive(Debug)]
pub(crate) struct Failures(AddressBudget);

impl Failures {
    /// With `burst` failures at once; 0 is no limit. `unmetered` is the metric of addresses that
    /// could not be counted.
    #[must_use]
    pub(crate) fn new(burst: Option<u32>, unmetered: &'static str, groups: AddressGroups) -> Self {
        let allowance = Allowance {
            per_second: 1,
            burst: burst.unwrap_or(FAILURES_PER_IP_DEFAULT),
            holds_for_loopback: burst.is_some(),
        };
        Self(AddressBudget::new(
            "auth_failures",
            unmetered,
            allowance,
            groups,
        ))
    }

    /// Whether the client has failed so often that its tokens are not checked.
    #[must_use]
    pub(crate) fn is_beyond(&self, ip: IpAddr, now: Instant) -> bool {
        self.0.is_spent(ip, now)
    }

    /// Counts a failure.
    pub(crate) fn count(&self, ip: IpAddr, now: Instant) {
        self.0.take(ip, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_limited_by_default_and_for_loopback_only_if_configured() {
        let now = Instant::now();
        for (burst, address, expected) in [
            (None, "1.1.1.1", true),
            (None, "127.0.0.1", false),
            (Some(0), "1.1.1.1", false),
            (Some(2), "127.0.0.1", true),
        ] {
            let failures = Failures::new(burst, "unmetered_total", AddressGroups::new(64));
            let ip = address.parse().expect("address");
            for _ in 0..FAILURES_PER_IP_DEFAULT {
                failures.count(ip, now);
            }
            assert_eq!(failures.is_beyond(ip, now), expected, "{burst:?} {address}");
        }
    }
}
