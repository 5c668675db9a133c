//! Questions to publishers about a venue's own bars, and their answers.

use serde::{Deserialize, Serialize};

use crate::value::amount::Amount;
use crate::value::clock::UnixMillis;
use crate::value::price::Price;
use crate::value::symbol::Symbol;
use crate::value::timeframe::Timeframe;

/// The most bars of one [`ArchivePage`]: an answer stays below the bus's payload limit of 1 MiB.
pub const ARCHIVE_BARS_MAX: usize = 1_000;

/// A question for the bars of a venue that start in `[from_ms, to_ms)`. The answer is an
/// [`ArchivePage`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchiveQuery {
    /// The symbol.
    pub symbol: Symbol,
    /// How wide the bars are.
    pub interval: Timeframe,
    /// First instant.
    pub from_ms: UnixMillis,
    /// First instant after the range.
    pub to_ms: UnixMillis,
}

/// The newest closed bars of the range, as many as the venue gives at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchivePage {
    /// By ascending start.
    pub bars: Vec<ArchiveBar>,
    /// All bars of the range that start at this instant or later are in the page. Not later than
    /// `from_ms` of the question if nothing is left to ask for.
    pub complete_from_ms: UnixMillis,
    /// False if the venue has no bars so wide: then no page has any.
    #[serde(default = "has_width")]
    pub has_width: bool,
}

fn has_width() -> bool {
    true
}

/// A bar as a venue reports it. What a venue does not say is `None`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(
    missing_docs,
    reason = "the fields of a published bar, documented with the protocol"
)]
pub struct ArchiveBar {
    pub start_ms: UnixMillis,
    pub open: Price,
    pub high: Price,
    pub low: Price,
    pub close: Price,
    pub volume: Amount,
    pub quote_volume: Option<Amount>,
    pub taker_buy_volume: Option<Amount>,
    pub taker_buy_quote_volume: Option<Amount>,
    pub count: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_keeps_its_decimals() {
        let json = r#"{"bars":[{"start_ms":60000,"open":"1.5","high":"2","low":"1","close":"1.25","volume":"0.001","quote_volume":"0.00125","taker_buy_volume":null,"taker_buy_quote_volume":null,"count":null}],"complete_from_ms":60000,"has_width":true}"#;
        let page: ArchivePage = serde_json::from_str(json).expect("a page");
        assert_eq!(serde_json::to_string(&page).expect("plain fields"), json);
        assert_eq!(page.bars[0].count, None);
        // Publishers before it had no word for a width that a venue lacks.
        let older = json.replace(r#","has_width":true"#, "");
        assert_eq!(
            serde_json::from_str::<ArchivePage>(&older).expect("a page"),
            page
        );
    }
}
