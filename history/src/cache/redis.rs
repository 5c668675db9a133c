//! The cache on a Redis server.
//!
//! One connection serves all calls, and only [`Cache::put`] makes it: while the server is away,
//! readers learn so at once and ask the store. A script guards each value against older ones.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::{AsyncConnectionConfig, Client, FromRedisValue, RedisError};
use async_trait::async_trait;
use bytes::Bytes;

use super::address::RedisUrl;
use super::entry::{CacheEntry, CacheKey, Value};
use super::keys::CacheKeys;
use super::{Cache, CacheError, PutReport};

/// Entries of one call of the script, which holds up all other commands of the server.
const CALL_ENTRIES: usize = 64;
/// Calls that are sent before the first one is answered. Their answers have the time of one.
const CALLS: usize = 4;
/// The longest value that is read: a bar, and any message of the bus. Others can write there, too.
const BAR_BYTES_MAX: usize = 1 << 16;
const BOOK_BYTES_MAX: usize = 1 << 20;

/// Keys: value, rank and ticks of each entry. Arguments: the lifetime in seconds, the most ticks, and
/// rank, bytes and event time of each entry; no event time for values that are no ticks. It returns
/// how many were written, older, and not to be written because something else has one of the keys:
/// it looks at all three before it writes. A tick that is older than the newest one takes its place
/// among the ticks before it, if that place is free.
const PUT: &str = r"
local ttl, most = ARGV[1], tonumber(ARGV[2])
local written, older, poisoned = 0, 0, 0
local function is_of(key, wanted)
  local kind = redis.call('TYPE', key).ok
  return kind == 'none' or kind == wanted
end
for i = 1, #KEYS / 3 do
  local value, rank, ticks = KEYS[3 * i - 2], KEYS[3 * i - 1], KEYS[3 * i]
  local new, bytes, at = ARGV[3 * i], ARGV[3 * i + 1], ARGV[3 * i + 2]
  local is_tick = at ~= ''
  local old = false
  local is_ours = is_of(value, 'string') and is_of(rank, 'string')
    and (not is_tick or is_of(ticks, 'zset'))
  if is_ours then
    old = redis.call('GET', rank)
    is_ours = not old or #old == #new
  end
  if not is_ours then
    poisoned = poisoned + 1
  else
    local is_older = old and old > new
    if is_older then
      older = older + 1
    else
      redis.call('SET', value, bytes, 'EX', ttl)
      redis.call('SET', rank, new, 'EX', ttl)
      written = written + 1
    end
    if is_tick and not (is_older and redis.call('ZCOUNT', ticks, at, at) > 0) then
      redis.call('ZREMRANGEBYSCORE', ticks, at, at)
      redis.call('ZADD', ticks, at, bytes)
      redis.call('ZREMRANGEBYRANK', ticks, 0, -most - 1)
      redis.call('EXPIRE', ticks, ttl)
    end
  end
end
return {written, older, poisoned}
";

/// How a cache on Redis is used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RedisOptions {
    /// The names of keys.
    pub keys: CacheKeys,
    /// How long a value is kept after it was written; at least a second.
    pub ttl: Duration,
    /// The most ticks of each market.
    pub ticks_max: usize,
    /// How long a connection or an answer may take.
    pub timeout: Duration,
}

/// See the module.
pub struct RedisCache {
    client: Client,
    options: RedisOptions,
    connection: Mutex<Option<Connection>>,
}

/// A connection, with a number by which it is known.
#[derive(Clone)]
struct Connection {
    number: u64,
    redis: MultiplexedConnection,
}

impl std::fmt::Debug for RedisCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisCache").finish_non_exhaustive()
    }
}

impl RedisCache {
    /// A cache that is not connected yet.
    ///
    /// # Errors
    /// If no server can have this URL. The text does not have it.
    pub fn new(url: &RedisUrl, options: RedisOptions) -> Result<Self, CacheError> {
        let client = Client::open(url.secret());
        Ok(Self {
            client: client.map_err(|_| {
                CacheError::Refused("the URL of the cache cannot be read".to_owned())
            })?,
            options,
            connection: Mutex::default(),
        })
    }

    fn current(&self) -> Option<Connection> {
        // Each change is one assignment.
        let connection = self.connection.lock();
        connection.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, connection: Option<Connection>) {
        let mut current = self.connection.lock();
        *current.as_deref_mut().unwrap_or(&mut None) = connection;
    }

    /// The connection, or a new one.
    async fn connect(&self) -> Result<Connection, CacheError> {
        if let Some(connection) = self.current() {
            return Ok(connection);
        }
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.options.timeout))
            .set_response_timeout(Some(self.options.timeout));
        let connected = self
            .client
            .get_multiplexed_async_connection_with_config(&config);
        // The library's own limit does not count the answers to the first commands.
        let connected = tokio::time::timeout(self.options.timeout * 2, connected).await;
        let redis = connected
            .map_err(|_| CacheError::Unreachable("no answer to the first commands".to_owned()))?
            .map_err(|error| told(&error))?;
        let connection = Connection {
            number: rand::random(),
            redis,
        };
        self.set(Some(connection.clone()));
        Ok(connection)
    }

    /// Gives up a connection, unless it is replaced already.
    fn give_up(&self, number: u64) {
        let current = self.current();
        if current.is_some_and(|current| current.number == number) {
            self.set(None);
        }
    }

    /// Asks for a value. A connection that does not answer is given up. A key of another type has
    /// no value.
    async fn ask<T: FromRedisValue>(
        &self,
        mut connection: Connection,
        command: &::redis::Cmd,
    ) -> Result<Option<T>, CacheError> {
        match command.query_async(&mut connection.redis).await {
            Ok(answer) => Ok(Some(answer)),
            Err(error) if error.code() == Some("WRONGTYPE") => Ok(None),
            Err(error) => {
                let error = told(&error);
                if matches!(error, CacheError::Unreachable(_)) {
                    self.give_up(connection.number);
                }
                Err(error)
            }
        }
    }

    /// Writes. Whatever the error, the connection is given up: a server that became the replica of
    /// another one keeps its connections, and refuses writes for ever.
    async fn tell<T: FromRedisValue>(
        &self,
        mut connection: Connection,
        commands: &::redis::Pipeline,
    ) -> Result<T, CacheError> {
        let answer = commands.query_async(&mut connection.redis).await;
        answer.map_err(|error: RedisError| {
            self.give_up(connection.number);
            told(&error)
        })
    }

    fn connected(&self) -> Result<Connection, CacheError> {
        self.current()
            .ok_or_else(|| CacheError::Unreachable("not connected".to_owned()))
    }

    fn put_command(&self, entries: &[CacheEntry]) -> ::redis::Cmd {
        let RedisOptions {
            keys,
            ttl,
            ticks_max,
            ..
        } = &self.options;
        let mut command = ::redis::cmd("EVAL");
        command.arg(PUT).arg(entries.len() * 3);
        for CacheEntry { key, .. } in entries {
            let names = [keys.value(key), keys.rank(key), keys.ticks(key)];
            command.arg(&names[..]);
        }
        command.arg(ttl.as_secs().max(1)).arg((*ticks_max).max(1));
        for entry in entries {
            command.arg(entry.rank.text()).arg(&entry.bytes[..]);
            match entry.key.value {
                Value::Tick => command.arg(entry.event_ms),
                _ => command.arg(""),
            };
        }
        command
    }
}

/// The error without what was sent.
fn told(error: &RedisError) -> CacheError {
    let is_refused = error.kind() == ::redis::ErrorKind::AuthenticationFailed;
    match !is_refused && error.is_unrecoverable_error() || error.is_timeout() {
        true => CacheError::Unreachable(error.to_string()),
        false => CacheError::Refused(error.to_string()),
    }
}

#[async_trait]
impl Cache for RedisCache {
    async fn put(&self, entries: &[CacheEntry]) -> Result<PutReport, CacheError> {
        let connection = self.connect().await?;
        if entries.is_empty() {
            let mut ping = ::redis::pipe();
            let () = self.tell(connection, ping.cmd("PING").ignore()).await?;
            return Ok(PutReport::default());
        }
        let mut report = PutReport::default();
        for entries in entries.chunks(CALL_ENTRIES * CALLS) {
            let mut calls = ::redis::pipe();
            for entries in entries.chunks(CALL_ENTRIES) {
                calls.add_command(self.put_command(entries));
            }
            let answers: Vec<(u64, u64, u64)> = self.tell(connection.clone(), &calls).await?;
            for (written, older, poisoned) in answers {
                report.written = report.written.saturating_add(written);
                report.older = report.older.saturating_add(older);
                report.poisoned = report.poisoned.saturating_add(poisoned);
            }
        }
        Ok(report)
    }

    async fn get(&self, key: &CacheKey) -> Result<Option<Bytes>, CacheError> {
        let bytes_max = match key.value {
            Value::Orderbook => BOOK_BYTES_MAX,
            Value::Tick | Value::Kline(_) => BAR_BYTES_MAX,
        };
        let mut command = ::redis::cmd("GETRANGE");
        let name = self.options.keys.value(key);
        command.arg(name).arg(0).arg(bytes_max);
        let value: Option<Vec<u8>> = self.ask(self.connected()?, &command).await?;
        let value = value.filter(|value| !value.is_empty() && value.len() <= bytes_max);
        Ok(value.map(Bytes::from))
    }

    async fn ticks(&self, key: &CacheKey, limit: usize) -> Result<Vec<Bytes>, CacheError> {
        let Some(last) = limit.checked_sub(1) else {
            return Ok(Vec::new());
        };
        let mut command = ::redis::cmd("ZREVRANGE");
        command.arg(self.options.keys.ticks(key)).arg(0).arg(last);
        let ticks: Option<Vec<Vec<u8>>> = self.ask(self.connected()?, &command).await?;
        let ticks = ticks.unwrap_or_default();
        Ok(ticks.into_iter().rev().map(Bytes::from).collect())
    }

    fn name(&self) -> &'static str {
        "redis"
    }
}
