//! Why a replay failed.

use bus::BusError;

use crate::offline::OpenError;
use crate::store::StoreError;

/// Why a replay failed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// There is no store.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The bus does not take messages.
    #[error("the bus cannot be used: {0}")]
    Bus(#[from] BusError),
    /// Too much at once.
    #[error(
        "{found} series fit, and --series-max is {allowed}: choose fewer with --symbols and --timeframes"
    )]
    Series {
        /// How many fit.
        found: usize,
        /// How many may.
        allowed: usize,
    },
    /// The reader of the store ended.
    #[error("the reader of the store has ended: {0}; run the command again and report the log")]
    Reader(String),
}
