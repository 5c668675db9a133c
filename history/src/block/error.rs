//! Why bytes are not a block.

use super::layout::{VERSION, VERSION_MIN};

/// Why bytes are not a block, or rows cannot become one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    /// The checksum does not fit the bytes.
    #[error("the checksum of a block does not fit its bytes: the block is torn or was changed")]
    Torn,
    /// Made by another version of the program.
    #[error(
        "a block has version {0}, and this program reads versions {min} to {max}: use the program that wrote it, or import the rows again",
        min = VERSION_MIN,
        max = VERSION
    )]
    Version(u8),
    /// The checksum fits, but the content is impossible.
    #[error("a block has impossible content: {0}")]
    Impossible(&'static str),
    /// The rows cannot be stored.
    #[error("rows cannot be stored: {0}")]
    Unstorable(&'static str),
}
