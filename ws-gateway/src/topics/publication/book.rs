//! The check of an order book: clients trade on it, so a book that cannot be one does not pass.

use market_core::book::DEPTH_MAX;
use market_core::clock::{UnixMicros, UnixMillis};
use market_core::wire::BookState;
use market_core::{Price, Quantity};
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};

/// Why a message is no order book.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum NoBook {
    /// It is not the JSON of a book.
    Malformed,
    /// No book has such levels.
    Impossible,
}

/// The fields of a book.
#[derive(Deserialize)]
struct BookFields<'a> {
    #[serde(rename = "symbol")]
    _symbol: &'a str,
    state: BookState,
    #[serde(borrow)]
    reason: Option<&'a str>,
    #[serde(borrow)]
    update_id: Option<&'a str>,
    #[serde(borrow)]
    bids: Vec<(&'a str, &'a str)>,
    #[serde(borrow)]
    asks: Vec<(&'a str, &'a str)>,
    #[serde(rename = "event_ms")]
    _event_ms: Option<UnixMillis>,
    #[serde(rename = "received_us")]
    _received_us: Option<UnixMicros>,
    published_us: UnixMicros,
    /// Clients take a message with this field for changes, and publishers send whole books.
    #[serde(rename = "prev_seq", default, deserialize_with = "is_there")]
    has_prev_seq: bool,
}

fn is_there<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(deserializer).map(|_| true)
}

/// When a book was published, if it is valid.
///
/// # Errors
/// If it is malformed, or if it cannot be: too deep, not in order, crossed, or invalid with levels.
pub(super) fn check(text: &str) -> Result<Option<UnixMicros>, NoBook> {
    let book: BookFields<'_> = serde_json::from_str(text).map_err(|_| NoBook::Malformed)?;
    if book.has_prev_seq || book.update_id.is_some_and(|id| id.parse::<u64>().is_err()) {
        return Err(NoBook::Malformed);
    }
    let is_possible = match book.state {
        BookState::Invalid => book.bids.is_empty() && book.asks.is_empty(),
        BookState::Valid => {
            // The best price first: bids fall, asks rise.
            let best_bid = best(&book.bids, |better, worse| better > worse)?;
            let best_ask = best(&book.asks, |better, worse| better < worse)?;
            let is_crossed = best_bid.zip(best_ask).is_some_and(|(bid, ask)| bid >= ask);
            book.reason.is_none() && !is_crossed
        }
    };
    match is_possible {
        true => Ok((book.state == BookState::Valid).then_some(book.published_us)),
        false => Err(NoBook::Impossible),
    }
}

/// The best price of a side; `None` if it has no level.
fn best(
    levels: &[(&str, &str)],
    is_better: fn(&Price, &Price) -> bool,
) -> Result<Option<Price>, NoBook> {
    if levels.len() > DEPTH_MAX {
        return Err(NoBook::Impossible);
    }
    let mut first = None;
    let mut before: Option<Price> = None;
    for (price, quantity) in levels {
        let price = Price::parse(price).map_err(|_| NoBook::Malformed)?;
        Quantity::parse(quantity).map_err(|_| NoBook::Malformed)?;
        if before.is_some_and(|before| !is_better(&before, &price)) {
            return Err(NoBook::Impossible);
        }
        first = first.or(Some(price));
        before = Some(price);
    }
    Ok(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_book_of_too_many_levels_is_refused() {
        let book = |levels: usize| {
            let level = |at: usize| format!(r#"["{}","1"]"#, 1_000 + at);
            let levels: Vec<String> = (0..levels).map(level).collect();
            format!(
                r#"{{"symbol":"A-B","state":"valid","bids":[],"asks":[{}],"published_us":7}}"#,
                levels.join(",")
            )
        };
        assert_eq!(check(&book(DEPTH_MAX)), Ok(Some(7)));
        assert_eq!(check(&book(DEPTH_MAX + 1)), Err(NoBook::Impossible));
    }

    #[test]
    fn a_publication_that_looks_like_changes_is_refused() {
        let book = |more: &str| {
            format!(
                r#"{{"symbol":"A-B","state":"valid","bids":[],"asks":[],"published_us":7{more}}}"#
            )
        };
        assert_eq!(check(&book("")), Ok(Some(7)));
        for prev_seq in ["5", "null", "{}"] {
            let more = format!(r#","prev_seq":{prev_seq}"#);
            assert_eq!(check(&book(&more)), Err(NoBook::Malformed), "{prev_seq}");
        }
    }
}
