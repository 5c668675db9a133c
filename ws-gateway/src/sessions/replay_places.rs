//! How many topics the sessions of a gateway replay at once.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use metrics::{Gauge, gauge};

use crate::limits::{Beyond, Sharer, Shares, SharesConfig};

/// The places for replayed topics, which all shards share.
#[derive(Debug)]
pub(crate) struct ReplayPlaces {
    taken: Mutex<Taken>,
    places_max: usize,
    gauge: Gauge,
}

#[derive(Debug)]
struct Taken {
    count: usize,
    shares: Shares,
}

/// A place; free again when it is dropped.
#[derive(Debug)]
pub(crate) struct ReplayPlace {
    places: Arc<ReplayPlaces>,
    sharer: Sharer,
}

/// Why there is no place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum NoPlace {
    /// A share of the client is used up.
    Beyond(Beyond),
    /// All places of the gateway are taken, and how many there are.
    Gateway(usize),
}

impl ReplayPlaces {
    /// So many places.
    #[must_use]
    pub(crate) fn new(places_max: usize, shares: SharesConfig) -> Self {
        Self {
            taken: Mutex::new(Taken {
                count: 0,
                shares: Shares::new(shares),
            }),
            places_max,
            gauge: gauge!("gateway_replays"),
        }
    }

    /// Takes a place.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) fn take(self: &Arc<Self>, sharer: Sharer) -> Result<ReplayPlace, NoPlace> {
        let mut taken = self.taken();
        // A client is told of its own share first: it can do something about it.
        let free = self.places_max.saturating_sub(taken.count);
        let shared = taken.shares.take(sharer, free);
        shared.map_err(NoPlace::Beyond)?;
        if taken.count >= self.places_max {
            taken.shares.give_back(sharer);
            return Err(NoPlace::Gateway(self.places_max));
        }
        taken.count += 1;
        drop(taken);
        self.gauge.increment(1.0);
        Ok(ReplayPlace {
            places: Arc::clone(self),
            sharer,
        })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ReplayPlace {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        taken.count = taken.count.saturating_sub(1);
        taken.shares.give_back(self.sharer);
        drop(taken);
        self.places.gauge.decrement(1.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::AddressGroups;

    fn places(places_max: usize) -> Arc<ReplayPlaces> {
        let shares = SharesConfig {
            per_session: 2,
            per_ip: 3,
            holds_for_loopback: false,
            groups: AddressGroups::new(64),
        };
        Arc::new(ReplayPlaces::new(places_max, shares))
    }

    fn sharer(session: u64, ip: &str) -> Sharer {
        Sharer {
            session: (0, session),
            ip: Some(ip.parse().expect("an address")),
        }
    }

    #[test]
    fn a_place_is_free_again_once_it_is_dropped() {
        let places = places(2);
        let [one, other, third] = [1, 2, 3].map(|number| sharer(number, "127.0.0.1"));
        let held = [places.take(one), places.take(other)];
        assert!(held.iter().all(Result::is_ok));
        // A refused session has lost nothing of its share.
        for _ in 0..3 {
            assert_eq!(places.take(third).err(), Some(NoPlace::Gateway(2)));
        }
        drop(held);
        let held = [places.take(third), places.take(third)];
        assert!(held.iter().all(Result::is_ok));
        drop(held);
        let taken = places.taken();
        assert_eq!((taken.count, taken.shares.len()), (0, (0, 0)));
    }

    #[test]
    fn a_session_and_an_address_take_no_more_places_than_their_shares() {
        let places = places(10);
        let [one, other] = [sharer(1, "2001:db8::1"), sharer(2, "2001:db8::2")];
        let mut held = vec![places.take(one), places.take(one)];
        let beyond = |beyond| Some(NoPlace::Beyond(beyond));
        assert_eq!(places.take(one).err(), beyond(Beyond::Session(2)));
        held.push(places.take(other));
        assert_eq!(places.take(other).err(), beyond(Beyond::Address(3)));
        held.push(places.take(sharer(3, "2001:db8:0:1::1")));
        assert!(held.iter().all(Result::is_ok));
    }
}
