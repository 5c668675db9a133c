//! Why a gateway cannot run.

/// Why a gateway cannot run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration is invalid.
    #[error("{0}")]
    Config(String),
    /// The listener cannot be used.
    #[error("failed to set up the listener: {0}")]
    Listener(#[from] std::io::Error),
    /// A task ended that must run as long as the gateway.
    #[error(
        "the gateway's task '{task}' has ended, and the gateway cannot run without it: {why}; restart the gateway and report the log"
    )]
    Task {
        /// Which one.
        task: &'static str,
        /// How it ended.
        why: String,
    },
}

impl Error {
    /// Whether the same call may succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Listener(_))
    }
}
