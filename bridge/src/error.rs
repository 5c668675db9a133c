//! Why the program cannot run.

use bus::BusError;

/// Why the program could not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bus cannot be used.
    #[error("the bus cannot be used: {0}")]
    Bus(#[from] BusError),
    /// The configuration cannot be used; the text says what to write.
    #[error("{0}")]
    Config(String),
    /// A part of the program ended that must run as long as the program.
    #[error(
        "a part of the bridge has ended, and the bridge cannot run without it: {0}; start it again and report the log"
    )]
    Part(String),
}
