//! Books as the events of streams.

use serde::Deserialize;

use super::depth::book_number;
use super::stream_of;
use crate::value::symbol::Symbol;
use crate::wire::SILENT;

/// The kind of the stream whose events are publications. The others are made of them.
pub const BOOK_STREAM: &str = "depth20@100ms";
/// Levels of each side in an event of that stream.
const LEVELS: usize = 20;

/// An encoded book, as far as an event has it. The texts are those of the book.
#[derive(Deserialize, Clone, PartialEq, Eq, Debug)]
pub struct PartialDepth<'a> {
    symbol: Symbol,
    seq: u64,
    epoch: u64,
    #[serde(borrow)]
    reason: Option<&'a str>,
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

    /// The event of its stream: `{"lastUpdateId":160,"bids":[["0.0024","10"]],"asks":[["0.0026","100"]]}`.
    #[must_use]
    pub fn event(&self) -> String {
        self.event_of(LEVELS)
    }

    /// The same with at most `levels_max` levels of each side.
    ///
    /// The sides of a book that is not there are empty.
    #[must_use]
    pub fn event_of(&self, levels_max: usize) -> String {
        let number = book_number(self.epoch, self.seq, self.reason == Some(SILENT));
        let side = |levels: &[(&str, &str)]| {
            let level = |&(price, quantity): &(&str, &str)| format!(r#"["{price}","{quantity}"]"#);
            let levels: Vec<String> = levels.iter().take(levels_max).map(level).collect();
            levels.join(",")
        };
        format!(
            r#"{{"lastUpdateId":{number},"bids":[{}],"asks":[{}]}}"#,
            side(&self.bids),
            side(&self.asks)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binance::DepthBook;
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
        let same = DepthBook::read(&json).map(|book| book.levels_event(LEVELS));
        assert_eq!(same.as_deref(), Some(expected));
        assert_eq!(depth.stream().as_deref(), Some("btcusdt@depth20@100ms"));
    }

    #[test]
    fn a_book_is_an_event_of_at_most_twenty_levels_and_an_invalid_one_is_empty() {
        let level = |price: u64| {
            let level = PriceLevel::parse(&price.to_string(), "0.50").expect("numbers");
            level.expect("a level")
        };
        let book = BookTop {
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
        // Not the venue's number: a venue may have none, and a book that is not there has none.
        check(Ok(&book), &event(17, r#"["9","0.5"]"#, &asks.join(",")));
        check(Err(BookFault::Hole), &event(17, "", ""));
    }
}
