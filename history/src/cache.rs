//! The newest values of each market, for programs that ask often: a cache in front of the store.
//!
//! - [`entry`](CacheEntry): what is kept, under which key, and which of two values is newer;
//! - [`Cache`]: what a cache must do. `tests/cache/` checks each implementation;
//! - [`MemoryCache`] and [`RedisCache`]: the two of them, chosen by a [`CacheAddress`];
//! - [`CacheFeed`]: takes the bars of the bus, and hands them to the cache at the cache's own pace.

mod address;
mod entry;
mod feed;
mod keys;
mod memory;
mod pending;
mod redis;

use async_trait::async_trait;
use bytes::Bytes;

pub use address::{CacheAddress, RedisUrl};
pub use entry::{CacheEntry, CacheKey, Rank, Value};
pub use feed::{CacheFeed, Wants};
pub use keys::{CacheKeys, CachePrefix, InvalidPrefix, SymbolSpelling};
pub use memory::MemoryCache;
pub use pending::PendingLimits;
pub use redis::{RedisCache, RedisOptions};

/// Why a cache did not do what was asked. No text has a password.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CacheError {
    /// It cannot be reached, or did not answer in time.
    #[error("the cache does not answer: {0}")]
    Unreachable(String),
    /// It answers that it cannot do it now: it is full, is loading, or refuses the password.
    #[error("the cache refuses: {0}")]
    Refused(String),
}

/// What became of the entries of one call.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct PutReport {
    /// Written.
    pub written: u64,
    /// Not written, because the cache has newer values.
    pub older: u64,
    /// Never to be written: something else has their key.
    pub poisoned: u64,
}

/// Keeps the newest values for a time.
#[async_trait]
pub trait Cache: Send + Sync {
    /// Writes entries that are not older than what is kept. An older tick takes its place among the
    /// ticks before the newest one. The same entries may be written again
    /// after an error: nothing doubles. Without entries, it only looks whether the cache answers.
    ///
    /// # Errors
    /// If it fails, some of the entries may be written.
    async fn put(&self, entries: &[CacheEntry]) -> Result<PutReport, CacheError>;

    /// The newest value of a key.
    ///
    /// # Errors
    /// If the cache does not answer in time.
    async fn get(&self, key: &CacheKey) -> Result<Option<Bytes>, CacheError>;

    /// The newest ticks of a market, the newest one last.
    ///
    /// # Errors
    /// As for [`Cache::get`].
    async fn ticks(&self, key: &CacheKey, limit: usize) -> Result<Vec<Bytes>, CacheError>;

    /// What it is, for a log line and a label: `memory` or `redis`.
    fn name(&self) -> &'static str;
}
