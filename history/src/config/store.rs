//! Where rows are kept.

use std::time::Duration;

use clap::Args;

use crate::store::{RemoteOptions, SqliteOptions, StoreAddress, StoreOptions};

/// Which store keeps the rows, and how long a server may take.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct StoreConfig {
    /// The store of bars and trades: sqlite:DIR, clickhouse://host:port/database or influxdb://host:port/database (clickhouses:// and influxdbs:// with TLS). Put user:password@ before the host [default: sqlite: in --data-dir]
    // Neither the help nor a parse error may show the password in the environment.
    #[arg(
        long,
        env = "KLINECAST_HISTORY_STORE",
        hide_env_values = true,
        value_name = "ADDRESS"
    )]
    pub store: Option<StoreAddress>,

    /// How long a request to a store that is a server may take, ms
    #[arg(long, env = "KLINECAST_HISTORY_STORE_TIMEOUT_MS", default_value_t = Self::default().store_timeout_ms, value_parser = clap::value_parser!(u32).range(100..=600_000), value_name = "MS")]
    pub store_timeout_ms: u32,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            store: None,
            store_timeout_ms: 10_000,
        }
    }
}

impl StoreConfig {
    /// How the store is opened; `file_bytes_max` of 0 is no bound.
    pub(crate) fn options(&self, file_bytes_max: u64) -> StoreOptions {
        StoreOptions {
            sqlite: SqliteOptions {
                file_bytes_max: Some(file_bytes_max).filter(|bytes| *bytes > 0),
            },
            remote: RemoteOptions {
                timeout: Duration::from_millis(self.store_timeout_ms.into()),
                ..RemoteOptions::default()
            },
        }
    }
}

/// Which order books are written into the store, and how often.
#[derive(Args, Clone, Copy, Debug, PartialEq, Eq)]
pub struct BooksConfig {
    /// How often each order book that has changed is written into a store that is a ClickHouse, ms; with 0, none is. marketdata must follow books
    #[arg(long, env = "KLINECAST_HISTORY_STORE_BOOKS_MS", default_value_t = Self::default().store_books_ms, value_parser = clap::value_parser!(u32).range(0..=86_400_000), value_name = "MS")]
    pub store_books_ms: u32,

    /// Levels of each side of a book that are written
    #[arg(long, env = "KLINECAST_HISTORY_STORE_BOOKS_LEVELS", default_value_t = Self::default().store_books_levels, value_parser = clap::value_parser!(u32).range(1..=1_000), value_name = "COUNT")]
    pub store_books_levels: u32,

    /// Most books that are written in one interval; more are dropped and counted
    #[arg(long, env = "KLINECAST_HISTORY_STORE_BOOKS_MAX", default_value_t = Self::default().store_books_max, value_parser = clap::value_parser!(u32).range(1..=100_000), value_name = "COUNT")]
    pub store_books_max: u32,
}

impl Default for BooksConfig {
    fn default() -> Self {
        Self {
            store_books_ms: 0,
            store_books_levels: 20,
            store_books_max: 2_000,
        }
    }
}
