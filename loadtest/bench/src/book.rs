//! The order books for every server: topics and bytes. Clients find them as they find bars.

use std::fmt::Write as _;

/// Levels of each side, as many as the market data program publishes by default.
const LEVELS: u64 = 20;

/// The name of topic number `index` for clients.
pub(crate) fn topic_name(index: u16) -> String {
    format!("book:B{index:05}-USD")
}

/// The subject of topic number `index` on the bus.
pub(crate) fn subject_name(index: u16) -> String {
    format!("book.B{index:05}-USD")
}

/// The number of the topic with this name.
pub(crate) fn topic_index(name: &str) -> Option<u16> {
    let symbol = name.strip_prefix("book:B")?;
    symbol.strip_suffix("-USD")?.parse().ok()
}

/// A book of the topic, as the market data program encodes it. Books of one second differ in some
/// quantities of each side, and all have one length.
pub(crate) fn encode(index: u16, seq: u64, epoch_ms: u64, published_us: u64) -> String {
    let side = |cents: fn(u64) -> u64| {
        let mut rows = String::new();
        for level in 0..LEVELS {
            let comma = if level == 0 { "" } else { "," };
            let cents = cents(level);
            // Most changes are near the best price. Neither a price nor a quantity ends in 0.
            let changes = seq / (1 + level);
            let quantity = 10_000 + changes * 7_919 % 80_000 / 10 * 10 + 1 + level % 9;
            // A text takes everything.
            let _ = write!(
                rows,
                r#"{comma}["{}.{:02}","0.{quantity}"]"#,
                cents / 100,
                cents % 100
            );
        }
        rows
    };
    format!(
        r#"{{"topic":"book:B{index:05}-USD","seq":{},"epoch":{epoch_ms},"exchange":"binance","symbol":"B{index:05}-USD","state":"valid","reason":null,"update_id":"{}","bids":[{}],"asks":[{}],"event_ms":{},"received_us":{},"published_us":{published_us}}}"#,
        10_000_000 + seq,
        50_093_239_212 + seq * 30,
        side(|level| 6_183_769 - level * 10),
        side(|level| 6_183_771 + level * 10),
        published_us / 1_000,
        published_us - 180,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bar::{Scanner, now_us};

    #[test]
    fn books_have_one_length_and_are_found_once_by_their_times() {
        let now_us = now_us();
        let books = [(0, 1), (999, 123_456), (7, 9_999)]
            .map(|(index, seq)| encode(index, seq, now_us / 1_000, now_us));
        for book in &books {
            assert_eq!(book.len(), books[0].len(), "{book}");
            let mut found = Vec::new();
            Scanner::default().scan(book.as_bytes(), |at| found.push(at));
            assert_eq!(found, [now_us]);
        }
        let json: serde_json::Value = serde_json::from_str(&books[2]).expect("JSON");
        assert_eq!(json["topic"], topic_name(7));
        assert_eq!(json["bids"].as_array().map(Vec::len), Some(20));
        assert_eq!(topic_index(&topic_name(42)), Some(42));
        assert_eq!(topic_index("kline:1m:B00042-USD"), None);
    }
}
