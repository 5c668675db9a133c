//! A published bar, every field of it.

use serde::{Deserialize, Serialize};

use super::bar::Stamp;
use crate::bar::{Bar, BarState, Fold, Quality};
use crate::topic::Topic;
use crate::value::amount::Amount;
use crate::value::clock::{UnixMicros, UnixMillis};
use crate::value::symbol::Symbol;
use crate::value::timeframe::Timeframe;

/// A bar as published, every field of it. A reader that needs only the head takes [`super::BarHead`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(
    missing_docs,
    reason = "the fields of the message, documented with the protocol"
)]
pub struct BarMessage {
    /// Empty in the output of `replay`, as are the other fields that only a publisher knows.
    #[serde(default)]
    pub topic: String,
    #[serde(default)]
    pub seq: u64,
    #[serde(default)]
    pub epoch: u64,
    #[serde(default)]
    pub exchange: String,
    pub symbol: String,
    pub interval: Timeframe,
    pub start_ms: UnixMillis,
    #[serde(default)]
    pub end_ms: UnixMillis,
    pub open: String,
    pub high: String,
    pub low: String,
    pub close: String,
    pub volume: String,
    /// This and the next three are absent in bars of a venue that does not say them.
    pub quote_volume: Option<String>,
    pub taker_buy_volume: Option<String>,
    pub taker_buy_quote_volume: Option<String>,
    pub count: Option<u64>,
    #[serde(default)]
    pub first_id: Option<String>,
    #[serde(default)]
    pub last_id: Option<String>,
    pub state: BarState,
    pub rev: u32,
    pub quality: Quality,
    #[serde(default)]
    pub event_ms: Option<UnixMillis>,
    #[serde(default)]
    pub received_us: Option<UnixMicros>,
    #[serde(default)]
    pub published_us: UnixMicros,
}

impl BarMessage {
    /// A bar as [`super::encode_bar`] writes it; `None` for a bar with neither trades nor a previous bar.
    #[must_use]
    pub fn new(
        topic: &Topic,
        exchange: &str,
        symbol: &Symbol,
        bar: &Bar,
        stamp: Stamp,
    ) -> Option<Self> {
        let [open, high, low, close] = bar.ohlc()?.map(|price| price.to_string());
        let fold = bar.fold.as_ref();
        let sum = |of: fn(&Fold) -> Amount| {
            fold.map_or_else(|| "0".to_owned(), |fold| of(fold).to_string())
        };
        Some(Self {
            topic: topic.to_string(),
            seq: stamp.seq,
            epoch: stamp.epoch,
            exchange: exchange.to_owned(),
            symbol: symbol.to_string(),
            interval: bar.timeframe,
            start_ms: bar.start_ms,
            end_ms: bar.end_ms,
            open,
            high,
            low,
            close,
            volume: sum(|fold| fold.volume),
            quote_volume: Some(sum(|fold| fold.quote_volume)),
            taker_buy_volume: Some(sum(|fold| fold.taker_buy_volume)),
            taker_buy_quote_volume: Some(sum(|fold| fold.taker_buy_quote_volume)),
            count: Some(fold.map_or(0, |fold| fold.count)),
            first_id: fold.map(|fold| fold.first_id.to_string()),
            last_id: fold.map(|fold| fold.last_id.to_string()),
            state: bar.state,
            rev: bar.rev,
            quality: bar.quality,
            event_ms: fold.map(Fold::event_ms),
            received_us: fold.map(|fold| fold.received_us),
            published_us: stamp.published_us,
        })
    }

    /// Reads an encoded bar; `None` if the payload is not a bar.
    #[must_use]
    pub fn read(payload: &[u8]) -> Option<Self> {
        serde_json::from_slice(payload).ok()
    }
}
