//! The limits of sessions and messages.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dashmap::DashMap;

use super::AddressGroups;

/// Sessions of one client address unless configured.
pub(crate) const SESSIONS_PER_IP_DEFAULT: usize = 1_000;
/// Open files besides sessions: listeners, the bus, the admin side, connections that open or close.
const FILES_RESERVED: usize = 256;
/// Connections besides sessions: in their handshake, closing, or loading the page.
const CONNECTIONS_EXTRA: usize = 1_024;
/// Connections of one address besides its sessions.
const CONNECTIONS_PER_IP_EXTRA: usize = 64;

/// The open-files limit of this process, if the system reports it.
#[must_use]
pub(crate) fn open_files_max() -> Option<usize> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Why a connection or session is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Full {
    /// The gateway has reached its limit.
    Gateway,
    /// The address has reached its limit.
    Address,
}

impl Full {
    /// As a metric's label.
    #[must_use]
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Gateway => "sessions_max",
            Self::Address => "sessions_per_ip",
        }
    }
}

/// How many sessions there may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LimitsConfig {
    /// At once.
    pub sessions_max: usize,
    /// Of one client address; 0 is no limit.
    pub sessions_per_ip: Option<usize>,
    /// Which addresses are one client.
    pub groups: AddressGroups,
}

/// Counts connections and sessions, and compares them with the limits.
#[derive(Debug)]
pub(crate) struct Limits {
    connections: Count,
    sessions: Count,
    /// Sessions at once.
    pub sessions_max: usize,
    /// Connections at once, sessions included.
    pub connections_max: usize,
    per_ip_max: usize,
    per_ip_holds_for_loopback: bool,
    groups: AddressGroups,
}

#[derive(Debug, Default)]
struct Count {
    all: AtomicUsize,
    by_client: DashMap<IpAddr, usize>,
}

/// A counted place; freed when dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    limits: Arc<Limits>,
    ip: Option<IpAddr>,
    counted: Counted,
    /// Whether it also counts for the client.
    is_by_client: bool,
}

/// What a permit is for.
#[derive(Clone, Copy, Debug)]
enum Counted {
    Connection,
    Session,
}

impl Permit {
    /// The client; `None` for a connection of a proxy.
    #[must_use]
    pub(crate) fn ip(&self) -> Option<IpAddr> {
        self.ip
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let count = self.limits.count(self.counted);
        count.all.fetch_sub(1, Ordering::AcqRel);
        if let Some(ip) = self.ip
            && self.is_by_client
            && let dashmap::Entry::Occupied(mut entry) =
                count.by_client.entry(self.limits.groups.client(ip))
        {
            *entry.get_mut() -= 1;
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }
}

impl Limits {
    /// The limits of a configuration in a process that may open `files_max` files.
    #[must_use]
    pub(crate) fn new(config: LimitsConfig, files_max: Option<usize>) -> Self {
        let files = files_max.map_or(usize::MAX, |files| files.saturating_sub(FILES_RESERVED));
        let sessions_max = config.sessions_max.min(files.max(1));
        Self {
            connections: Count::default(),
            sessions: Count::default(),
            sessions_max,
            connections_max: sessions_max
                .saturating_add(CONNECTIONS_EXTRA)
                .min(files.max(1)),
            per_ip_max: match config.sessions_per_ip {
                None => SESSIONS_PER_IP_DEFAULT,
                Some(0) => usize::MAX,
                Some(limit) => limit,
            },
            per_ip_holds_for_loopback: config.sessions_per_ip.is_some(),
            groups: config.groups,
        }
    }

    /// How many sessions there are.
    #[cfg(test)]
    pub(crate) fn session_count(&self) -> usize {
        self.sessions.all.load(Ordering::Acquire)
    }

    /// A place for a connection. `peer` is its address, unless it is a trusted proxy, through which
    /// many clients come.
    ///
    /// # Errors
    /// Which limit is reached.
    pub(crate) fn connect(self: &Arc<Self>, peer: Option<IpAddr>) -> Result<Permit, Full> {
        let per_ip_max = self.per_ip_max.saturating_add(CONNECTIONS_PER_IP_EXTRA);
        self.take(Counted::Connection, self.connections_max, peer, per_ip_max)
    }

    /// A place for a session of a client.
    ///
    /// # Errors
    /// Which limit is reached.
    pub(crate) fn begin_session(self: &Arc<Self>, client: IpAddr) -> Result<Permit, Full> {
        self.take(
            Counted::Session,
            self.sessions_max,
            Some(client),
            self.per_ip_max,
        )
    }

    fn count(&self, counted: Counted) -> &Count {
        match counted {
            Counted::Connection => &self.connections,
            Counted::Session => &self.sessions,
        }
    }

    fn take(
        self: &Arc<Self>,
        counted: Counted,
        all_max: usize,
        ip: Option<IpAddr>,
        per_ip_max: usize,
    ) -> Result<Permit, Full> {
        let client = ip
            .filter(|ip| self.per_ip_holds_for_loopback || !ip.is_loopback())
            .map(|ip| self.groups.client(ip));
        let count = self.count(counted);
        if count.all.fetch_add(1, Ordering::AcqRel) >= all_max {
            count.all.fetch_sub(1, Ordering::AcqRel);
            return Err(Full::Gateway);
        }
        if let Some(client) = client {
            let mut of_client = count.by_client.entry(client).or_insert(0);
            if *of_client >= per_ip_max {
                drop(of_client);
                count.all.fetch_sub(1, Ordering::AcqRel);
                return Err(Full::Address);
            }
            *of_client += 1;
        }
        Ok(Permit {
            limits: Arc::clone(self),
            ip,
            counted,
            is_by_client: client.is_some(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("address")
    }

    fn config(sessions_max: usize, sessions_per_ip: Option<usize>) -> LimitsConfig {
        LimitsConfig {
            sessions_max,
            sessions_per_ip,
            groups: AddressGroups::new(64),
        }
    }

    fn limits(sessions_max: usize, sessions_per_ip: Option<usize>) -> Arc<Limits> {
        Arc::new(Limits::new(config(sessions_max, sessions_per_ip), None))
    }

    #[test]
    fn sessions_are_limited_in_all_and_by_address_and_places_are_given_back() {
        let limits = limits(3, Some(2));
        let first = limits.begin_session(ip("1.1.1.1")).expect("room");
        let _second = limits.begin_session(ip("1.1.1.1")).expect("room");
        assert_eq!(
            limits.begin_session(ip("1.1.1.1")).expect_err("full"),
            Full::Address
        );
        let _third = limits.begin_session(ip("2.2.2.2")).expect("room");
        assert_eq!(
            limits.begin_session(ip("3.3.3.3")).expect_err("full"),
            Full::Gateway
        );
        drop(first);
        assert_eq!(limits.session_count(), 2);
        let _again = limits.begin_session(ip("1.1.1.1")).expect("room");
        assert_eq!(limits.sessions.by_client.len(), 2);
    }

    #[test]
    fn loopback_is_limited_only_where_a_limit_is_configured() {
        let free = limits(10_000, None);
        let held: Vec<_> = (0..=SESSIONS_PER_IP_DEFAULT)
            .map(|_| free.begin_session(ip("127.0.0.1")))
            .collect();
        assert!(held.iter().all(Result::is_ok));
        let bound = limits(10, Some(1));
        let _first = bound.begin_session(ip("127.0.0.1")).expect("room");
        assert!(bound.begin_session(ip("127.0.0.1")).is_err());
    }

    #[test]
    fn the_addresses_of_an_ipv6_prefix_share_their_places() {
        let limits = limits(10, Some(1));
        let held = limits.begin_session(ip("2001:db8::1")).expect("room");
        assert_eq!(
            limits.begin_session(ip("2001:db8::2:1")).expect_err("full"),
            Full::Address
        );
        let _other = limits.begin_session(ip("2001:db8:0:1::1")).expect("room");
        drop(held);
        let again = limits.begin_session(ip("2001:db8::3")).expect("room");
        assert_eq!(again.ip(), Some(ip("2001:db8::3")));
    }

    #[test]
    fn open_files_bound_the_sessions() {
        let limits = Limits::new(config(20_000, None), Some(1_256));
        assert_eq!(
            (limits.sessions_max, limits.connections_max),
            (1_000, 1_000)
        );
    }
}
