//! The newest event of a stream, frozen for a flush, and its forms by what sessions have.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use client_frames::dialect::binance::stream::MadeStream;
use client_frames::encode::payload::Payload;
use market_core::binance::DepthBook;

/// Most forms of one event that are kept. Further forms are made again for each set of sessions.
const FORMS_MAX: usize = 64;

/// A book that was published.
#[derive(Clone, Debug)]
pub(super) struct Held {
    /// `None` if it was no event.
    pub(super) version: Option<u64>,
    pub(super) book: Arc<DepthBook>,
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

/// The version of each form, and the form.
type Forms = Vec<(Option<u64>, Payload)>;

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
        Self {
            version,
            content: Arc::new(content),
            forms: Arc::default(),
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
        if let Some((_, payload)) = forms.iter().find(|(since, _)| *since == had) {
            return payload.clone();
        }
        let payload = Payload::from(Bytes::from(self.content.publication(had)));
        if forms.len() < FORMS_MAX {
            forms.push((had, payload.clone()));
        }
        payload
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
                let before = earlier[from..].iter().map(|held| &*held.book);
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
