//! Order books.

use serde::{Deserialize, Serialize};

use super::bar::Stamp;
use super::json::JsonMessage;
use crate::book::{BookFault, BookLevels, BookTop, LevelChange, LevelChanges};
use crate::channel::BOOK;
use crate::quote::PriceLevel;
use crate::topic::Topic;
use crate::value::clock::{UnixMicros, UnixMillis};
use crate::value::price::{Price, Quantity};
use crate::value::symbol::Symbol;

/// Why there is no book, if its publisher is not heard any more.
pub const SILENT: &str = "silent";

/// Whether a published book is the venue's book.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BookState {
    /// It is, at its number.
    Valid,
    /// There is no book: an update is missing, and another snapshot is on its way.
    Invalid,
}

/// The best levels of a book as published. Each message has all of them, so none needs the one
/// before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(
    missing_docs,
    reason = "the fields of the message, documented with the protocol"
)]
pub struct BookMessage {
    pub topic: String,
    pub seq: u64,
    pub epoch: u64,
    pub exchange: String,
    pub symbol: String,
    pub state: BookState,
    pub reason: Option<String>,
    pub update_id: Option<String>,
    pub bids: Vec<(String, String)>,
    pub asks: Vec<(String, String)>,
    pub event_ms: Option<UnixMillis>,
    pub received_us: Option<UnixMicros>,
    pub published_us: UnixMicros,
}

impl BookMessage {
    /// The message of a book, or that there is none.
    #[must_use]
    pub fn new(
        exchange: &str,
        symbol: &Symbol,
        book: Result<&BookTop, BookFault>,
        stamp: Stamp,
    ) -> Self {
        let side = |levels: fn(&BookTop) -> &Vec<PriceLevel>| {
            let levels = book.ok().into_iter().flat_map(levels);
            levels
                .map(|level| (level.price.to_string(), level.quantity.to_string()))
                .collect()
        };
        Self {
            topic: Topic::of_symbol(&BOOK, symbol).as_str().to_owned(),
            seq: stamp.seq,
            epoch: stamp.epoch,
            exchange: exchange.to_owned(),
            symbol: symbol.as_str().to_owned(),
            state: match book {
                Ok(_) => BookState::Valid,
                Err(_) => BookState::Invalid,
            },
            reason: book.err().map(|fault| fault.name().to_owned()),
            update_id: book
                .ok()
                .and_then(|book| book.update_id)
                .map(|id| id.to_string()),
            bids: side(|book| &book.bids),
            asks: side(|book| &book.asks),
            event_ms: book.ok().and_then(|book| book.event_ms),
            received_us: book.ok().map(|book| book.received_us),
            published_us: stamp.published_us,
        }
    }
}

impl BookMessage {
    /// What a reader of the bus says after this message if nothing more comes from the publisher. It
    /// has the place of the next message, which replaces it.
    #[must_use]
    pub fn silent(self) -> Self {
        Self {
            seq: self.seq.saturating_add(1),
            state: BookState::Invalid,
            reason: Some(SILENT.to_owned()),
            update_id: None,
            bids: Vec::new(),
            asks: Vec::new(),
            event_ms: None,
            received_us: None,
            ..self
        }
    }
}

impl BookMessage {
    /// Its levels; `None` if one is not a level, or if there is no book.
    #[must_use]
    pub fn levels(&self) -> Option<BookLevels> {
        let side = |levels: &[(String, String)]| {
            let level = |(price, quantity): &(String, String)| {
                Some(PriceLevel {
                    price: Price::parse(price).ok()?,
                    quantity: Quantity::parse(quantity).ok()?,
                })
            };
            levels.iter().map(level).collect::<Option<Vec<_>>>()
        };
        match self.state {
            BookState::Valid => Some(BookLevels {
                bids: side(&self.bids)?,
                asks: side(&self.asks)?,
            }),
            BookState::Invalid => None,
        }
    }

    /// The same message with these levels.
    #[must_use]
    pub fn with_levels(self, levels: &BookLevels) -> Self {
        let side = |levels: &[PriceLevel]| {
            let level = |level: &PriceLevel| (level.price.to_string(), level.quantity.to_string());
            levels.iter().map(level).collect()
        };
        Self {
            bids: side(&levels.bids),
            asks: side(&levels.asks),
            ..self
        }
    }
}

impl JsonMessage<'_> for BookMessage {}

/// What has changed in a book since an earlier message of it. A message without `prev_seq` is a
/// whole book.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(
    missing_docs,
    reason = "the fields of the message, documented with the protocol"
)]
pub struct BookChangesMessage {
    pub topic: String,
    pub seq: u64,
    pub epoch: u64,
    pub prev_seq: u64,
    pub exchange: String,
    pub symbol: String,
    pub state: BookState,
    pub reason: Option<String>,
    pub update_id: Option<String>,
    pub depth: Option<usize>,
    pub bids: Vec<(String, String)>,
    pub asks: Vec<(String, String)>,
    pub checksum: u32,
    pub event_ms: Option<UnixMillis>,
    pub received_us: Option<UnixMicros>,
    pub published_us: UnixMicros,
}

/// The quantity of a level that is gone.
const GONE: &str = "0";

impl BookChangesMessage {
    /// The changes that lead to `book`, whose best levels then have this checksum, from the message
    /// with the number `prev_seq`.
    #[must_use]
    pub fn new(book: &BookMessage, prev_seq: u64, changes: &LevelChanges, checksum: u32) -> Self {
        let side = |changes: &[LevelChange]| {
            let text = |change: &LevelChange| {
                let quantity = change.quantity.map_or(GONE.to_owned(), |it| it.to_string());
                (change.price.to_string(), quantity)
            };
            changes.iter().map(text).collect()
        };
        let book = book.clone();
        Self {
            topic: book.topic,
            seq: book.seq,
            epoch: book.epoch,
            prev_seq,
            exchange: book.exchange,
            symbol: book.symbol,
            state: book.state,
            reason: book.reason,
            update_id: book.update_id,
            depth: changes.depth,
            bids: side(&changes.bids),
            asks: side(&changes.asks),
            checksum,
            event_ms: book.event_ms,
            received_us: book.received_us,
            published_us: book.published_us,
        }
    }

    /// The changes; `None` if one is none.
    #[must_use]
    pub fn changes(&self) -> Option<LevelChanges> {
        let side = |levels: &[(String, String)]| {
            let change =
                |(price, quantity): &(String, String)| LevelChange::parse(price, quantity).ok();
            levels.iter().map(change).collect::<Option<Vec<_>>>()
        };
        Some(LevelChanges {
            depth: self.depth,
            bids: side(&self.bids)?,
            asks: side(&self.asks)?,
        })
    }
}

impl JsonMessage<'_> for BookChangesMessage {}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp = Stamp {
        seq: 7,
        epoch: 3,
        published_us: 1_723_161_254_088_000,
    };

    #[track_caller]
    fn check(book: Result<&BookTop, BookFault>, expected: &str) {
        let symbol: Symbol = "OKX:BTC-USDT".parse().expect("a symbol");
        let message = BookMessage::new("okx", &symbol, book, STAMP);
        let json = message.encode();
        assert_eq!(json, expected);
        assert_eq!(BookMessage::read(&json), Some(message));
    }

    #[test]
    fn a_book_is_read_as_it_was_encoded() {
        let level = |price: &str, quantity: &str| {
            let level = PriceLevel::parse(price, quantity).expect("numbers");
            level.expect("a level")
        };
        let book = BookTop {
            update_id: Some(50_093_239_212),
            bids: vec![level("61837.63000000", "3.78826"), level("61837", "1.0")],
            asks: vec![level("61837.64", "1.54698")],
            event_ms: Some(1_723_161_254_087),
            received_us: 1_723_161_254_087_891,
        };
        check(
            Ok(&book),
            r#"{"topic":"book:OKX:BTC-USDT","seq":7,"epoch":3,"exchange":"okx","symbol":"OKX:BTC-USDT","state":"valid","reason":null,"update_id":"50093239212","bids":[["61837.63","3.78826"],["61837","1"]],"asks":[["61837.64","1.54698"]],"event_ms":1723161254087,"received_us":1723161254087891,"published_us":1723161254088000}"#,
        );
    }

    #[test]
    fn the_changes_between_two_messages_are_a_message_that_is_read_as_it_was_encoded() {
        let message = |seq: u64, bids: &[(&str, &str)]| {
            let symbol: Symbol = "BTC-USDT".parse().expect("a symbol");
            let levels = bids.iter().map(|(price, quantity)| {
                let level = PriceLevel::parse(price, quantity).expect("numbers");
                level.expect("a level")
            });
            let book = BookTop {
                update_id: Some(500 + seq),
                bids: levels.collect(),
                asks: Vec::new(),
                event_ms: None,
                received_us: 1,
            };
            BookMessage::new("binance", &symbol, Ok(&book), Stamp { seq, ..STAMP })
        };
        let (before, now) = (
            message(7, &[("9.50", "1"), ("8", "2")]),
            message(9, &[("9.5", "1.5"), ("7", "2")]),
        );
        let (had, levels) = (
            before.levels().expect("levels"),
            now.levels().expect("levels"),
        );
        let changes = levels.changes_since(&had, Some(5));
        let message = BookChangesMessage::new(&now, before.seq, &changes, levels.checksum());
        let json = message.encode();
        assert_eq!(
            json,
            r#"{"topic":"book:BTC-USDT","seq":9,"epoch":3,"prev_seq":7,"exchange":"binance","symbol":"BTC-USDT","state":"valid","reason":null,"update_id":"509","depth":5,"bids":[["9.5","1.5"],["8","0"],["7","2"]],"asks":[],"checksum":246526190,"event_ms":null,"received_us":1,"published_us":1723161254088000}"#,
        );
        let read = BookChangesMessage::read(&json).expect("a message");
        assert_eq!((read.changes(), &read), (Some(changes), &message));
        assert_eq!(now.clone().with_levels(&levels), now);
    }

    #[test]
    fn a_book_that_is_not_there_has_no_level_and_says_why() {
        check(
            Err(BookFault::Hole),
            r#"{"topic":"book:OKX:BTC-USDT","seq":7,"epoch":3,"exchange":"okx","symbol":"OKX:BTC-USDT","state":"invalid","reason":"hole","update_id":null,"bids":[],"asks":[],"event_ms":null,"received_us":null,"published_us":1723161254088000}"#,
        );
    }
}
