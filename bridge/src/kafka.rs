//! What the bridge needs of Kafka. The client is behind the cargo feature `kafka`.

#[cfg(feature = "kafka")]
pub(crate) mod client;
#[cfg(feature = "kafka")]
mod marks;
#[cfg(feature = "kafka")]
mod read;
#[cfg(feature = "kafka")]
mod skip;
#[cfg(feature = "kafka")]
mod write;

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

/// A record to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutRecord {
    /// The topic.
    pub topic: String,
    /// Records with one key stay in their order.
    pub key: String,
    /// The value.
    pub value: Bytes,
    /// Names and values beside it.
    pub headers: Vec<(String, String)>,
}

impl OutRecord {
    /// Bytes of the record, and some for what Kafka adds.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let headers: usize = self
            .headers
            .iter()
            .map(|(name, value)| name.len() + value.len() + 4)
            .sum();
        self.key.len() + self.value.len() + headers + 80
    }
}

/// A record that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InRecord {
    /// Where it is.
    pub place: Place,
    /// The value; `None` for a deletion.
    pub value: Option<Bytes>,
    /// Set for a batch that cannot be decoded, in place of all of its records: why. The place is
    /// that of the last one.
    pub undecodable: Option<Undecodable>,
    /// Names and values beside it.
    pub headers: Vec<(String, String)>,
}

/// A batch of records that cannot be decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undecodable {
    /// The offset of its first record that was not read before.
    pub first_offset: i64,
    /// What is wrong with it.
    pub why: String,
}

/// Bounds of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadBounds {
    /// Most records of a poll.
    pub records_max: u16,
    /// Most bytes that a broker sends at once.
    pub bytes_max: u32,
}

/// Where a record is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// Its number there.
    pub offset: i64,
}

/// Offsets by topic and partition.
pub type Offsets = BTreeMap<(String, i32), i64>;

/// A topic to create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// Its partitions.
    pub partitions: i32,
    /// Whether Kafka keeps only the newest record of each key.
    pub is_compacted: bool,
}

/// How far a topic is: kept in Kafka itself. A later stream is greater.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub struct Mark {
    /// When the stream of the bus was created, unix ns.
    pub created_ns: u64,
    /// All messages up to this one are in Kafka.
    pub sequence: u64,
    /// When the stream stored that message, unix ns; 0 if it is not known.
    #[serde(default)]
    pub stored_ns: u64,
}

/// Why Kafka did not do it. No text has a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KafkaError {
    /// A record is such that Kafka will never take it.
    #[error("kafka refuses the record: {0}")]
    Refused(String),
    /// Another bridge writes under this name now.
    #[error("another bridge has taken over: {0}")]
    Fenced(String),
    /// It may succeed later.
    #[error("{0}")]
    Unavailable(String),
}

/// A cluster.
#[async_trait]
pub trait Kafka: Send + Sync + 'static {
    /// Creates the topics that are missing.
    ///
    /// # Errors
    /// `Unavailable`, with the topic.
    async fn create_topics(&self, topics: &[NewTopic]) -> Result<(), KafkaError>;

    /// Writes of `name`: whoever wrote under this name before is fenced off, and what it has left
    /// unfinished is given up. `is_transactional`: all records of a call are written or none.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn writer(
        &self,
        name: &str,
        is_transactional: bool,
    ) -> Result<Box<dyn Writer>, KafkaError>;

    /// The newest mark of a key in a topic of marks.
    ///
    /// # Errors
    /// `Unavailable`, also where not all of the topic can be read yet.
    async fn mark(&self, topic: &str, key: &str) -> Result<Option<Mark>, KafkaError>;

    /// Reads topics as a member of a consumer group.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn reader(
        &self,
        group: &str,
        topics: &[String],
        bounds: ReadBounds,
    ) -> Result<Box<dyn Reader>, KafkaError>;
}

/// Writes records.
#[async_trait]
pub trait Writer: Send + Sync {
    /// Writes, and returns when Kafka has acknowledged all. `last` is written after `records`: in
    /// the same transaction, or once they are acknowledged.
    ///
    /// # Errors
    /// `Refused` if Kafka will not take one of them, and the writer can go on; the others need a new
    /// writer. Without transactions, some of the records may be written.
    async fn write(
        &mut self,
        records: Vec<OutRecord>,
        last: Option<OutRecord>,
    ) -> Result<(), KafkaError>;

    /// Ends it.
    async fn close(&mut self);
}

/// Reads records as a member of a group.
#[async_trait]
pub trait Reader: Send + Sync {
    /// The next records, in the order of each partition; none after `wait`. A batch that cannot be
    /// decoded is one record, and the next poll goes on behind it.
    ///
    /// # Errors
    /// `Unavailable`; a new reader is needed.
    async fn poll(&mut self, wait: Duration) -> Result<Vec<InRecord>, KafkaError>;

    /// Says that all records before these offsets are done.
    ///
    /// # Errors
    /// `Unavailable`; they may be given out again.
    async fn commit(&mut self, next: &Offsets) -> Result<(), KafkaError>;

    /// Reads again from these offsets on.
    ///
    /// # Errors
    /// `Unavailable`; a new reader is needed.
    async fn seek(&mut self, next: &Offsets) -> Result<(), KafkaError>;

    /// How often partitions were given to this member. Between two values, others may have read them.
    fn assignments(&self) -> u64;

    /// Records that were not read yet, of the partitions of this member.
    async fn lag(&self) -> u64;

    /// Leaves the group.
    async fn close(&mut self);
}
