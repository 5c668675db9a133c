//! The operations of streams beyond retaining the newest messages.

use async_trait::async_trait;

use crate::{
    Append, Appended, BusError, Consumer, ConsumerSpec, Message, Page, Range, StreamSpec,
    StreamStatus,
};

/// The streams of a bus: conditional publications, reads of the past, acknowledged reading, and
/// their administration. A stream is named by its root; see [`StreamSpec`].
#[async_trait]
pub trait StreamStore: Send + Sync {
    /// Publishes, and stores if the condition holds. Live subscribers of the subject may receive
    /// the message even if the stream refuses it: NATS delivers it to both. It makes one attempt:
    /// after a retryable error, the message may be stored or not. A repeat is harmless with a
    /// message id; with a condition, read [`StreamStore::last`] first.
    ///
    /// # Errors
    /// `Subject`, `NotRetained`, `Header`, `NotAsExpected`, `PayloadTooLarge`, `RetentionFull`,
    /// `Closed`; retryable: `Timeout`, `Disconnected`, `JetStream`.
    async fn append(&self, append: Append) -> Result<Appended, BusError>;

    /// Publishes up to [`BATCH_MESSAGES_MAX`] messages of one stream, which are stored together or
    /// not at all: readers of the stream never see a part of them. The condition of each must hold
    /// before the first is stored. Live subscribers may receive them even if the stream refuses
    /// them. The sequence of the last one; those before it have the sequences before it. One attempt,
    /// as [`StreamStore::append`]. NATS needs server 2.12 for it, and a stream whose
    /// [`StreamSpec::is_fenced`] is set.
    ///
    /// [`BATCH_MESSAGES_MAX`]: crate::BATCH_MESSAGES_MAX
    ///
    /// # Errors
    /// As `append`; `Config` for a batch that no server takes; `NoBatches` if the stream takes none.
    async fn append_all(&self, batch: Vec<Append>) -> Result<u64, BusError>;

    /// The newest message of a subject, from the server that leads the stream, never from one that
    /// lags.
    ///
    /// # Errors
    /// `Subject`, `NotRetained`, `Closed`; retryable: `Timeout`, `Disconnected`, `JetStream`.
    async fn last(&self, subject: &str) -> Result<Option<Message>, BusError>;

    /// Retained messages of a stream, in the order in which it took them. In a cluster it may be a
    /// moment behind; missing messages then follow on the next page.
    ///
    /// # Errors
    /// `Pattern`, `NotRetained`, `Config` for a page of nothing; `PositionLost` where it starts
    /// after a position of a stream that was created again since; `Closed`; retryable: `Timeout`,
    /// `Disconnected`, `JetStream`.
    async fn range(&self, range: &Range) -> Result<Page, BusError>;

    /// Reads a stream with acknowledgements; see [`Consumer`]. Creates the consumer, or continues
    /// with the one of this name.
    ///
    /// # Errors
    /// `Pattern`, `NotRetained`, `Config`, `PositionLost` as for `range`; `ConsumerConflict` if one
    /// of this name has another pattern; `Closed`; retryable: `Timeout`, `Disconnected`,
    /// `JetStream`.
    async fn consume(&self, spec: &ConsumerSpec) -> Result<Consumer, BusError>;

    /// Forgets a consumer and its acknowledgements. False if there is none of this name.
    ///
    /// # Errors
    /// `NotRetained` without a stream of this root, `Closed`; retryable: `Timeout`, `Disconnected`,
    /// `JetStream`.
    async fn delete_consumer(&self, root: &str, name: &str) -> Result<bool, BusError>;

    /// Creates a stream, or changes the limits of a running one to those of `spec`. It is created
    /// again if it disappears, like the streams that the bus was connected with. Messages beyond a
    /// lower limit are dropped at once.
    ///
    /// # Errors
    /// `Config`, `StreamConflict`, `Closed`; retryable: `Timeout`, `Disconnected`, `JetStream`.
    async fn put_stream(&self, spec: StreamSpec) -> Result<(), BusError>;

    /// The description and the status of a stream; `None` without a stream of this root.
    ///
    /// # Errors
    /// `Closed`; retryable: `Timeout`, `Disconnected`, `JetStream`.
    async fn status(&self, root: &str) -> Result<Option<StreamStatus>, BusError>;

    /// All streams that this bus knows of, in the order in which they were put.
    ///
    /// # Errors
    /// As `status`.
    async fn statuses(&self) -> Result<Vec<StreamStatus>, BusError>;

    /// Deletes a stream with all its messages and consumers. False without a stream of this root.
    ///
    /// # Errors
    /// As `status`.
    async fn delete_stream(&self, root: &str) -> Result<bool, BusError>;
}
