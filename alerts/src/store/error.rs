//! Why the store cannot be used.

use std::path::PathBuf;

/// Why the store cannot be used; the text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has it.
    #[error("{0} is used by another program: stop that one, or set another --data-dir")]
    InUse(PathBuf),
    /// A program of another version made it.
    #[error("{0} has version {1}, and this program knows version {2}: start the newer program")]
    Version(PathBuf, i64, i64),
    /// The directory cannot be used.
    #[error("{0} cannot be used: {1}")]
    Io(PathBuf, std::io::Error),
    /// SQLite failed.
    #[error("the store failed: {0}; check the disk of --data-dir")]
    Sqlite(#[from] rusqlite::Error),
    /// What is stored is not what this program stores.
    #[error("the store is damaged: {0}; move the files of --data-dir away to begin anew")]
    Damaged(String),
    /// A call ended without an answer.
    #[error("the store gave no answer: {0}")]
    Task(String),
}
