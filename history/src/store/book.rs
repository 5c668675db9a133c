//! Order books, as they were at some instants.

use market_core::UnixMillis;
use market_core::book::BookLevels;

use super::{Instrument, Page, Range, StoreError};

/// The best levels of an order book, as they were published.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BookSnapshot {
    /// Whose book.
    pub instrument: Instrument,
    /// When it was published.
    pub published_ms: UnixMillis,
    /// The venue's time of its last change.
    pub event_ms: Option<UnixMillis>,
    /// The venue's number of its last change; empty without one.
    pub update_id: Box<str>,
    /// The publisher's session.
    pub epoch: u64,
    /// The number of the message in it.
    pub seq: u64,
    /// The best levels of both sides, the best first.
    pub levels: BookLevels,
}

/// Stores snapshots of order books. A store without a place for them refuses them.
pub trait BookStore: Send + Sync {
    /// Stores snapshots. One that is stored already has no effect.
    ///
    /// # Errors
    /// `NoBooks` for a store that keeps none; else those of the store, and some are stored.
    fn append_books(&self, books: &[BookSnapshot]) -> Result<(), StoreError> {
        let _ = books;
        Err(StoreError::NoBooks)
    }

    /// The snapshots of an instrument by ascending time, at most [`Range::limit`]. Of the range, only
    /// its span and limit count.
    ///
    /// # Errors
    /// As for [`BookStore::append_books`].
    fn books(
        &self,
        instrument: &Instrument,
        range: &Range,
    ) -> Result<Page<BookSnapshot>, StoreError> {
        let _ = (instrument, range);
        Err(StoreError::NoBooks)
    }
}
