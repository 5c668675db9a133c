//! A bar as clients get it.

use serde::Deserialize;

/// The fields of `docs/protocol.md`; all of them must be there.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "named as in the protocol's reference")]
pub struct Bar {
    pub topic: String,
    pub seq: u64,
    pub epoch: u64,
    pub exchange: String,
    pub symbol: String,
    pub interval: String,
    pub start_ms: i64,
    pub end_ms: i64,
    pub open: String,
    pub high: String,
    pub low: String,
    pub close: String,
    pub volume: String,
    pub quote_volume: Option<String>,
    pub taker_buy_volume: Option<String>,
    pub taker_buy_quote_volume: Option<String>,
    pub count: Option<u64>,
    pub first_id: Option<String>,
    pub last_id: Option<String>,
    pub state: State,
    pub rev: u32,
    pub quality: Quality,
    pub event_ms: Option<i64>,
    pub received_us: Option<i64>,
    pub published_us: i64,
    /// Closed bars of the topic before this one that were skipped.
    #[serde(default)]
    pub skipped: u64,
}

/// Whether it can still change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "named as in the protocol's reference")]
pub enum State {
    Forming,
    Closed,
}

/// How complete it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "named as in the protocol's reference")]
pub enum Quality {
    Complete,
    Gap,
    Backfilled,
    Partial,
    Filled,
}

impl Bar {
    /// Which of two bars with the same topic and start counts: the newer publisher's, then the
    /// higher revision, then the later publication.
    #[must_use]
    pub fn standing(&self) -> (u64, u32, u64) {
        (self.epoch, self.rev, self.seq)
    }
}
