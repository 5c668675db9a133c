//! Why a store did not do what was asked.

use std::path::PathBuf;

use crate::block::BlockError;

/// Why a store did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No space, or the file has reached its bound.
    #[error("{file} cannot grow: free disk space or raise the bound of the file, then try again")]
    Full {
        /// The file.
        file: PathBuf,
    },
    /// A file is not what was written.
    #[error(
        "{file} is damaged ({reason}): move it away and import its month again; other files are not affected"
    )]
    Damaged {
        /// The file.
        file: PathBuf,
        /// What was found.
        reason: String,
    },
    /// A newer program made it.
    #[error(
        "{file} has schema version {version}, and this program knows {known}: use a newer program"
    )]
    Version {
        /// The file.
        file: PathBuf,
        /// Its version.
        version: i64,
        /// The newest version that this program knows.
        known: i64,
    },
    /// Another process has it.
    #[error(
        "{directory} is in use by another process: stop that process or choose another directory"
    )]
    InUse {
        /// The store's directory.
        directory: PathBuf,
    },
    /// Rows that no store can hold.
    #[error(transparent)]
    Rows(BlockError),
    /// A position without rows, in a store without any.
    #[error("a watermark needs rows: the store is empty")]
    Empty,
    /// A server does not answer, or answers that it cannot serve now.
    #[error("{store} is away: {reason}")]
    Away {
        /// Its address, without user and password.
        store: Box<str>,
        /// What happened.
        reason: String,
    },
    /// A server has no room: for the rows, or for one more part of them.
    #[error("{store} is full: {reason}; free space there, then it goes on by itself")]
    ServerFull {
        /// Its address.
        store: Box<str>,
        /// What it said.
        reason: String,
    },
    /// A server answers, and refuses what was asked, whatever the rows are: a password, a database or a
    /// right is wrong.
    #[error("{store} refuses: {reason}")]
    Refused {
        /// Its address.
        store: Box<str>,
        /// What it said.
        reason: String,
    },
    /// A server refuses a row. The other rows of the call may be stored without it.
    #[error("{store} refuses a row: {reason}")]
    RowRefused {
        /// Its address.
        store: Box<str>,
        /// What it said.
        reason: String,
    },
    /// The tables of a server are those of a newer program.
    #[error(
        "the tables of {store} have version {version}, and this program knows {known}: use a newer program"
    )]
    ServerVersion {
        /// Its address.
        store: Box<str>,
        /// Its version.
        version: i64,
        /// The newest version that this program knows.
        known: i64,
    },
    /// The store keeps no order books.
    #[error("order books are kept by --store clickhouse:// alone: leave --store-books-ms out")]
    NoBooks,
    /// The address of a store cannot be read, or is of a store that does not exist.
    #[error("{0}")]
    Address(&'static str),
    /// A file cannot be read or written.
    #[error("cannot read or write {file}: {source}")]
    Io {
        /// The file.
        file: PathBuf,
        /// The reason.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl StoreError {
    /// Whether the same call can succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(
            self,
            Self::Full { .. } | Self::Io { .. } | Self::Away { .. } | Self::ServerFull { .. }
        )
    }
}
