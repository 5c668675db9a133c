//! One publication of a topic, with its publisher's position.

use crate::encode::payload::Payload;

/// A publication of a topic, as the hub holds it.
#[derive(Clone, Debug)]
pub(crate) struct Update {
    /// Its position in the order of everything that the hub took: rises over all topics.
    pub version: u64,
    /// The content that is sent.
    pub payload: Payload,
    /// Whether it is a message of a topic that has no bars.
    pub(super) is_status: bool,
    /// Its sequence number and epoch, if it is a bar.
    pub(super) stamp: Stamp,
    pub(super) start_ms: i64,
    pub(super) end_ms: i64,
    pub(super) rev: u32,
    pub(super) filled: bool,
}

/// The publisher's position of a publication: ordered by epoch, then by number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(super) struct Stamp {
    pub(super) epoch: u64,
    pub(super) seq: u64,
}
