//! The description and the status of a stream.

use crate::StreamSpec;

/// A stream of the bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamStatus {
    /// Its specification, as the caller wants it.
    pub spec: StreamSpec,
    /// Its name on the server, with the prefix.
    pub name: String,
    /// When it was created, unix ns; see [`crate::Position::stream_created_ns`].
    pub created_ns: u64,
    /// Messages that it keeps.
    pub messages: u64,
    /// Their bytes, as the server counts them.
    pub bytes: u64,
    /// The oldest sequence that it keeps; one above the newest if it keeps none.
    pub first_sequence: u64,
    /// The newest sequence that it took; 0 if it took none.
    pub last_sequence: u64,
    /// Subjects that it keeps messages of.
    pub subjects: u64,
    /// Consumers that read it.
    pub consumers: u64,
    /// How its copies do.
    pub health: StreamHealth,
}

/// The state of a stream's copies. If no server leads a stream, its state is unknown: asking for it
/// fails retryably.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamHealth {
    /// Every copy is up to date, or there is only one.
    Whole,
    /// It takes messages, and some copies are behind or away: their servers.
    Lagging(Vec<String>),
}
