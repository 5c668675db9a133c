//! What streams can do beyond keeping the newest messages.

use async_trait::async_trait;

use crate::{
    Append, Appended, BusError, Consumer, ConsumerSpec, Message, Page, Range, StreamSpec,
    StreamStatus,
};

/// The streams of a bus: conditional publications, reads of the past, acknowledged reading, and
/// their administration. A stream is named by its root; see [`StreamSpec`].
#[async_trait]
pub trait StreamStore: Send + Sync {
    /// Publishes, and stores if what it expects is so. Live subscribers of the subject may receive
    /// it even if the stream refuses it: NATS delivers it to both. One attempt: after a retryable error it may
    /// be stored or not. A repeat is harmless with a message id; with an expectation, read
    /// [`StreamStore::last`] first.
    ///
    /// # Errors
    /// `Subject`, `NotRetained`, `Header`, `NotAsExpected`, `PayloadTooLarge`, `RetentionFull`,
    /// `Closed`; retryable: `Timeout`, `Disconnected`, `JetStream`.
    async fn append(&self, append: Append) -> Result<Appended, BusError>;

    /// The newest message of a subject, from the server that leads the stream, never from one that
    /// lags.
    ///
    /// # Errors
    /// `Subject`, `NotRetained`, `Closed`; retryable: `Timeout`, `Disconnected`, `JetStream`.
    async fn last(&self, subject: &str) -> Result<Option<Message>, BusError>;

    /// Messages that a stream keeps, in the order in which it took them. In a cluster it may be a
    /// moment behind; what is missing then follows on the next page.
    ///
    /// # Errors
    /// `Pattern`, `NotRetained`, `Config` for a page of nothing; `PositionLost` where it starts
    /// after a position of a stream that was created anew since; `Closed`; retryable: `Timeout`,
    /// `Disconnected`, `JetStream`.
    async fn range(&self, range: &Range) -> Result<Page, BusError>;

    /// Reads a stream with acknowledgements; see [`Consumer`]. Creates the consumer, or goes on
    /// with the one of this name.
    ///
    /// # Errors
    /// `Pattern`, `NotRetained`, `Config`, `PositionLost` as for `range`; `ConsumerConflict` if one
    /// of this name has another pattern; `Closed`; retryable: `Timeout`, `Disconnected`,
    /// `JetStream`.
    async fn consume(&self, spec: &ConsumerSpec) -> Result<Consumer, BusError>;

    /// Forgets a consumer and what it acknowledged. False if there is none of this name.
    ///
    /// # Errors
    /// `NotRetained` without a stream of this root, `Closed`; retryable: `Timeout`, `Disconnected`,
    /// `JetStream`.
    async fn delete_consumer(&self, root: &str, name: &str) -> Result<bool, BusError>;

    /// Creates a stream, or changes the limits of a running one to those of `spec`. It is created
    /// again if it goes missing, as those are that the bus was connected with. Messages beyond a
    /// lower limit are gone at once.
    ///
    /// # Errors
    /// `Config`, `StreamConflict`, `Closed`; retryable: `Timeout`, `Disconnected`, `JetStream`.
    async fn put_stream(&self, spec: StreamSpec) -> Result<(), BusError>;

    /// What a stream is and how it does; `None` without a stream of this root.
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
