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
