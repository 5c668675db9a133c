//! One message of an order book, and its forms: cut to a depth, or what has changed since an earlier
//! one.

use std::sync::{Arc, Mutex, OnceLock};

use bytes::Bytes;
use market_core::BookLevels;
use market_core::protocol::BookForm;
use market_core::wire::{BookChangesMessage, BookMessage, BookState, JsonMessage};
use metrics::counter;

use client_frames::encode::payload::Payload;

/// Most forms of one book that are kept: more than 16 earlier books and five depths make. Further
/// forms are made again for each set of sessions.
const FORMS_MAX: usize = 128;

/// A message.
#[derive(Debug)]
pub(super) struct Book {
    pub(super) version: u64,
    pub(super) json: Bytes,
    /// Read once the first session wants another form of it.
    read: OnceLock<Option<Read>>,
}

#[derive(Debug)]
struct Read {
    /// Without its levels.
    head: BookMessage,
    /// `None` if there is no book.
    levels: Option<BookLevels>,
}

/// The newest book, with its forms: made once for all sessions that want them.
#[derive(Clone, Debug)]
pub(super) struct NewestBook {
    pub(super) book: Arc<Book>,
    /// The message as it came.
    pub(super) payload: Payload,
    forms: Arc<Mutex<Forms>>,
}

/// The forms that were asked for; `None` where the whole book is no longer.
type Forms = Vec<(Form, Option<Payload>)>;

/// What a form depends on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Form {
    depth: Option<usize>,
    /// The version from which it leads to this one; `None` for a whole book.
    since: Option<u64>,
}

impl Book {
    /// A message that came.
    pub(super) fn new(json: Bytes, version: u64) -> Self {
        Self {
            version,
            json,
            read: OnceLock::new(),
        }
    }

    fn read(&self) -> Option<&Read> {
        let read = || {
            let message = BookMessage::read(&self.json)?;
            let levels = message.levels();
            let head = message.clone().with_levels(&BookLevels::default());
            // Clients compare texts: a book in other texts than ours has no other forms.
            let is_ours = match (&levels, message.state) {
                (Some(levels), BookState::Valid) => head.clone().with_levels(levels) == message,
                (levels, _) => levels.is_none() && message.state == BookState::Invalid,
            };
            is_ours.then_some(Read { head, levels })
        };
        self.read.get_or_init(read).as_ref()
    }

    /// What leads from an earlier book to this one; `None` if that is not shorter than the whole book,
    /// or if one of them is not valid or another publisher's.
    fn changes_since(&self, before: &Self, depth: Option<usize>) -> Option<Bytes> {
        let (now, before) = (self.read()?, before.read()?);
        let (levels, had) = (now.levels.as_ref()?, before.levels.as_ref()?);
        let is_one_stream =
            now.head.epoch == before.head.epoch && now.head.exchange == before.head.exchange;
        let levels = levels.cut(depth);
        let changes = levels.changes_since(had, depth);
        if !is_one_stream || changes.len() >= levels.len() {
            return None;
        }
        let checksum = levels.checksum();
        let message = BookChangesMessage::new(&now.head, before.head.seq, &changes, checksum);
        Some(message.encode())
    }

    /// The whole book with the best levels only; `None` if it has no more than these.
    fn cut(&self, depth: usize) -> Option<Bytes> {
        let read = self.read()?;
        let levels = read.levels.as_ref()?;
        let is_longer = levels.bids.len() > depth || levels.asks.len() > depth;
        let cut = || read.head.clone().with_levels(&levels.cut(Some(depth)));
        is_longer.then(|| cut().encode())
    }
}

impl NewestBook {
    /// A book without forms so far.
    pub(super) fn new(book: Arc<Book>) -> Self {
        Self {
            payload: Payload::from(book.json.clone()),
            book,
            forms: Arc::default(),
        }
    }

    /// A form of the book, made now if it was not made before.
    fn form(&self, form: Form, make: impl FnOnce() -> Option<Bytes>) -> Option<Payload> {
        let mut forms = self.forms.lock().expect("no holder panics");
        let kept = forms.iter().find(|(kept, _)| *kept == form);
        if let Some((_, payload)) = kept {
            return payload.clone();
        }
        let payload = make().map(Payload::from);
        if payload.is_some() {
            let label = match form.since {
                Some(_) => "changes",
                None => "cut",
            };
            counter!("gateway_book_forms_total", "form" => label).increment(1);
        }
        if forms.len() < FORMS_MAX {
            forms.push((form, payload.clone()));
        }
        payload
    }

    /// What has changed since an earlier book, to the depth of a session; see [`Book::changes_since`].
    pub(super) fn changes_since(&self, had: &Book, wanted: BookForm) -> Option<Payload> {
        let form = Form {
            depth: wanted.depth,
            since: Some(had.version),
        };
        self.form(form, || self.book.changes_since(had, wanted.depth))
    }

    /// The whole book to the depth of a session.
    pub(super) fn whole(&self, wanted: BookForm) -> Payload {
        let cut = wanted.depth.and_then(|depth| {
            let form = Form {
                depth: wanted.depth,
                since: None,
            };
            self.form(form, || self.book.cut(depth))
        });
        cut.unwrap_or_else(|| self.payload.clone())
    }

    /// Whether there is no book.
    pub(super) fn is_invalid(&self) -> bool {
        self.book.read().is_none_or(|read| read.levels.is_none())
    }
}
