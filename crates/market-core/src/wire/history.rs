//! Questions to history, and its answers.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::value::clock::UnixMillis;

/// The most bars of one [`HistoryPage`]: an answer stays below the bus's payload limit of 1 MiB.
pub const BARS_PER_PAGE_MAX: usize = 1_000;

/// Which bars are asked for. The answer is a [`HistoryPage`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryQuery {
    /// The topic of the bars, of any width: `kline:7m:BTC-USD`.
    pub topic: String,
    /// The venue, in lower case. It may be left out where one venue has the symbol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exchange: Option<String>,
    /// The first instant; `None` for the first bar that is stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_ms: Option<UnixMillis>,
    /// The first instant after the range; `None` for now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_ms: Option<UnixMillis>,
    /// The most bars of the answer, up to [`BARS_PER_PAGE_MAX`].
    pub limit: usize,
    /// Which end of the range the page is taken from.
    #[serde(default)]
    pub order: HistoryOrder,
    /// Only what was known at this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub as_of_ms: Option<UnixMillis>,
    /// Only bars whose newest revision became known after this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known_after_ms: Option<UnixMillis>,
    /// Whether intervals without trades have a flat bar.
    #[serde(default = "yes")]
    pub has_flat_bars: bool,
    /// The `next` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

fn yes() -> bool {
    true
}

/// The direction of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HistoryOrder {
    /// The oldest bar first.
    #[default]
    Asc,
    /// The newest bar first.
    Desc,
}

/// Closed bars, each as a client gets it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HistoryPage {
    /// The venue whose bars they are.
    pub exchange: String,
    /// JSON objects as [`super::encode_bar`] makes them, with the topic that was asked for.
    pub bars: Vec<Box<RawValue>>,
    /// Where the next page begins; `None` if nothing follows in the range.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_needs_a_topic_and_a_limit_only() {
        let query: HistoryQuery =
            serde_json::from_str(r#"{"topic":"kline:7m:BTC-USD","limit":500}"#).expect("a query");
        assert_eq!(query.order, HistoryOrder::Asc);
        assert!(query.has_flat_bars);
        let json = serde_json::to_string(&query).expect("plain fields");
        assert_eq!(
            json,
            r#"{"topic":"kline:7m:BTC-USD","limit":500,"order":"asc","has_flat_bars":true}"#
        );
    }

    #[test]
    fn bars_of_a_page_keep_their_bytes() {
        let json = r#"{"exchange":"coinbase","bars":[{"topic":"kline:1m:BTC-USD","open":"1.50"}],"next":"c"}"#;
        let page: HistoryPage = serde_json::from_str(json).expect("a page");
        assert_eq!(
            page.bars[0].get(),
            r#"{"topic":"kline:1m:BTC-USD","open":"1.50"}"#
        );
        assert_eq!(serde_json::to_string(&page).expect("plain fields"), json);
    }
}
