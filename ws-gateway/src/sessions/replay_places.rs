//! How many topics the sessions of a gateway replay at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use metrics::{Gauge, gauge};

/// The places for replayed topics, which all shards share.
#[derive(Debug)]
pub(crate) struct ReplayPlaces {
    taken: AtomicUsize,
    places_max: usize,
    gauge: Gauge,
}

/// A place; free again when it is dropped.
#[derive(Debug)]
pub(crate) struct ReplayPlace(Arc<ReplayPlaces>);

impl ReplayPlaces {
    /// So many places.
    #[must_use]
    pub(crate) fn new(places_max: usize) -> Self {
        Self {
            taken: AtomicUsize::new(0),
            places_max,
            gauge: gauge!("gateway_replays"),
        }
    }

    /// How many places there are, free or not.
    #[must_use]
    pub(crate) fn places_max(&self) -> usize {
        self.places_max
    }

    /// Takes a place; `None` if none is free.
    #[must_use]
    pub(crate) fn take(self: &Arc<Self>) -> Option<ReplayPlace> {
        let one_more = |taken: usize| (taken < self.places_max).then_some(taken + 1);
        self.taken
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more)
            .ok()?;
        self.gauge.increment(1.0);
        Some(ReplayPlace(Arc::clone(self)))
    }
}

impl Drop for ReplayPlace {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::AcqRel);
        self.0.gauge.decrement(1.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_free_again_once_it_is_dropped() {
        let places = Arc::new(ReplayPlaces::new(2));
        let held = [places.take(), places.take()];
        assert!(held.iter().all(Option::is_some) && places.take().is_none());
        drop(held);
        assert!(places.take().is_some());
        assert!(Arc::new(ReplayPlaces::new(0)).take().is_none());
    }
}
