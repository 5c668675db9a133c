//! A venue's order books, as pure functions.

use market_core::{BookUpdate, UnixMicros};

use super::message::{DecodeError, RestRequest, SubscribeFrame};

/// A venue's stream of order books.
pub trait BookStream: Send + Sync + 'static {
    /// The frames that subscribe to the books of `natives`. `first_id` is the number of the first
    /// frame; the next frames have the following numbers.
    fn subscribe_books(&self, natives: &[&str], first_id: u64) -> Vec<SubscribeFrame>;

    /// How another snapshot of a book comes.
    fn book_snapshot(&self, native: &str, first_id: u64) -> SnapshotRequest;

    /// Parses the answer to the request for a snapshot.
    ///
    /// # Errors
    /// `Malformed` if the body is not a snapshot, or if the venue answers no such request.
    fn parse_book_snapshot(
        &self,
        _body: &[u8],
        _received_us: UnixMicros,
    ) -> Result<BookUpdate, DecodeError> {
        Err(DecodeError::Malformed("the venue has no such request"))
    }

    /// Decodes one received frame and passes each event to `sink`, in the frame's order.
    ///
    /// # Errors
    /// `Malformed` if the frame is not as the venue documents it.
    fn decode_books(
        &self,
        frame: &str,
        received_us: UnixMicros,
        sink: &mut dyn FnMut(BookEvent<'_>),
    ) -> Result<(), DecodeError>;
}

/// How another snapshot of a book comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SnapshotRequest {
    /// By this request over REST.
    Rest(RestRequest),
    /// By these frames: the venue begins each subscription with a snapshot.
    Frames(Vec<SubscribeFrame>),
}

/// What a frame of a stream of books says.
#[derive(Clone, Debug, PartialEq)]
pub enum BookEvent<'a> {
    /// A snapshot or a change.
    Update {
        /// The venue's name of the symbol.
        native: &'a str,
        /// It.
        update: BookUpdate,
    },
    /// The venue took a subscription.
    Subscribed {
        /// The frame's number, if the venue names it.
        id: Option<u64>,
    },
    /// The venue refused a message of ours.
    Refused {
        /// The frame's number, if the venue names it.
        id: Option<u64>,
        /// The venue's message, for the log.
        message: &'a str,
    },
    /// The venue is about to close this connection.
    ClosingSoon,
    /// A known frame that we do not need.
    Ignored,
    /// An unknown frame.
    Unknown,
}

#[cfg(test)]
mod tests;
