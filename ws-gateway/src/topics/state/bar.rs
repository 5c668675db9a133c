//! One bar of a topic, with its publisher's position.

use bytes::Bytes;
use market_core::wire::BarHead;

use client_frames::encode::payload::Payload;

/// A bar, as the hub holds it.
#[derive(Clone, Debug)]
pub(super) struct Bar {
    /// Its position in the order of everything that the hub took: rises over all topics.
    pub(super) version: u64,
    /// The content that is sent.
    pub(super) payload: Payload,
    pub(super) position: StreamPosition,
    pub(super) start_ms: i64,
    pub(super) end_ms: i64,
    pub(super) rev: u32,
    pub(super) filled: bool,
}

impl Bar {
    /// The bar of a publication.
    pub(super) fn new(head: &BarHead<'_>, payload: Bytes, version: u64) -> Self {
        Self {
            version,
            payload: Payload::from(payload),
            position: StreamPosition {
                epoch: head.epoch,
                seq: head.seq,
            },
            start_ms: head.start_ms,
            end_ms: head.end_ms,
            rev: head.rev,
            filled: head.filled,
        }
    }
}

/// The publisher's position of a publication: ordered by epoch, then by number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(crate) struct StreamPosition {
    /// Unix ms of the publisher's start.
    pub(crate) epoch: u64,
    /// Its number within the epoch.
    pub(crate) seq: u64,
}
