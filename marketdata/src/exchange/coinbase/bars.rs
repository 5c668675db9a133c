//! Coinbase's own bars.

use market_core::{Timeframe, UnixMillis};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::Coinbase;
use crate::exchange::{BarArchive, DecodeError, RestRequest, VenueBar, iso_time};

/// Timeframes of the venue's own bars, in seconds.
const GRANULARITIES: [(&str, u32); 5] = [
    ("1m", 60),
    ("5m", 300),
    ("15m", 900),
    ("1h", 3_600),
    ("1d", 86_400),
];

/// One row of `/products/{id}/candles`, newest first: `[time, low, high, open, close, volume]`,
/// as numbers.
///
/// ```json
/// [1415398768,0.32,4.2,0.35,4.2,12.3]
/// ```
#[derive(Deserialize)]
struct BarRow<'a>(
    i64,
    #[serde(borrow)] &'a RawValue,
    #[serde(borrow)] &'a RawValue,
    #[serde(borrow)] &'a RawValue,
    #[serde(borrow)] &'a RawValue,
    #[serde(borrow)] &'a RawValue,
);

impl BarArchive for Coinbase {
    fn bars_page(
        &self,
        native: &str,
        timeframe: Timeframe,
        from_ms: UnixMillis,
        last_start_ms: UnixMillis,
    ) -> Option<RestRequest> {
        let name = timeframe.to_string();
        let (_, granularity) = GRANULARITIES.iter().find(|(known, _)| *known == name)?;
        Some(RestRequest {
            path_and_query: format!(
                "/products/{native}/candles?granularity={granularity}&start={}&end={}",
                iso_time::format_seconds(from_ms / 1_000),
                iso_time::format_seconds(last_start_ms / 1_000),
            ),
            weight: 1,
        })
    }

    fn bars_max(&self) -> usize {
        300
    }

    fn parse_bars_page(&self, body: &[u8]) -> Result<Vec<VenueBar>, DecodeError> {
        let rows: Vec<BarRow<'_>> =
            serde_json::from_slice(body).map_err(|_| DecodeError::Malformed("page of bars"))?;
        let text = |value: &RawValue| value.get().trim_matches('"').to_owned();
        let bar = |row: BarRow<'_>| VenueBar {
            start_ms: row.0.saturating_mul(1_000),
            low: text(row.1),
            high: text(row.2),
            open: text(row.3),
            close: text(row.4),
            volume: text(row.5),
            quote_volume: None,
            count: None,
            taker_buy_volume: None,
            taker_buy_quote_volume: None,
        };
        Ok(rows.into_iter().rev().map(bar).collect())
    }
}
