//! Why the program could not run.

use bus::BusError;

use crate::config::ConfigError;
use crate::feed::dial::CaFileError;
use crate::parts::PartEnded;

/// Why the program could not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration cannot be used; the text says what to write.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The file of certificates cannot be used; the text says what to write.
    #[error(transparent)]
    CaFile(#[from] CaFileError),
    /// The bus cannot be used.
    #[error("failed to read checkpoints from the bus: {0}")]
    Bus(#[from] BusError),
    /// The bus does not keep the journal as it is configured.
    #[error(
        "the bus cannot keep the journal of closed bars: {0}; give it room, or set --journal-bytes-max lower, 0 for no journal"
    )]
    Journal(#[source] BusError),
    /// A part of the program ended by itself.
    #[error(transparent)]
    Part(#[from] PartEnded),
}
