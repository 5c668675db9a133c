//! The numbers of sessions, for the fleet.

use std::sync::atomic::{AtomicUsize, Ordering};

/// The number of sessions of each shard.
#[derive(Debug)]
pub(crate) struct SessionCounts(Vec<AtomicUsize>);

impl SessionCounts {
    /// No sessions in this many shards.
    #[must_use]
    pub(crate) fn new(shards: usize) -> Self {
        Self((0..shards).map(|_| AtomicUsize::new(0)).collect())
    }

    /// Sets a shard's.
    pub(crate) fn set(&self, shard: usize, sessions: usize) {
        self.0[shard].store(sessions, Ordering::Relaxed);
    }

    /// Of each shard.
    pub(crate) fn by_shard(&self) -> Vec<usize> {
        let load = |shard: &AtomicUsize| shard.load(Ordering::Relaxed);
        self.0.iter().map(load).collect()
    }
}
