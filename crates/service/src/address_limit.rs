//! Client addresses: which of them count as one client, and how often a client may do something.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use dashmap::DashMap;
use metrics::counter;

use crate::token_bucket::TokenBucket;

/// Most clients whose buckets are remembered. Beyond them nothing is counted.
const CLIENTS_MAX: usize = 10_000;
/// Shortest time between two searches for full buckets: each search looks at all of them.
const SWEEP_REST: Duration = Duration::from_secs(1);

/// Which addresses count as one client. Every IPv4 address is one client. An IPv6 host has a whole
/// prefix, and could use each of its addresses once, so the prefix is one client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AddressGroups {
    ipv6_prefix_bits: u8,
}

impl AddressGroups {
    /// With IPv6 prefixes of this many bits.
    #[must_use]
    pub fn new(ipv6_prefix_bits: u8) -> Self {
        Self { ipv6_prefix_bits }
    }

    /// The address that stands for the client.
    #[must_use]
    pub fn client(self, ip: IpAddr) -> IpAddr {
        let IpAddr::V6(v6) = ip else {
            return ip;
        };
        let host_bits = 128u32.saturating_sub(u32::from(self.ipv6_prefix_bits));
        let mask = u128::MAX.checked_shl(host_bits).unwrap_or(0);
        Ipv6Addr::from_bits(v6.to_bits() & mask).into()
    }
}

/// How often a client may do something. 0 is no limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Allowance {
    /// In the long run.
    pub per_second: u32,
    /// At once.
    pub burst: u32,
    /// Whether it applies to loopback addresses, which are this host's own tools and proxies.
    pub holds_for_loopback: bool,
}

/// How much each client has used of its allowance.
#[derive(Debug)]
pub struct AddressBudget {
    /// As a metric's label.
    name: &'static str,
    unmetered: &'static str,
    allowance: Allowance,
    groups: AddressGroups,
    by_client: DashMap<IpAddr, TokenBucket>,
    swept_at: Mutex<Option<Instant>>,
}

impl AddressBudget {
    /// A budget that nobody has used yet. Addresses that are let through because those in use fill
    /// the budget's memory are counted in `unmetered`, a metric with the label `budget`.
    #[must_use]
    pub fn new(
        name: &'static str,
        unmetered: &'static str,
        allowance: Allowance,
        groups: AddressGroups,
    ) -> Self {
        Self {
            name,
            unmetered,
            allowance,
            groups,
            by_client: DashMap::new(),
            swept_at: Mutex::default(),
        }
    }

    fn is_exempt(&self, ip: IpAddr) -> bool {
        let Allowance {
            per_second,
            burst,
            holds_for_loopback,
        } = self.allowance;
        per_second == 0 || burst == 0 || (ip.is_loopback() && !holds_for_loopback)
    }

    /// Whether the client has used up its allowance.
    #[must_use]
    pub fn is_spent(&self, ip: IpAddr, now: Instant) -> bool {
        !self.is_exempt(ip)
            && self
                .by_client
                .get(&self.groups.client(ip))
                .is_some_and(|bucket| bucket.next_at(now) > now)
    }

    /// Uses one unit of the client's allowance; false if there is none.
    pub fn take(&self, ip: IpAddr, now: Instant) -> bool {
        if self.is_exempt(ip) {
            return true;
        }
        let client = self.groups.client(ip);
        let is_known = self.by_client.contains_key(&client);
        if !is_known && self.by_client.len() >= CLIENTS_MAX && !self.sweep(now) {
            counter!(self.unmetered, "budget" => self.name).increment(1);
            return true;
        }
        let Allowance {
            per_second, burst, ..
        } = self.allowance;
        self.by_client
            .entry(client)
            .or_insert_with(|| TokenBucket::new(per_second, burst, now))
            .take(1, now)
    }

    /// Forgets the clients whose buckets are full again, and returns whether there is room now.
    fn sweep(&self, now: Instant) -> bool {
        let Ok(mut swept_at) = self.swept_at.try_lock() else {
            return false;
        };
        if swept_at.is_some_and(|at| now < at + SWEEP_REST) {
            return false;
        }
        *swept_at = Some(now);
        self.by_client.retain(|_, bucket| !bucket.is_full(now));
        self.by_client.len() < CLIENTS_MAX
    }

    /// How many clients are remembered.
    #[cfg(test)]
    fn client_count(&self) -> usize {
        self.by_client.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("address")
    }

    fn budget(burst: u32, holds_for_loopback: bool) -> AddressBudget {
        let allowance = Allowance {
            per_second: 1,
            burst,
            holds_for_loopback,
        };
        AddressBudget::new(
            "test",
            "service_unmetered_total",
            allowance,
            AddressGroups::new(64),
        )
    }

    #[test]
    fn an_ipv6_prefix_is_one_client_and_an_ipv4_address_is_one() {
        for (bits, address, client) in [
            (64, "2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
            (48, "2001:db8:1:2:3:4:5:6", "2001:db8:1::"),
            (128, "2001:db8::1", "2001:db8::1"),
            (0, "2001:db8::1", "::"),
            (64, "203.0.113.9", "203.0.113.9"),
        ] {
            assert_eq!(AddressGroups::new(bits).client(ip(address)), ip(client));
        }
        let (budget, now) = (budget(2, true), Instant::now());
        assert!(budget.take(ip("2001:db8::1"), now));
        assert!(budget.take(ip("2001:db8::ffff:2"), now));
        assert!(!budget.take(ip("2001:db8::3"), now));
        assert!(budget.take(ip("2001:db8:0:1::3"), now));
    }

    #[test]
    fn a_client_that_has_spent_its_allowance_waits_and_others_do_not() {
        let (budget, start) = (budget(3, true), Instant::now());
        let (bad, good) = (ip("1.1.1.1"), ip("1.1.1.2"));
        for _ in 0..3 {
            assert!(!budget.is_spent(bad, start));
            assert!(budget.take(bad, start));
        }
        assert!(budget.is_spent(bad, start) && !budget.take(bad, start));
        assert!(!budget.is_spent(good, start) && budget.take(good, start));
        let later = start + Duration::from_secs(1);
        assert!(!budget.is_spent(bad, later) && budget.take(bad, later));
        assert!(budget.is_spent(bad, later));
    }

    #[test]
    fn loopback_is_limited_only_where_the_allowance_says_so_and_no_allowance_limits_nobody() {
        let now = Instant::now();
        for (burst, holds_for_loopback, expected) in
            [(2, false, false), (0, true, false), (2, true, true)]
        {
            let budget = budget(burst, holds_for_loopback);
            for _ in 0..100 {
                budget.take(ip("127.0.0.1"), now);
            }
            assert_eq!(budget.is_spent(ip("127.0.0.1"), now), expected);
        }
    }

    #[test]
    fn clients_are_bounded_and_those_with_a_full_bucket_are_forgotten() {
        let (budget, start) = (budget(60, true), Instant::now());
        let ip = |number: usize| IpAddr::from(u32::try_from(number).expect("small").to_be_bytes());
        for number in 0..=CLIENTS_MAX {
            assert!(budget.take(ip(number), start));
        }
        assert_eq!(budget.client_count(), CLIENTS_MAX);
        // The next look at all of them has to wait for its time.
        assert!(!budget.sweep(start + SWEEP_REST / 2));
        budget.take(ip(CLIENTS_MAX + 1), start + 2 * SWEEP_REST);
        assert_eq!(budget.client_count(), 1);
    }
}
