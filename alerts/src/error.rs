//! Why the program cannot run.

use bus::BusError;

use crate::rule::RuleError;
use crate::store::StoreError;

/// Why the program could not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store cannot be used; the text says what to do.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// The bus cannot be used.
    #[error("the bus cannot be used: {0}")]
    Bus(#[from] BusError),
    /// The configuration cannot be used; the text says what to write.
    #[error("{0}")]
    Config(String),
    /// A rule of the file cannot be used.
    #[error("--rules-file: {0}")]
    Rules(#[from] RuleError),
    /// The listener cannot be used.
    #[error("failed to serve alerts: {0}")]
    Listener(#[from] std::io::Error),
    /// A part of the program ended that must run as long as the program.
    #[error(
        "a part of alerts has ended, and alerts cannot run without it: {0}; start it again and report the log"
    )]
    Part(String),
}
