//! Order books.

use serde::{Deserialize, Serialize};

use super::bar::Stamp;
use super::json::JsonMessage;
use crate::book::{BookFault, BookTop};
use crate::channel::BOOK;
use crate::quote::PriceLevel;
use crate::topic::Topic;
use crate::value::clock::{UnixMicros, UnixMillis};
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

impl JsonMessage<'_> for BookMessage {}

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
    fn a_book_that_is_not_there_has_no_level_and_says_why() {
        check(
            Err(BookFault::Hole),
            r#"{"topic":"book:OKX:BTC-USDT","seq":7,"epoch":3,"exchange":"okx","symbol":"OKX:BTC-USDT","state":"invalid","reason":"hole","update_id":null,"bids":[],"asks":[],"event_ms":null,"received_us":null,"published_us":1723161254088000}"#,
        );
    }
}
