//! How many of something that all clients share each session and each address may have.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;

use super::AddressGroups;

/// The most of one client.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SharesConfig {
    /// Of a session.
    pub per_session: usize,
    /// Of a client address. 0 is no limit.
    pub per_ip: usize,
    /// Whether it holds for loopback addresses.
    pub holds_for_loopback: bool,
    /// Which addresses are one client.
    pub groups: AddressGroups,
}

/// Whose share something is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Sharer {
    /// A number that no other session of the process has at the same time.
    pub session: (usize, u64),
    /// Its address, if it is known.
    pub ip: Option<IpAddr>,
}

/// Whose share is used up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Beyond {
    /// That of the session, and how much it is.
    Session(usize),
    /// That of the address, and how much it is.
    Address(usize),
}

impl Beyond {
    /// The label of refusals, whose share it is, and how much that is.
    #[must_use]
    pub(crate) fn told(self) -> (&'static str, &'static str, usize) {
        match self {
            Self::Session(most) => ("session", "a session", most),
            Self::Address(most) => ("address", "an address", most),
        }
    }
}

/// What each client has. It has no entry for a client without anything.
#[derive(Debug)]
pub(crate) struct Shares {
    config: SharesConfig,
    by_session: HashMap<(usize, u64), usize>,
    by_address: HashMap<IpAddr, usize>,
}

impl Shares {
    /// Nobody has anything.
    #[must_use]
    pub(crate) fn new(config: SharesConfig) -> Self {
        Self {
            config,
            by_session: HashMap::new(),
            by_address: HashMap::new(),
        }
    }

    /// A client takes one of those that are free for all clients.
    ///
    /// An address may have as many as are free, and one in any case. So a single address gets at most
    /// half of all, and each further one that takes all that it can at most half of what is left: a
    /// dozen addresses leave one of 4,000, and the next one takes it. Against more addresses than that
    /// only the limits of connections help.
    ///
    /// # Errors
    /// Whose share is used up.
    pub(crate) fn take(&mut self, sharer: Sharer, free: usize) -> Result<(), Beyond> {
        self.take_some(sharer, 1, free)
    }

    /// A client takes so many at once: as [`Self::take`].
    ///
    /// # Errors
    /// Whose share is used up.
    pub(crate) fn take_some(
        &mut self,
        sharer: Sharer,
        count: usize,
        free: usize,
    ) -> Result<(), Beyond> {
        let address = self.address(sharer);
        let SharesConfig {
            per_session,
            per_ip,
            ..
        } = self.config;
        if held(&self.by_session, &sharer.session).saturating_add(count) > per_session {
            return Err(Beyond::Session(per_session));
        }
        let of_address = per_ip.min(free.max(count));
        let with_it = |address: IpAddr| held(&self.by_address, &address).saturating_add(count);
        if address.is_some_and(|address| with_it(address) > of_address) {
            return Err(Beyond::Address(of_address));
        }
        *self.by_session.entry(sharer.session).or_default() += count;
        if let Some(address) = address {
            *self.by_address.entry(address).or_default() += count;
        }
        Ok(())
    }

    /// A client has one less.
    pub(crate) fn give_back(&mut self, sharer: Sharer) {
        self.give_back_some(sharer, 1);
    }

    /// A client has so many less.
    pub(crate) fn give_back_some(&mut self, sharer: Sharer, count: usize) {
        drop_some(&mut self.by_session, &sharer.session, count);
        if let Some(address) = self.address(sharer) {
            drop_some(&mut self.by_address, &address, count);
        }
    }

    /// How many sessions and addresses have something.
    #[cfg(test)]
    pub(crate) fn len(&self) -> (usize, usize) {
        (self.by_session.len(), self.by_address.len())
    }

    /// The address that counts; `None` if no limit holds for it.
    fn address(&self, sharer: Sharer) -> Option<IpAddr> {
        let SharesConfig {
            per_ip,
            holds_for_loopback,
            groups,
            ..
        } = self.config;
        let ip = sharer.ip.filter(|_| per_ip > 0)?;
        (holds_for_loopback || !ip.is_loopback()).then(|| groups.client(ip))
    }
}

fn held<K: Hash + Eq>(counts: &HashMap<K, usize>, key: &K) -> usize {
    counts.get(key).copied().unwrap_or(0)
}

fn drop_some<K: Hash + Eq>(counts: &mut HashMap<K, usize>, key: &K, fewer: usize) {
    if let Some(count) = counts.get_mut(key) {
        *count = count.saturating_sub(fewer);
        if *count == 0 {
            counts.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sharer(session: u64, ip: &str) -> Sharer {
        Sharer {
            session: (0, session),
            ip: Some(ip.parse().expect("an address")),
        }
    }

    fn shares(per_session: usize, per_ip: usize, holds_for_loopback: bool) -> Shares {
        Shares::new(SharesConfig {
            per_session,
            per_ip,
            holds_for_loopback,
            groups: AddressGroups::new(64),
        })
    }

    #[test]
    fn sessions_and_addresses_have_their_shares_and_leave_no_trace() {
        let mut shares = shares(2, 3, false);
        let [first, second] = [sharer(1, "2001:db8::1"), sharer(2, "2001:db8::2")];
        assert_eq!(
            (
                shares.take(first, usize::MAX),
                shares.take(first, usize::MAX)
            ),
            (Ok(()), Ok(()))
        );
        assert_eq!(shares.take(first, usize::MAX), Err(Beyond::Session(2)));
        assert_eq!(shares.take(second, usize::MAX), Ok(()));
        assert_eq!(shares.take(second, usize::MAX), Err(Beyond::Address(3)));
        assert_eq!(
            shares.take(sharer(3, "2001:db8:0:1::1"), usize::MAX),
            Ok(())
        );
        shares.give_back(first);
        assert_eq!(shares.take(second, usize::MAX), Ok(()));
        for one in [first, second, second, sharer(3, "2001:db8:0:1::1")] {
            shares.give_back(one);
        }
        assert_eq!(shares.len(), (0, 0));
    }

    #[test]
    fn each_address_that_takes_all_leaves_half_for_the_next_one() {
        let all = 4_000;
        let mut shares = shares(all, 1_000, false);
        let mut taken = 0;
        let mut take_all = |shares: &mut Shares, number: usize| {
            let sharer = sharer(number as u64, &format!("10.0.0.{number}"));
            let before = taken;
            while shares.take(sharer, all - taken).is_ok() {
                taken += 1;
            }
            taken - before
        };
        let takes: Vec<usize> = (1..=6)
            .map(|number| take_all(&mut shares, number))
            .collect();
        assert_eq!(takes, [1_000, 1_000, 1_000, 500, 250, 125]);
        // One of the last.
        assert_eq!(shares.take(sharer(9, "10.0.0.9"), 0), Ok(()));
        let beyond = shares.take(sharer(9, "10.0.0.9"), 0);
        assert_eq!(beyond, Err(Beyond::Address(1)));
    }

    #[test]
    fn several_are_taken_and_given_back_at_once() {
        let mut shares = shares(10, 15, false);
        let [first, second] = [sharer(1, "10.0.0.1"), sharer(2, "10.0.0.1")];
        assert_eq!(shares.take_some(first, 8, 100), Ok(()));
        assert_eq!(shares.take_some(first, 3, 100), Err(Beyond::Session(10)));
        assert_eq!(shares.take_some(second, 8, 100), Err(Beyond::Address(15)));
        assert_eq!(shares.take_some(second, 7, 10), Err(Beyond::Address(10)));
        assert_eq!(shares.take_some(second, 7, 100), Ok(()));
        shares.give_back_some(first, 8);
        shares.give_back_some(second, 7);
        assert_eq!(shares.len(), (0, 0));
    }

    #[test]
    fn an_address_is_limited_only_where_a_limit_holds() {
        for (mut shares, ip) in [
            (shares(1, 1, false), "127.0.0.1"),
            (shares(1, 0, true), "1.1.1.1"),
        ] {
            assert!((0..10).all(|session| shares.take(sharer(session, ip), usize::MAX).is_ok()));
        }
        let mut shares = shares(1, 1, true);
        assert_eq!(shares.take(sharer(1, "127.0.0.1"), usize::MAX), Ok(()));
        let second = shares.take(sharer(2, "127.0.0.1"), usize::MAX);
        assert_eq!(second, Err(Beyond::Address(1)));
    }
}
