//! The streams of the bus that are stored.

use std::time::Duration;

/// The kind of a stream's messages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Content {
    /// Closed bars.
    Bars,
    /// Trades.
    Trades,
}

impl Content {
    /// Its name in metrics, logs and the status.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bars => "bars",
            Self::Trades => "trades",
        }
    }
}

/// How a stream is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Pace {
    /// Messages of a page, which is one transaction.
    pub(crate) messages_max: usize,
    /// Pause after the end of the stream.
    pub(crate) interval: Duration,
    /// What waits before it is written; `None` if every message is written at once.
    pub(crate) batch: Option<BatchPace>,
}

/// When the messages that wait are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct BatchPace {
    /// As soon as so many wait.
    pub(crate) messages: u64,
    /// Or after this time.
    pub(crate) wait: Duration,
}
