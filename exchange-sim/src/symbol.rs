//! The state of one symbol: its tape, its book, and its subscribers.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;

use crate::bar::Bar;
use crate::book::Book;
use crate::instrument::Instrument;
use crate::interval::DAY_MS;
use crate::tape::{Tape, TapeBounds};
use crate::topic::Topic;

/// Books that are kept as the truth, the newest ones.
pub(crate) const BOOKS_KEPT: usize = 1_000;

/// A symbol of a venue.
#[derive(Debug)]
pub(crate) struct Symbol {
    pub(crate) key: String,
    pub(crate) subscribers: AtomicUsize,
    pub(crate) core: Mutex<Core>,
}

/// The state of one symbol.
#[derive(Debug)]
pub(crate) struct Core {
    /// Its trades.
    pub(crate) tape: Tape,
    pub(crate) topics: Vec<Topic>,
    /// The book that REST and new subscribers see.
    book: Option<Book>,
    /// The last books, oldest first.
    pub(crate) books: VecDeque<Book>,
    /// Added to generated ids, wrapping: the number of trades placed between them, or the jump of
    /// the venue's numbers.
    pub(crate) id_shift: u64,
    /// Added to generated ids of aggregates, wrapping.
    pub(crate) aggregate_shift: u64,
    /// Id of the next generated trade after the numbers started again, until that trade has come.
    pub(crate) restarted_at: Option<u64>,
    day: Option<(i64, Bar)>,
    /// Whether heartbeats come from a capture.
    pub(crate) heartbeats_captured: bool,
}

impl Core {
    /// A symbol that has not been traded.
    pub(crate) fn new(bounds: TapeBounds) -> Core {
        Core {
            tape: Tape::new(bounds),
            topics: Vec::new(),
            book: None,
            books: VecDeque::new(),
            id_shift: 0,
            aggregate_shift: 0,
            restarted_at: None,
            day: None,
            heartbeats_captured: false,
        }
    }

    /// The current book. While a client follows the changes, it is the book of the last change.
    pub(crate) fn book_now(&mut self, instrument: &Instrument) -> Option<Book> {
        let followed = self.topics.iter().any(|topic| topic.book.is_some());
        if followed && self.book.is_some() {
            return self.book;
        }
        self.advance_book(instrument)
    }

    pub(crate) fn advance_book(&mut self, instrument: &Instrument) -> Option<Book> {
        let last = self.tape.last()?;
        let before = self.book;
        // Ids begin high and rise, also across restarts: the trade's id is a part of them.
        let of_last = last.id.saturating_mul(3);
        // After ids started again, the book's own ids continue to rise.
        let is_new = before.is_none_or(|book| book.trade_id != last.id);
        if is_new {
            let floor = before.map_or(0, |book| book.update_id + 1);
            let book = Book::after(last, instrument.tick, of_last.max(floor));
            self.book = Some(book);
            if self.books.len() == BOOKS_KEPT {
                self.books.pop_front();
            }
            self.books.push_back(book);
        }
        self.book
    }

    /// The time up to which the symbol has bars: now, or the last trade's time if that is more than
    /// a day ago, as in a capture of another year.
    pub(crate) fn market_now_ms(&self, now_ms: i64) -> i64 {
        match self.tape.newest_ms() {
            Some(last_ms) if now_ms - last_ms >= DAY_MS => last_ms,
            // A single trade with a time far ahead does not move the market there.
            Some(last_ms) if last_ms - now_ms < DAY_MS => now_ms.max(last_ms),
            Some(_) => now_ms,
            None => now_ms,
        }
    }

    /// The last 24 hours, at most one second old.
    pub(crate) fn day_now(&mut self, now_ms: i64) -> Option<Bar> {
        if self
            .day
            .is_none_or(|(at_ms, _)| now_ms - at_ms >= 1_000 || now_ms < at_ms)
        {
            let summary = self
                .tape
                .summary_since(self.market_now_ms(now_ms) - DAY_MS)?;
            self.day = Some((now_ms, summary));
        }
        self.day.map(|(_, bar)| bar)
    }
}
