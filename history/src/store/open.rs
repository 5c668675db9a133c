//! Opens the store that an address names.

use std::sync::Arc;

use super::{
    ClickHouseStore, InfluxStore, RemoteOptions, SqliteOptions, SqliteStore, Store, StoreAddress,
    StoreError,
};

/// How a store is opened; each store takes what concerns it.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct StoreOptions {
    /// Of the embedded store.
    pub sqlite: SqliteOptions,
    /// Of a server.
    pub remote: RemoteOptions,
}

const INVALID: &str = "--store is none of sqlite:DIR, clickhouse://[user:password@]host[:port]/database and influxdb://[user:password@]host[:port]/database (or clickhouses:// and influxdbs:// for TLS)";

/// Opens a store, and makes its directory or its tables if they are missing. It blocks.
///
/// A server that is away is no error: the store answers with [`StoreError::Away`] until the server
/// is there, and makes its tables then.
///
/// # Errors
/// `Address` if the address is none, and those of the store.
pub fn open(address: &StoreAddress, options: &StoreOptions) -> Result<Arc<dyn Store>, StoreError> {
    match address {
        StoreAddress::Sqlite(directory) => {
            Ok(Arc::new(SqliteStore::open(directory, options.sqlite)?))
        }
        StoreAddress::ClickHouse(url) => Ok(Arc::new(ClickHouseStore::open(url, options.remote)?)),
        StoreAddress::Influx(url) => Ok(Arc::new(InfluxStore::new(url, options.remote)?)),
        StoreAddress::Invalid => Err(StoreError::Address(INVALID)),
    }
}
