//! A topic with an order book: each message replaces the one before.
//!
//! The last messages are held as well, so that a session gets what has changed since the book that
//! it has: at any pace, and without a queue. A session that has an older book gets the whole book.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use market_core::protocol::BookForm;

use super::bar::StreamPosition;
use super::book::{Book, NewestBook};
use super::newest::Newest;
use super::offered::Offered;
use client_frames::encode::payload::Payload;

/// Most bytes of the messages of a topic that are held, unless the newest alone has more.
const HELD_BYTES_MAX: usize = 64 << 10;

/// The newest book of a topic, and those before it.
#[derive(Debug, Default)]
pub(crate) struct Books {
    /// The newest last.
    held: VecDeque<Arc<Book>>,
    newest: Option<NewestBook>,
    /// Of the newest.
    position: StreamPosition,
}

impl Books {
    /// Takes a message. One with a lower position than the newest is stale. `earlier_max` messages
    /// are held beside it.
    pub(super) fn offer(
        &mut self,
        position: StreamPosition,
        json: Bytes,
        version: u64,
        earlier_max: usize,
    ) -> Offered {
        if let Some(newest) = self.held.back() {
            if newest.json == json {
                return Offered::Duplicate;
            }
            if position < self.position {
                return Offered::Stale;
            }
        }
        let conflated = !self.held.is_empty();
        let book = Arc::new(Book::new(json, version));
        self.newest = Some(NewestBook::new(Arc::clone(&book)));
        self.position = position;
        self.held.push_back(book);
        let mut bytes: usize = self.held.iter().map(|book| book.json.len()).sum();
        while self.held.len() > earlier_max.saturating_add(1)
            || (self.held.len() > 1 && bytes > HELD_BYTES_MAX)
        {
            bytes -= self.held.pop_front().map_or(0, |book| book.json.len());
        }
        Offered::New {
            missed: 0,
            late: false,
            conflated,
        }
    }

    /// The message for a session that has seen all versions up to `seen`: what has changed since the
    /// newest book among them, or the whole book.
    pub(super) fn since(&self, newest: &NewestBook, seen: u64, wanted: BookForm) -> Payload {
        let had = self.held.iter().rev().find(|book| book.version <= seen);
        let had = had.filter(|_| wanted.changes);
        let changes = had.and_then(|had| newest.changes_since(had, wanted));
        changes.unwrap_or_else(|| newest.whole(wanted))
    }

    /// Whether a client that stopped at a position needs the newest book. One that takes changes needs
    /// a book to apply them to, and each one must know at once that there is none.
    pub(super) fn is_after(&self, last: StreamPosition, wanted: BookForm) -> bool {
        self.newest.as_ref().is_some_and(|newest| {
            wanted.changes
                || self.position.epoch != last.epoch
                || self.position > last
                || newest.is_invalid()
        })
    }

    /// The newest book.
    pub(super) fn newest(&self) -> Option<Newest> {
        let newest = self.newest.clone()?;
        Some(Newest::book(
            newest.payload.clone(),
            newest.book.version,
            newest,
        ))
    }

    /// The messages that are held, the newest last.
    pub(super) fn publications(&self) -> Vec<Bytes> {
        self.held.iter().map(|book| book.json.clone()).collect()
    }

    /// How many messages are held.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.held.len()
    }
}
