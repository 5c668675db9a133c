//! Why history cannot run.

use bus::BusError;
use tokio::task::JoinError;

use crate::cache::CacheError;
use crate::store::StoreError;

/// How a part of the program ends.
pub(crate) type PartEnd = Result<(), Error>;

/// Why history could not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store cannot be used; the text says what to do.
    #[error("the store cannot be used: {0}")]
    Store(#[from] StoreError),
    /// The cache cannot be used; the text says what to write.
    #[error("the cache cannot be used: {0}")]
    Cache(#[from] CacheError),
    /// The bus cannot be used.
    #[error("the bus cannot be used: {0}")]
    Bus(#[from] BusError),
    /// The configuration cannot be used; the text says what to write.
    #[error("{0}")]
    Config(&'static str),
    /// Tokens cannot be checked; the text says what to write.
    #[error("{0}")]
    Tokens(String),
    /// The listener cannot be used.
    #[error("failed to serve history: {0}")]
    Listener(#[from] std::io::Error),
    /// A part of the program ended that must run as long as the program.
    #[error(
        "a part of history has ended, and history cannot run without it: {why}; start it again and report the log"
    )]
    Part {
        /// How it ended.
        why: String,
    },
}

impl Error {
    pub(crate) fn panicked(error: &JoinError) -> Self {
        let why = error.to_string();
        Self::Part { why }
    }
}
