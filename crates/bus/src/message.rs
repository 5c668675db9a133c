//! What travels, and what a subscription receives.

use std::sync::Arc;

use bytes::Bytes;

/// A subject and its bytes. Clones share both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The subject, without the configured prefix.
    pub subject: Arc<str>,
    /// The bytes as they were published.
    pub payload: Bytes,
}

/// What a subscription receives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// A message, in the order of its publisher.
    Message(Message),
    /// Messages were lost at this place, because they were not received fast enough; later ones
    /// follow. Read the last values again.
    Lagged {
        /// How many. When the whole process was too slow, at least so many, counted over all of
        /// its subscriptions.
        lost: u64,
    },
    /// The connection was lost and is back, with the subscription renewed. What was published in
    /// between is lost. Read the last values again.
    Reconnected,
}
