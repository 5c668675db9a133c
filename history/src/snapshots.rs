//! Writes the order books of the bus into the store, from time to time.
//!
//! The bus carries more books than a store should hold, so each book is written once an interval, if it
//! has changed. A book that cannot be written is not kept: the next interval has a newer one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bus::{LogLimit, Message};
use bytes::Bytes;
use market_core::channel::BOOK;
use market_core::wire::{BookMessage, JsonMessage as _};
use market_core::{Symbol, subject};
use metrics::{Counter, Gauge, counter, gauge};
use service::Shutdown;
use tracing::warn;

use crate::config::BooksConfig;
use crate::consume::refused::Refusals;
use crate::error::{Error, PartEnd};
use crate::history::History;
use crate::retained::{NewestValues, follow};
use crate::store::{BookSnapshot, BookStore, Instrument, StoreError};

/// Bytes of a message that can be a book: some thousand levels.
const MESSAGE_BYTES_MAX: usize = 256 << 10;
/// Between two log lines about books that are not written.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// The newest book of each subject that has not been written.
#[derive(Debug)]
struct Waiting {
    books: Mutex<BTreeMap<Box<str>, Bytes>>,
    books_max: usize,
    meters: Meters,
}

#[derive(Debug)]
struct Meters {
    waiting: Gauge,
    written: Counter,
    dropped: Counter,
    unreadable: Counter,
    refused: Counter,
}

impl Waiting {
    fn new(books_max: usize) -> Self {
        let fate = |fate| counter!("history_books_total", "fate" => fate);
        Self {
            books: Mutex::default(),
            books_max,
            meters: Meters {
                waiting: gauge!("history_books_waiting"),
                written: fate("written"),
                dropped: fate("dropped"),
                unreadable: fate("unreadable"),
                refused: fate("refused"),
            },
        }
    }

    fn books(&self) -> MutexGuard<'_, BTreeMap<Box<str>, Bytes>> {
        // Each change leaves a whole value.
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_all(&self) -> BTreeMap<Box<str>, Bytes> {
        std::mem::take(&mut *self.books())
    }
}

impl NewestValues for Waiting {
    fn take(&self, message: &Message) {
        let mut books = self.books();
        let is_known = books.contains_key(&*message.subject);
        if message.payload.len() > MESSAGE_BYTES_MAX || !is_known && books.len() >= self.books_max {
            drop(books);
            self.meters.dropped.increment(1);
            return;
        }
        // A slice would hold the whole buffer that it was read into.
        let payload = Bytes::copy_from_slice(&message.payload);
        books.insert((&*message.subject).into(), payload);
        self.meters.waiting.set(books.len() as f64);
    }

    /// Of books that came too fast, the next ones replace them.
    fn lost(&self, _count: u64) {}
}

/// What a message says: a book, that there is none now, or nothing.
enum Said {
    Book(BookSnapshot),
    NoBook,
    Nothing,
}

fn read(said_on: &str, payload: &[u8], levels_max: usize) -> Said {
    let Some(message) = BookMessage::read(payload) else {
        return Said::Nothing;
    };
    let Ok(symbol) = message.symbol.parse::<Symbol>() else {
        return Said::Nothing;
    };
    // Permissions are given by subject.
    if *said_on != *subject::of_symbol(&BOOK, &message.exchange, &symbol)
        || message.exchange.is_empty()
    {
        return Said::Nothing;
    }
    let Some(levels) = message.levels() else {
        return match message.reason {
            Some(_) => Said::NoBook,
            None => Said::Nothing,
        };
    };
    Said::Book(BookSnapshot {
        levels: levels.cut(Some(levels_max)),
        instrument: Instrument {
            exchange: message.exchange.into(),
            symbol,
        },
        published_ms: message.published_us.div_euclid(1_000),
        event_ms: message.event_ms,
        update_id: message.update_id.unwrap_or_default().into(),
        epoch: message.epoch,
        seq: message.seq,
    })
}

/// Books that no store can hold, or that the server refuses.
#[derive(Debug, Default)]
struct LeftOut {
    count: u64,
    /// Of one of them.
    why: Option<String>,
}

/// Stores books. Those that cannot be stored are left out, and the others are stored.
fn put<S: BookStore + ?Sized>(
    store: &S,
    mut books: Vec<BookSnapshot>,
) -> Result<LeftOut, StoreError> {
    let mut left_out = LeftOut::default();
    books.retain(|book| match store.check_book(book) {
        Err(StoreError::Rows(error)) => {
            left_out.count = left_out.count.saturating_add(1);
            left_out.why = Some(error.to_string());
            false
        }
        _ => true,
    });
    match store.append_books(&books) {
        Err(StoreError::RowRefused { .. }) => {}
        stored => return stored.map(|()| left_out),
    }
    let mut refusals = Refusals::default();
    let rows: Vec<&BookSnapshot> = books.iter().collect();
    refusals.leave_out(vec![((), rows)], &|groups| {
        let rows = groups.iter().flat_map(|((), rows)| rows);
        let books: Vec<BookSnapshot> = rows.map(|book| (*book).clone()).collect();
        store.append_books(&books)
    })?;
    left_out.count = left_out.count.saturating_add(refusals.count);
    left_out.why = refusals.why.or(left_out.why);
    Ok(left_out)
}

/// Writes books each interval, until the shutdown.
///
/// # Errors
/// If the bus will never accept the subscription.
pub(crate) async fn run(history: History, config: BooksConfig, shutdown: Shutdown) -> PartEnd {
    let waiting = Arc::new(Waiting::new(config.store_books_max as usize));
    let pattern = BOOK.subjects();
    let followed = follow(&*waiting, &*history.bus, &pattern, shutdown.clone());
    let written = async {
        let mut log = LogLimit::new(LOG_INTERVAL);
        let mut ticks = tokio::time::interval(Duration::from_millis(config.store_books_ms.into()));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = shutdown.triggered() => return Ok::<_, Error>(()),
            }
            write(
                &history,
                &waiting,
                config.store_books_levels as usize,
                &mut log,
            )
            .await;
        }
    };
    tokio::pin!(followed, written);
    tokio::select! {
        followed = &mut followed => {
            if let Err(error) = followed {
                warn!(%error, "the store gets no order books: permit history to subscribe to them");
                shutdown.triggered().await;
            }
            Ok(())
        }
        written = &mut written => written,
    }
}

async fn write(history: &History, waiting: &Waiting, levels_max: usize, log: &mut LogLimit) {
    let (mut books, mut unreadable) = (Vec::new(), 0_u64);
    for (subject, payload) in waiting.take_all() {
        match read(&subject, &payload, levels_max) {
            Said::Book(book) => books.push(book),
            Said::NoBook => {}
            Said::Nothing => unreadable = unreadable.saturating_add(1),
        }
    }
    waiting.meters.waiting.set(0.0);
    waiting.meters.unreadable.increment(unreadable);
    if books.is_empty() {
        return;
    }
    let count = books.len() as u64;
    match history.read(move |store| put(store, books)).await {
        Ok(left_out) => {
            let written = count.saturating_sub(left_out.count);
            waiting.meters.written.increment(written);
            waiting.meters.refused.increment(left_out.count);
            if let Some(why) = left_out.why
                && let Some(books) = log.pass(Instant::now(), left_out.count)
            {
                warn!(why, books, "order books cannot be stored and are left out");
            }
        }
        Err(error) => {
            waiting.meters.dropped.increment(count);
            if let Some(books) = log.pass(Instant::now(), count) {
                warn!(%error, books, "order books were not written, and the next ones will be");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::BlockError;

    /// Holds books, none before 1970 and none of a symbol that it refuses.
    #[derive(Default)]
    struct Shelf {
        numbers: Mutex<std::collections::BTreeSet<u64>>,
        refuses: Option<&'static str>,
    }

    impl BookStore for Shelf {
        fn append_books(&self, books: &[BookSnapshot]) -> Result<(), StoreError> {
            for book in books {
                self.check_book(book)?;
                if self.refuses == Some(book.instrument.symbol.as_str()) {
                    let store = "clickhouse://host/db".into();
                    let reason = "Constraint is violated".to_owned();
                    return Err(StoreError::RowRefused { store, reason });
                }
            }
            let numbers = books.iter().map(|book| book.seq);
            self.numbers.lock().expect("no panic").extend(numbers);
            Ok(())
        }

        fn check_book(&self, book: &BookSnapshot) -> Result<(), StoreError> {
            match book.published_ms {
                0.. => Ok(()),
                _ => Err(StoreError::Rows(BlockError::Unstorable("a time"))),
            }
        }
    }

    #[test]
    fn a_book_that_cannot_be_stored_takes_no_other_one_along() {
        let books = || {
            let symbols = ["BTC-USD", "ETH-USD", "SOL-USD", "XRP-USD"];
            let books = symbols.iter().zip(1_u64..).map(|(symbol, seq)| {
                let json = BOOK_MESSAGE.replace("BTC-USD", symbol);
                let json = json.replace("\"seq\":3", &format!("\"seq\":{seq}"));
                match read(&format!("book.{symbol}"), json.as_bytes(), 20) {
                    Said::Book(book) => book,
                    _ => panic!("a book"),
                }
            });
            books.collect::<Vec<_>>()
        };
        let mut wrong = books();
        wrong[1].published_ms = -1;
        let shelf = Shelf::default();
        let left_out = put(&shelf, wrong.clone()).expect("stored");
        assert_eq!(left_out.count, 1, "{left_out:?}");
        let stored = shelf.numbers.into_inner().expect("no panic");
        assert_eq!(stored.into_iter().collect::<Vec<_>>(), [1, 3, 4]);

        let shelf = Shelf {
            refuses: Some("SOL-USD"),
            ..Shelf::default()
        };
        let left_out = put(&shelf, wrong).expect("stored");
        assert_eq!(left_out.count, 2, "{left_out:?}");
        assert!(left_out.why.is_some_and(|why| why.contains("Constraint")));
        let stored = shelf.numbers.into_inner().expect("no panic");
        assert_eq!(stored.into_iter().collect::<Vec<_>>(), [1, 4]);

        // A server that refuses all of them has a fault of its own.
        let shelf = Shelf {
            refuses: Some("BTC-USD"),
            ..Shelf::default()
        };
        let refused = put(&shelf, books()[..1].to_vec());
        assert!(
            matches!(refused, Err(StoreError::Refused { .. })),
            "{refused:?}"
        );
    }

    const BOOK_MESSAGE: &str = r#"{"topic":"book:BTC-USD","seq":3,"epoch":5,"exchange":"binance","symbol":"BTC-USD","state":"valid","reason":null,"update_id":"77","bids":[["100","1"],["99","2"]],"asks":[["101.5","0.25"],["102","1"]],"event_ms":1700000000000,"received_us":1700000000000001,"published_us":1700000000123456}"#;

    #[test]
    fn a_book_is_read_on_its_own_subject_alone() {
        let Said::Book(book) = read("book.BTC-USD", BOOK_MESSAGE.as_bytes(), 1) else {
            panic!("a book");
        };
        assert_eq!(book.published_ms, 1_700_000_000_123);
        assert_eq!((book.levels.bids.len(), book.levels.asks.len()), (1, 1));
        assert_eq!((book.epoch, book.seq, &*book.update_id), (5, 3, "77"));
        let other = read("book.ETH-USD", BOOK_MESSAGE.as_bytes(), 1);
        assert!(matches!(other, Said::Nothing));
        assert!(matches!(read("book.BTC-USD", b"{}", 1), Said::Nothing));
        let crossed = BOOK_MESSAGE.replace("\"99\"", "\"-99\"");
        assert!(matches!(
            read("book.BTC-USD", crossed.as_bytes(), 1),
            Said::Nothing
        ));
    }

    #[test]
    fn what_waits_is_the_newest_of_each_and_bounded() {
        let waiting = Waiting::new(2);
        for (subject, payload) in [
            ("book.A", "1"),
            ("book.B", "2"),
            ("book.C", "3"),
            ("book.A", "4"),
        ] {
            waiting.take(&Message::new(
                subject,
                Bytes::from_static(payload.as_bytes()),
            ));
        }
        let long = vec![b' '; MESSAGE_BYTES_MAX + 1];
        waiting.take(&Message::new("book.B", long.into()));
        let all = waiting.take_all();
        let all: Vec<_> = all
            .iter()
            .map(|(subject, payload)| (&**subject, &payload[..]))
            .collect();
        assert_eq!(all, [("book.A", &b"4"[..]), ("book.B", &b"2"[..])]);
        assert!(waiting.take_all().is_empty());
    }
}
