//! What a fold needs of history.

use market_core::{Topic, UnixMillis};

/// What must be read from history for a fold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Load {
    /// The fold.
    pub topic: Topic,
    /// When it began: another fold of the topic may have begun since.
    pub epoch: u64,
    /// The topic of its parts.
    pub source: Topic,
    /// From and until when.
    pub range: (UnixMillis, UnixMillis),
    /// The venue of the parts, if it is known.
    pub exchange: Option<String>,
}
