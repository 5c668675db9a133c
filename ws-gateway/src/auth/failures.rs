//! Addresses whose tokens fail too often.

use std::net::IpAddr;
use std::time::Instant;

use dashmap::DashMap;

use crate::limits::TokenBucket;

/// Failures of one address at once unless configured.
const FAILURES_PER_IP_DEFAULT: u32 = 60;
/// Addresses remembered at most. Beyond them failures are not held against anyone.
const ADDRESSES_MAX: usize = 10_000;

/// Counts the failures of each address: so many at once, and one more each second.
#[derive(Debug)]
pub(crate) struct Failures {
    burst: u32,
    holds_for_loopback: bool,
    by_ip: DashMap<IpAddr, TokenBucket>,
}

impl Failures {
    /// With `burst` failures at once; 0 is no limit.
    #[must_use]
    pub(crate) fn new(burst: Option<u32>) -> Self {
        Self {
            burst: burst.unwrap_or(FAILURES_PER_IP_DEFAULT),
            holds_for_loopback: burst.is_some(),
            by_ip: DashMap::new(),
        }
    }

    fn is_exempt(&self, ip: IpAddr) -> bool {
        self.burst == 0 || (ip.is_loopback() && !self.holds_for_loopback)
    }

    /// Whether the address has failed so often that its tokens are not looked at.
    #[must_use]
    pub(crate) fn is_beyond(&self, ip: IpAddr, now: Instant) -> bool {
        !self.is_exempt(ip)
            && self
                .by_ip
                .get(&ip)
                .is_some_and(|bucket| bucket.next_at(now) > now)
    }

    /// Counts a failure.
    pub(crate) fn count(&self, ip: IpAddr, now: Instant) {
        if self.is_exempt(ip) {
            return;
        }
        if self.by_ip.len() >= ADDRESSES_MAX && !self.by_ip.contains_key(&ip) {
            self.by_ip.retain(|_, bucket| !bucket.is_full(now));
            if self.by_ip.len() >= ADDRESSES_MAX {
                return;
            }
        }
        let mut bucket = self
            .by_ip
            .entry(ip)
            .or_insert_with(|| TokenBucket::new(1, self.burst, now));
        bucket.take(1, now);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_address_that_fails_too_often_waits_and_others_do_not() {
        let failures = Failures::new(Some(3));
        let start = Instant::now();
        let [bad, good]: [IpAddr; 2] = ["1.1.1.1", "1.1.1.2"].map(|ip| ip.parse().expect("ip"));
        for _ in 0..3 {
            assert!(!failures.is_beyond(bad, start));
            failures.count(bad, start);
        }
        assert!(failures.is_beyond(bad, start));
        assert!(!failures.is_beyond(good, start));
        let later = start + Duration::from_secs(1);
        assert!(!failures.is_beyond(bad, later));
        failures.count(bad, later);
        assert!(failures.is_beyond(bad, later));
    }

    #[test]
    fn loopback_is_limited_only_where_a_limit_is_configured() {
        let ip: IpAddr = "127.0.0.1".parse().expect("ip");
        let now = Instant::now();
        for (burst, expected) in [(None, false), (Some(0), false), (Some(2), true)] {
            let failures = Failures::new(burst);
            for _ in 0..100 {
                failures.count(ip, now);
            }
            assert_eq!(failures.is_beyond(ip, now), expected, "{burst:?}");
        }
    }

    #[test]
    fn addresses_are_bounded_and_those_at_peace_are_forgotten() {
        let failures = Failures::new(None);
        let start = Instant::now();
        let ip = |number: usize| IpAddr::from(u32::try_from(number).expect("small").to_be_bytes());
        for number in 0..=ADDRESSES_MAX {
            failures.count(ip(number), start);
        }
        assert_eq!(failures.by_ip.len(), ADDRESSES_MAX);
        failures.count(ip(ADDRESSES_MAX + 1), start + Duration::from_secs(2));
        assert_eq!(failures.by_ip.len(), 1);
    }
}
