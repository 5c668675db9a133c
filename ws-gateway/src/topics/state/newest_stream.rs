//! The newest event of a stream, frozen for a flush, and its forms by what sessions have.
//!
//! A book is read once, for all streams that are made of it and for all places in which they hold it.
//! Its bytes count until the last of them lets it go, and so do those of the forms of its changes.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use client_frames::dialect::binance::stream::MadeStream;
use client_frames::encode::payload::Payload;
use market_core::binance::DepthBook;

/// Most forms of one event that are kept. Further forms are made again for each set of sessions.
const FORMS_MAX: usize = 64;
/// The same while there is no room for more bytes: for new sessions, and for those that have the last event.
const FORMS_MAX_WHEN_FULL: usize = 2;
/// The bytes of a form with what is encoded of it, for each byte of its JSON.
const FORM_BYTES: usize = 3;

/// Books that a stream of changes remembers if there is room: more than are published in the time
/// between two of its events, and in which a client asks for a snapshot.
const EARLIER_MAX: usize = 32;

/// The bytes of all books of streams.
#[derive(Debug)]
pub(crate) struct BookBytes {
    held: AtomicUsize,
    bytes_max: usize,
}

/// A book of a stream.
#[derive(Debug)]
pub(crate) struct StreamBook {
    book: DepthBook,
    bytes: usize,
    all: Arc<BookBytes>,
}

/// A book that was published.
#[derive(Clone, Debug)]
pub(super) struct Held {
    /// `None` if it was no event.
    pub(super) version: Option<u64>,
    pub(super) book: Arc<StreamBook>,
}

/// A symbol's event.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) version: u64,
    pub(super) event: Arc<str>,
}

/// The newest event of a stream, with its forms: made once for all sessions that want them.
#[derive(Clone, Debug)]
pub(crate) struct NewestStream {
    pub(super) version: u64,
    content: Arc<Content>,
    /// By the version from which they lead to this one.
    forms: Arc<Mutex<Forms>>,
}

/// Forms, and their bytes.
#[derive(Debug)]
struct Forms {
    /// The version of each form, and the form.
    made: Vec<(Option<u64>, Payload)>,
    bytes: usize,
    /// Where they count: none for arrays of tickers, which are few.
    all: Option<Arc<BookBytes>>,
}

/// What an event is made of.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) name: Arc<str>,
    /// Books that adjoin, the newest last; empty for a stream of tickers.
    pub(super) books: Vec<Held>,
    pub(super) rows: Arc<BTreeMap<Box<str>, Row>>,
    pub(super) arrays: Vec<u64>,
}

impl NewestStream {
    /// An event without forms so far.
    pub(super) fn new(version: u64, content: Content) -> Self {
        let all = content.books.last().map(|held| Arc::clone(&held.book.all));
        let forms = Forms {
            made: Vec::new(),
            bytes: 0,
            all,
        };
        Self {
            version,
            content: Arc::new(content),
            forms: Arc::new(Mutex::new(forms)),
        }
    }

    /// The event for a session that has seen all versions up to `seen`.
    pub(super) fn since(&self, seen: u64) -> Payload {
        self.form(self.content.had(seen))
    }

    /// The event for a session that has none. If it changes a book, it leads to the newest book from
    /// each one that is held.
    pub(super) fn whole(&self) -> Payload {
        self.form(None)
    }

    fn form(&self, had: Option<u64>) -> Payload {
        let mut forms = self.forms.lock().expect("no holder panics");
        if let Some((_, payload)) = forms.made.iter().find(|(since, _)| *since == had) {
            return payload.clone();
        }
        let payload = Payload::from(Bytes::from(self.content.publication(had)));
        forms.keep(had, &payload);
        payload
    }
}

impl Forms {
    /// Keeps a form if there is room for it.
    fn keep(&mut self, had: Option<u64>, payload: &Payload) {
        let is_full = self.all.as_ref().is_some_and(|all| all.is_full());
        let forms_max = if is_full {
            FORMS_MAX_WHEN_FULL
        } else {
            FORMS_MAX
        };
        if self.made.len() >= forms_max {
            return;
        }
        let bytes = payload.json_bytes().saturating_mul(FORM_BYTES);
        if let Some(all) = &self.all {
            all.held.fetch_add(bytes, Ordering::Relaxed);
            self.bytes = self.bytes.saturating_add(bytes);
        }
        self.made.push((had, payload.clone()));
    }
}

impl Drop for Forms {
    fn drop(&mut self) {
        if let Some(all) = &self.all {
            all.held.fetch_sub(self.bytes, Ordering::Relaxed);
        }
    }
}

impl Content {
    /// The version that a session has, if it is remembered.
    fn had(&self, seen: u64) -> Option<u64> {
        let books = self.books.iter().filter_map(|held| held.version);
        let versions = books.chain(self.arrays.iter().copied());
        versions.filter(|version| *version <= seen).max()
    }

    fn publication(&self, had: Option<u64>) -> String {
        let data = match self.books.split_last() {
            Some((newest, earlier)) => {
                // A session has all books up to the one of its version, as the last of them.
                let is_had = |held: &Held| had.is_some() && held.version == had;
                let from = earlier.iter().position(is_had).unwrap_or(0);
                let before = earlier[from..].iter().map(|held| &**held.book);
                newest.book.event_since(before)
            }
            None => {
                let is_new = |row: &&Row| had.is_none_or(|had| row.version > had);
                let events = self.rows.values().filter(is_new).map(|row| &*row.event);
                format!("[{}]", events.collect::<Vec<_>>().join(","))
            }
        };
        MadeStream::publication(&self.name, &data)
    }
}

impl BookBytes {
    /// None so far, of at most so many.
    #[must_use]
    pub(crate) fn new(bytes_max: usize) -> Arc<Self> {
        Arc::new(Self {
            held: AtomicUsize::new(0),
            bytes_max,
        })
    }

    /// Holds a book.
    #[must_use]
    pub(crate) fn hold(self: &Arc<Self>, book: DepthBook) -> Arc<StreamBook> {
        let bytes = book.memory_bytes();
        self.held.fetch_add(bytes, Ordering::Relaxed);
        Arc::new(StreamBook {
            book,
            bytes,
            all: Arc::clone(self),
        })
    }

    /// The bytes of all of them.
    #[must_use]
    pub(crate) fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// As if there were further books of so many bytes.
    #[cfg(test)]
    pub(crate) fn hold_for_test(&self, bytes: usize) {
        self.held.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Whether there is no room for books of another topic.
    #[must_use]
    pub(crate) fn is_full(&self) -> bool {
        self.held() >= self.bytes_max
    }

    /// How many books beside the newest a stream may remember: from the half of the bytes on fewer and
    /// fewer, but always the last one, so that a client whose book is the last one goes on.
    #[must_use]
    pub(crate) fn earlier_max(&self) -> usize {
        let half = (self.bytes_max / 2).max(1);
        let left = self.bytes_max.saturating_sub(self.held()).min(half);
        let part = (left as f64 / half as f64) * EARLIER_MAX as f64;
        (part as usize).clamp(1, EARLIER_MAX)
    }
}

impl Deref for StreamBook {
    type Target = DepthBook;

    fn deref(&self) -> &DepthBook {
        &self.book
    }
}

impl Drop for StreamBook {
    fn drop(&mut self) {
        self.all.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fuller_it_is_the_fewer_books_a_stream_remembers() {
        let bytes = BookBytes::new(1_000);
        for (held, earlier, is_full) in [
            (0, 32, false),
            (500, 32, false),
            (750, 16, false),
            (999, 1, false),
            (1_000, 1, true),
            (5_000, 1, true),
        ] {
            bytes.held.store(held, Ordering::Relaxed);
            assert_eq!((bytes.earlier_max(), bytes.is_full()), (earlier, is_full));
        }
        assert_eq!(BookBytes::new(0).earlier_max(), 1);
    }
}
