//! Why a configuration cannot hold.

use std::path::PathBuf;

/// Why a broker cannot be started like this; the text says what to change.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("failed to read the configuration {}: {reason}", file.display())]
    File {
        /// Which file.
        file: PathBuf,
        /// Why.
        reason: String,
    },
    /// A field is wrong.
    #[error("{field}: {reason}")]
    Field {
        /// Its path in the file.
        field: String,
        /// What is wrong with it, and what would be right.
        reason: String,
    },
}

impl ConfigError {
    pub(crate) fn field(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Field {
            field: field.into(),
            reason: reason.into(),
        }
    }
}
