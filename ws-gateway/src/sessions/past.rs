//! Bars of the past, as the task of a shard gets them for it.

use bytes::Bytes;
use market_core::UnixMillis;

/// A read of a shard.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct ReadId(pub u64);

/// A closed bar of the past, as a client gets it.
#[derive(Clone, Debug)]
pub(crate) struct PastBar {
    /// The JSON object.
    pub json: Bytes,
    /// First instant in it.
    pub start_ms: UnixMillis,
    /// First instant after it.
    pub end_ms: UnixMillis,
    /// Revision number.
    pub rev: u32,
    /// Whether the bar is flat because there were no trades.
    pub filled: bool,
    /// When this revision became known.
    pub known_ms: UnixMillis,
}

/// Some bars, in the order that was asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct PastPage {
    /// The bars.
    pub bars: Vec<PastBar>,
    /// Where the next page begins; `None` if nothing follows.
    pub next: Option<String>,
    /// This host's time of the question, unix ms.
    pub asked_ms: UnixMillis,
}

/// There is no page: history did not answer, or not with bars of the topic.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("history gave no page of bars")]
pub(crate) struct NoPage;

/// The answer of history to one question.
pub(crate) type PastAnswer = Result<PastPage, NoPage>;
