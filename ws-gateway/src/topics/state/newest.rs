//! The newest forming bar or value of a topic, frozen for a flush.

use bytes::Bytes;
use market_core::protocol::Filter;

use super::bar::{Bar, StreamPosition};
use super::book::NewestBook;
use super::newest_stream::NewestStream;
use client_frames::encode::payload::Payload;

/// The newest forming bar or value of a topic, frozen for a flush.
#[derive(Clone, Debug)]
pub(crate) struct Newest {
    /// Its position in the order of everything that the hub took.
    pub version: u64,
    /// The content that is sent.
    pub payload: Payload,
    /// `None` if it is not a bar.
    pub(super) bar: Option<Forming>,
    /// `None` if it is not an order book.
    pub(super) book: Option<NewestBook>,
    /// `None` if it is not an event that depends on what a session has. If it is, the payload is empty.
    pub(super) stream: Option<NewestStream>,
}

/// The data of a forming bar for resuming and filtering.
#[derive(Clone, Copy, Debug)]
pub(super) struct Forming {
    pub(super) position: StreamPosition,
    pub(super) start_ms: i64,
    filled: bool,
}

impl Newest {
    /// A value.
    pub(super) fn value(payload: Payload, version: u64) -> Self {
        Self {
            version,
            payload,
            bar: None,
            book: None,
            stream: None,
        }
    }

    /// An order book.
    pub(super) fn book(payload: Payload, version: u64, book: NewestBook) -> Self {
        Self {
            book: Some(book),
            ..Self::value(payload, version)
        }
    }

    /// An event of a stream.
    pub(super) fn stream(stream: NewestStream) -> Self {
        let nothing = Payload::from(Bytes::from_static(b"{}"));
        let version = stream.version;
        Self {
            stream: Some(stream),
            ..Self::value(nothing, version)
        }
    }

    /// The content for a session without an earlier one.
    pub(super) fn whole(&self, filter: Filter) -> Payload {
        match (&self.book, &self.stream) {
            (Some(book), _) => book.whole(filter.book),
            (None, Some(stream)) => stream.whole(),
            (None, None) => self.payload.clone(),
        }
    }

    /// Whether a session with this filter gets it. A value is not a bar, so no filter declines it.
    pub(crate) fn passes(&self, filter: Filter) -> bool {
        self.bar
            .is_none_or(|bar| !(filter.closed_only || filter.no_fill && bar.filled))
    }
}

impl From<&Bar> for Newest {
    /// A forming bar.
    fn from(bar: &Bar) -> Self {
        Self {
            version: bar.version,
            payload: bar.payload.clone(),
            bar: Some(Forming {
                position: bar.position,
                start_ms: bar.start_ms,
                filled: bar.filled,
            }),
            book: None,
            stream: None,
        }
    }
}
