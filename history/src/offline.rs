//! The store, for commands that work on it while no program uses it.

use std::path::PathBuf;

use clap::Args;

use crate::Config;
use crate::store::{SqliteOptions, SqliteStore, StoreError};

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
}

/// Why a command has no store.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Nothing was ever stored there.
    #[error("there is no store in {}: name its directory with --data-dir", .0.display())]
    Missing(PathBuf),
    /// It cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl StoreArgs {
    fn directory(&self) -> PathBuf {
        let config = Config {
            data_dir: self.data_dir.clone(),
            ..Config::default()
        };
        config.directory()
    }

    /// Opens the store, and makes it if it is missing.
    ///
    /// # Errors
    /// If it cannot be used, for example because a program has it.
    pub fn open(&self) -> Result<SqliteStore, OpenError> {
        let options = SqliteOptions {
            file_bytes_max: Some(self.history_file_bytes_max).filter(|bytes| *bytes > 0),
        };
        Ok(SqliteStore::open(&self.directory(), options)?)
    }

    /// Opens a store that is there.
    ///
    /// # Errors
    /// If it is not, or cannot be used.
    pub fn open_existing(&self) -> Result<SqliteStore, OpenError> {
        let directory = self.directory();
        if directory.is_dir() {
            self.open()
        } else {
            Err(OpenError::Missing(directory))
        }
    }
}
