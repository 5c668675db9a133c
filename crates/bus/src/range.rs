//! Reads a stream's retained messages, page by page.

use crate::{BusError, Message, Position};

/// Most messages of one page.
pub const PAGE_MESSAGES_MAX: usize = 10_000;

/// Where reading starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the oldest message that is kept.
    Oldest,
    /// After this message, whether or not it is still retained: the end of the previous page, or
    /// the position up to which a reader has everything.
    After(Position),
    /// At the first message that the stream took at this time or later, unix ns of the server's
    /// clock.
    Since(u64),
}

/// A request for messages of one stream; see [`crate::StreamStore::range`].
#[derive(Clone, Debug)]
pub struct Range {
    /// The subjects. The first token must be the root of a stream, without a wildcard.
    pub pattern: String,
    /// Where the page starts.
    pub start: Start,
    /// Most messages of the page, up to [`PAGE_MESSAGES_MAX`].
    pub messages_max: usize,
    /// Most bytes of the page. One message always fits.
    pub bytes_max: usize,
}

impl Range {
    /// A page of `messages_max` from `start` on, of at most 8 MiB.
    pub fn new(pattern: impl Into<String>, start: Start, messages_max: usize) -> Range {
        Range {
            pattern: pattern.into(),
            start,
            messages_max,
            bytes_max: 8 << 20,
        }
    }

    pub(crate) fn check(&self) -> Result<(), BusError> {
        if (1..=PAGE_MESSAGES_MAX).contains(&self.messages_max) && self.bytes_max > 0 {
            return Ok(());
        }
        Err(BusError::Config {
            reason: format!(
                "range of {:?}: a page has 1 to {PAGE_MESSAGES_MAX} messages and at least 1 byte",
                self.pattern
            ),
        })
    }
}

/// Some messages of a stream, in the order in which it took them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The messages, each with its position.
    pub messages: Vec<Message>,
    /// Whether nothing newer matched when it was read. The next page starts after the last message.
    pub is_end: bool,
    /// The oldest retained sequence of the stream, of any subject. If it is higher than the start
    /// by more than 1, messages in between are no longer retained.
    pub first_sequence: u64,
    /// The newest sequence of the stream, of any subject.
    pub last_sequence: u64,
}

impl Page {
    /// Where the last message is.
    pub fn end(&self) -> Option<Position> {
        self.messages.last()?.position.as_deref().copied()
    }
}
