//! A topic whose events are made of the publications of other topics: what a session gets depends on
//! what it has.
//!
//! The changes of a book lead from the book that the session has. The tickers of all symbols are
//! those that have changed since the array that it has.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::newest_stream::{Content, Held, NewestStream, Row, StreamBook};
use super::offered::Offered;

/// Arrays of tickers whose versions are remembered.
const ARRAYS_MAX: usize = 16;

/// What has come for a stream.
#[derive(Debug)]
pub(crate) enum StreamUpdate {
    /// A book was published. It is remembered, as clients may have a snapshot of it.
    Book(Arc<StreamBook>),
    /// The newest book is an event from now on.
    DueBook,
    /// Symbols with their events.
    Rows(Vec<(Box<str>, Arc<str>)>),
}

/// The state of a stream.
#[derive(Debug)]
pub(crate) struct Stream {
    name: Arc<str>,
    /// Books that were published, the newest last.
    books: VecDeque<Held>,
    rows: Arc<BTreeMap<Box<str>, Row>>,
    /// The versions of the last arrays.
    arrays: VecDeque<u64>,
    newest: Option<NewestStream>,
}

impl Stream {
    /// A stream without events.
    pub(super) fn new(name: Arc<str>) -> Self {
        Self {
            name,
            books: VecDeque::new(),
            rows: Arc::default(),
            arrays: VecDeque::new(),
            newest: None,
        }
    }

    /// Takes what has come. `books_max` books are held beside the newest, and more if so many were
    /// published since the last event.
    pub(super) fn offer(
        &mut self,
        update: StreamUpdate,
        version: u64,
        books_max: usize,
    ) -> Offered {
        match update {
            StreamUpdate::Book(book) => {
                let newest = self.books.back();
                if newest.is_some_and(|held| book.place() <= held.book.place()) {
                    return Offered::Duplicate;
                }
                if newest.is_some_and(|held| !book.follows(&held.book)) {
                    // What was published in between is unknown, and clients may have it.
                    self.books.clear();
                }
                self.books.push_back(Held {
                    version: None,
                    book,
                });
                self.forget(books_max);
                return Offered::Duplicate;
            }
            StreamUpdate::DueBook => match self.books.back_mut() {
                Some(held) if held.version.is_none() => held.version = Some(version),
                _ => return Offered::Duplicate,
            },
            StreamUpdate::Rows(changed) => {
                if changed.is_empty() {
                    return Offered::Duplicate;
                }
                let rows = Arc::make_mut(&mut self.rows);
                for (symbol, event) in changed {
                    rows.insert(symbol, Row { version, event });
                }
                self.arrays.push_back(version);
                while self.arrays.len() > ARRAYS_MAX {
                    self.arrays.pop_front();
                }
            }
        }
        let conflated = self.newest.is_some();
        let content = Content {
            name: Arc::clone(&self.name),
            books: self.books.iter().cloned().collect(),
            rows: Arc::clone(&self.rows),
            arrays: self.arrays.iter().copied().collect(),
        };
        self.newest = Some(NewestStream::new(version, content));
        Offered::New {
            missed: 0,
            late: false,
            conflated,
        }
    }

    /// Forgets the oldest books, but none from the last event on: sessions have the book of that event,
    /// and the next event must lead from it. A stream gives an event before very many books wait.
    fn forget(&mut self, books_max: usize) {
        let last_event = self.books.iter().rposition(|held| held.version.is_some());
        let beyond = self.books.len().saturating_sub(books_max.saturating_add(1));
        self.books
            .drain(..last_event.map_or(beyond, |at| beyond.min(at)));
    }

    /// The newest event.
    pub(super) fn newest(&self) -> Option<NewestStream> {
        self.newest.clone()
    }
}
