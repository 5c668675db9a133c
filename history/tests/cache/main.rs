//! What every cache must do, and what the program survives when its cache does not.

mod faults;
mod others;
mod program;
mod suite;

use std::sync::Arc;
use std::time::Duration;

use history::cache::{
    Cache, CacheAddress, CacheEntry, CacheKey, CacheKeys, MemoryCache, Rank, RedisCache,
    RedisOptions, RedisUrl, Value,
};
use testkit::redis::RedisServer;

const TICKS_MAX: usize = 1_000;
const TTL: Duration = Duration::from_secs(3_600);

/// A cache of which two may share what is kept.
pub(crate) trait Subject {
    fn open(&self) -> Arc<dyn Cache>;
}

struct Memory(Arc<MemoryCache>);

impl Memory {
    fn start() -> Option<Self> {
        let cache = MemoryCache::new(TTL, TICKS_MAX, 64 << 20);
        Some(Self(Arc::new(cache)))
    }
}

impl Subject for Memory {
    fn open(&self) -> Arc<dyn Cache> {
        self.0.clone()
    }
}

struct Redis(RedisServer);

impl Redis {
    fn start() -> Option<Self> {
        RedisServer::start(&[]).map(Self)
    }
}

impl Subject for Redis {
    fn open(&self) -> Arc<dyn Cache> {
        Arc::new(redis(&self.0.url()))
    }
}

/// A cache at a URL.
pub(crate) fn redis(url: &str) -> RedisCache {
    let options = RedisOptions {
        keys: CacheKeys::default(),
        ttl: TTL,
        ticks_max: TICKS_MAX,
        timeout: Duration::from_millis(500),
    };
    RedisCache::new(&redis_url(url), options).expect("a URL")
}

fn redis_url(url: &str) -> RedisUrl {
    match url.parse() {
        Ok(CacheAddress::Redis(url)) => url,
        _ => panic!("{url} is none of redis"),
    }
}

pub(crate) fn key(pair: &str, value: Value) -> CacheKey {
    CacheKey {
        exchange: "binance".into(),
        pair: pair.into(),
        value,
    }
}

/// An entry whose bytes are its rank.
pub(crate) fn entry(pair: &str, value: Value, rank: u64) -> CacheEntry {
    CacheEntry {
        key: key(pair, value),
        rank: Rank::new([rank, 0, 0, 0, 7]),
        event_ms: rank.cast_signed(),
        bytes: rank.to_string().into(),
    }
}

/// One test for each behaviour and implementation.
macro_rules! contract {
    ($implementation:ident, $subject:ident, $($behaviour:ident),+ $(,)?) => {
        mod $implementation {
            $(
                #[tokio::test]
                async fn $behaviour() {
                    if let Some(subject) = crate::$subject::start() {
                        crate::suite::$behaviour(&subject).await;
                    }
                }
            )+
        }
    };
}

macro_rules! all {
    ($($implementation:ident $subject:ident),+) => {
        $(
            contract!(
                $implementation,
                $subject,
                a_value_is_read_as_it_was_written,
                an_older_value_does_not_replace_a_newer_one_in_whatever_order_they_come,
                the_same_entries_again_change_nothing,
                the_newest_ticks_are_kept_in_their_order,
                a_late_tick_takes_its_place_among_the_others,
                a_cache_equals_its_model_after_any_writes,
                writers_at_once_leave_the_newest_value,
            );
        )+
    };
}

all!(memory Memory, redis_server Redis);
