//! Books as the events of streams.

use serde::Deserialize;

use super::stream_of;
use crate::value::symbol::Symbol;

/// The kind of the stream. Of Binance's other depths there is no stream here.
pub const BOOK_STREAM: &str = "depth20@100ms";
/// Levels of each side in an event.
const LEVELS: usize = 20;

/// An encoded book, as far as an event has it. The texts are those of the book.
#[derive(Deserialize, Clone, PartialEq, Eq, Debug)]
pub struct PartialDepth<'a> {
    symbol: Symbol,
    seq: u64,
    #[serde(borrow)]
    update_id: Option<&'a str>,
    #[serde(borrow)]
    bids: Vec<(&'a str, &'a str)>,
    #[serde(borrow)]
    asks: Vec<(&'a str, &'a str)>,
}

impl<'a> PartialDepth<'a> {
    /// Reads an encoded book; `None` if the payload is not a book.
    #[must_use]
    pub fn read(payload: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(payload).ok()
    }

    /// The name of its stream: `btcusdt@depth20@100ms`. `None` if its symbol has no name.
    #[must_use]
    pub fn stream(&self) -> Option<String> {
        stream_of(&self.symbol, BOOK_STREAM)
    }

    /// The event of a stream: `{"lastUpdateId":160,"bids":[["0.0024","10"]],"asks":[["0.0026","100"]]}`.
    ///
    /// A book of a venue that does not number its book has the number of the publication, and so has
    /// a book that is not there: its sides are empty.
    #[must_use]
    pub fn event(&self) -> String {
        let id = self.update_id.and_then(|id| id.parse().ok());
        let update_id: u64 = id.unwrap_or(self.seq);
        let side = |levels: &[(&str, &str)]| {
            let level = |&(price, quantity): &(&str, &str)| format!(r#"["{price}","{quantity}"]"#);
            let levels: Vec<String> = levels.iter().take(LEVELS).map(level).collect();
            levels.join(",")
        };
        format!(
            r#"{{"lastUpdateId":{update_id},"bids":[{}],"asks":[{}]}}"#,
            side(&self.bids),
            side(&self.asks)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::book::{BookFault, BookTop};
    use crate::quote::PriceLevel;
    use crate::wire::{BookMessage, JsonMessage, Stamp};

    #[track_caller]
    fn check(book: Result<&BookTop, BookFault>, expected: &str) {
        let symbol: Symbol = "BTC-USDT".parse().expect("a symbol");
        let stamp = Stamp {
            seq: 7,
            epoch: 3,
            published_us: 1,
        };
        let json = BookMessage::new("binance", &symbol, book, stamp).encode();
        let depth = PartialDepth::read(&json).expect("a book");
        assert_eq!(depth.event(), expected);
        assert_eq!(depth.stream().as_deref(), Some("btcusdt@depth20@100ms"));
    }

    #[test]
    fn a_book_is_an_event_of_at_most_twenty_levels_and_an_invalid_one_is_empty() {
        let level = |price: u64| {
            let level = PriceLevel::parse(&price.to_string(), "0.50").expect("numbers");
            level.expect("a level")
        };
        let mut book = BookTop {
            update_id: Some(160),
            bids: vec![level(9)],
            asks: (10..40).map(level).collect(),
            event_ms: None,
            received_us: 1,
        };
        let asks: Vec<String> = (10..30)
            .map(|price| format!(r#"["{price}","0.5"]"#))
            .collect();
        let event = |id: u64, bids: &str, asks: &str| {
            format!(r#"{{"lastUpdateId":{id},"bids":[{bids}],"asks":[{asks}]}}"#)
        };
        check(Ok(&book), &event(160, r#"["9","0.5"]"#, &asks.join(",")));
        book.update_id = None;
        check(Ok(&book), &event(7, r#"["9","0.5"]"#, &asks.join(",")));
        check(Err(BookFault::Hole), &event(7, "", ""));
    }
}
