//! The cache, and its bounds.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use crate::cache::{
    Cache, CacheAddress, CacheError, CacheFeed, CacheKeys, CachePrefix, MemoryCache, PendingLimits,
    RedisCache, RedisOptions, SymbolSpelling, Wants,
};

/// Where the newest values are cached, and how many of them.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct CacheConfig {
    /// The cache of the newest prices, bars and books: memory:, none, or redis://host:port/database. Put user:password@ before the host
    // Neither the help nor a parse error may show the password in the environment.
    #[arg(
        long,
        env = "KLINECAST_CACHE",
        hide_env_values = true,
        default_value = "memory:",
        value_name = "ADDRESS"
    )]
    pub cache: CacheAddress,

    /// How long the cache keeps a value after it was written, s
    #[arg(long, env = "KLINECAST_CACHE_TTL_S", default_value_t = Self::default().cache_ttl_s, value_parser = clap::value_parser!(u32).range(1..), value_name = "SECONDS")]
    pub cache_ttl_s: u32,

    /// Most ticks of each market in a Redis, the newest ones
    #[arg(long, env = "KLINECAST_CACHE_TICKS_MAX", default_value_t = Self::default().cache_ticks_max, value_parser = clap::value_parser!(u32).range(1..=100_000), value_name = "COUNT")]
    pub cache_ticks_max: u32,

    /// Most values, and most ticks before the newest ones, that wait for the cache while it is slow or away; beyond it the oldest are dropped and counted
    #[arg(long, env = "KLINECAST_CACHE_PENDING_MAX", default_value_t = Self::default().cache_pending_max, value_name = "COUNT")]
    pub cache_pending_max: usize,

    /// Most bytes of the cache memory:, where what was written longest ago is forgotten; and of what waits for a cache, where the oldest ticks are dropped and counted
    #[arg(long, env = "KLINECAST_CACHE_BYTES_MAX", default_value_t = Self::default().cache_bytes_max, value_name = "BYTES")]
    pub cache_bytes_max: usize,

    /// How long a connection to the cache, or an answer of it, may take, ms; then the store answers
    #[arg(long, env = "KLINECAST_CACHE_TIMEOUT_MS", default_value_t = Self::default().cache_timeout_ms, value_parser = clap::value_parser!(u32).range(1..), value_name = "MS")]
    pub cache_timeout_ms: u32,

    /// What the names of the cache's keys begin with: fleets with one Redis need one each. Use simulated:market_data beside a simulated feed
    #[arg(long, env = "KLINECAST_CACHE_PREFIX", default_value_t = Self::default().cache_prefix, value_name = "TEXT")]
    pub cache_prefix: CachePrefix,

    /// How the names of the cache's keys write symbols: dashed (BTC-USDT) or joined (BTCUSDT)
    #[arg(long, env = "KLINECAST_CACHE_SYMBOLS", value_enum, default_value_t = Self::default().cache_symbols)]
    pub cache_symbols: SymbolSpelling,
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self {
            cache: CacheAddress::Memory,
            cache_ttl_s: 3_600,
            cache_ticks_max: 1_000,
            cache_pending_max: 100_000,
            cache_bytes_max: 64 << 20,
            cache_timeout_ms: 250,
            cache_prefix: CachePrefix::default(),
            cache_symbols: SymbolSpelling::Dashed,
        }
    }
}

impl CacheConfig {
    /// The feed of the configured cache. A server need not be there yet.
    ///
    /// # Errors
    /// If the address is none.
    pub(crate) fn feed(&self, is_simulated: bool) -> Result<CacheFeed, CacheError> {
        let ttl = Duration::from_secs(self.cache_ttl_s.into());
        let ticks_max = self.cache_ticks_max as usize;
        let (cache, wants): (Option<Arc<dyn Cache>>, Wants) = match &self.cache {
            CacheAddress::None => (None, Wants::Ticks),
            // Only the newest price is asked there.
            CacheAddress::Memory => {
                let cache = MemoryCache::new(ttl, 1, self.cache_bytes_max);
                (Some(Arc::new(cache)), Wants::Ticks)
            }
            CacheAddress::Redis(url) => {
                let options = RedisOptions {
                    keys: CacheKeys {
                        prefix: self.cache_prefix.clone(),
                        symbols: self.cache_symbols,
                        is_simulated,
                    },
                    ttl,
                    ticks_max,
                    timeout: Duration::from_millis(self.cache_timeout_ms.into()),
                };
                (Some(Arc::new(RedisCache::new(url, options)?)), Wants::All)
            }
            CacheAddress::Invalid => {
                let text = "--cache is not known: write memory:, none or redis://host:port";
                return Err(CacheError::Refused(text.to_owned()));
            }
        };
        let limits = PendingLimits {
            entries_max: self.cache_pending_max,
            bytes_max: self.cache_bytes_max,
            has_tick_history: wants == Wants::All,
        };
        Ok(CacheFeed::new(cache, wants, limits))
    }
}
