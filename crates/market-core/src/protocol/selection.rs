//! The topics that a request names.

use std::sync::Arc;

use crate::topic::TopicPattern;

/// One topic or pattern that a request names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Selection {
    /// As written.
    Pattern(TopicPattern),
    /// A symbol, or all symbols, of an exchange: the plain topic if its bars come from this
    /// exchange, otherwise the topic with the venue in front, which then also matches the plain
    /// topic.
    OfExchange {
        /// The exchange, in lower case, or `*`.
        exchange: Arc<str>,
        /// With the venue in front: `kline:1m:OKX:BTC-USDT`.
        prefixed: TopicPattern,
        /// Without: `kline:1m:BTC-USDT`.
        plain: TopicPattern,
    },
}

impl Selection {
    /// Whether it must be compared with all topics.
    #[must_use]
    pub fn is_wildcard(&self) -> bool {
        match self {
            Self::Pattern(pattern)
            | Self::OfExchange {
                prefixed: pattern, ..
            } => pattern.as_topic().is_none(),
        }
    }
}
