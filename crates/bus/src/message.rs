//! Messages, and the deliveries that a subscription receives.

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
    /// Messages were lost at this place, because they were not received fast enough; later messages
    /// follow. Read the last values again.
    Lagged {
        /// The number of lost messages. If the whole process was too slow, it is a lower bound,
        /// counted over all its subscriptions.
        lost: u64,
    },
    /// The connection was lost and is back, and the subscription is renewed. Messages in between
    /// are lost. Read the last values again. This comes before the first message of the new
    /// connection, so the retained messages may not be there yet.
    Reconnected,
}
