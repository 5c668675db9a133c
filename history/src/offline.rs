//! The store, for commands that work on it while no program uses it.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use crate::Config;
use crate::config::StoreConfig;
use crate::store::{self, SqliteStore, Store, StoreAddress, StoreError};

/// Which store a command works on.
#[derive(Args, Clone, Debug, Default)]
pub struct StoreArgs {
    /// Directory of the stored bars and trades; no program may be using it [default: klinecast in the user's data directory]
    #[arg(long, env = "KLINECAST_HISTORY_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,

    /// Most bytes of one file of the store, which holds one timeframe, or the trades, of one month; 0 for no bound but the disk
    #[arg(
        long,
        env = "KLINECAST_HISTORY_FILE_BYTES_MAX",
        default_value_t = 0,
        value_name = "BYTES"
    )]
    pub history_file_bytes_max: u64,

    /// Which store, if it is not in the directory.
    #[command(flatten)]
    pub store: StoreConfig,
}

/// Why a command has no store.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Nothing was ever stored there.
    #[error("there is no store in {}: name its directory with --data-dir", .0.display())]
    Missing(PathBuf),
    /// The command works on files alone.
    #[error(
        "{0} has no files of Klinecast's: this command works with --store sqlite:DIR or --data-dir; ask the database's own tools"
    )]
    NoFiles(Box<str>),
    /// It cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl StoreArgs {
    fn address(&self) -> StoreAddress {
        let config = Config {
            data_dir: self.data_dir.clone(),
            store: self.store.clone(),
            ..Config::default()
        };
        config.address()
    }

    /// Opens the store, and makes it if it is missing.
    ///
    /// # Errors
    /// If it cannot be used, for example because a program has it.
    pub fn open(&self) -> Result<Arc<dyn Store>, OpenError> {
        let options = self.store.options(self.history_file_bytes_max);
        Ok(store::open(&self.address(), &options)?)
    }

    /// Opens a store that is there, to read it.
    ///
    /// # Errors
    /// If it is not, or cannot be used.
    pub fn open_existing(&self) -> Result<Arc<dyn Store>, OpenError> {
        let address = self.address();
        if let StoreAddress::Sqlite(directory) = &address
            && !directory.is_dir()
        {
            return Err(OpenError::Missing(directory.clone()));
        }
        let mut options = self.store.options(self.history_file_bytes_max);
        options.remote.is_read_only = true;
        Ok(store::open(&address, &options)?)
    }

    /// Opens the embedded store that is there.
    ///
    /// # Errors
    /// `NoFiles` for another store; if it is not there, or cannot be used.
    pub fn open_files(&self) -> Result<SqliteStore, OpenError> {
        let options = self.store.options(self.history_file_bytes_max).sqlite;
        match self.address() {
            StoreAddress::Sqlite(directory) if directory.is_dir() => {
                Ok(SqliteStore::open(&directory, options)?)
            }
            StoreAddress::Sqlite(directory) => Err(OpenError::Missing(directory)),
            address => Err(OpenError::NoFiles(address.to_string().into())),
        }
    }
}
