//! Binance's own bars.

use market_core::{Timeframe, UnixMillis};
use serde::Deserialize;

use super::Binance;
use crate::exchange::{BarArchive, DecodeError, RestRequest, VenueBar, to_millis};

/// One row of `/api/v3/klines`.
///
/// ```json
/// [1499040000000,"0.01634790","0.80000000","0.01575800","0.01577100","148976.11427815",1499644799999,"2434.19055334",308,"1756.87402397","28.46694368","0"]
/// ```
#[derive(Deserialize)]
struct BarRow(
    i64,
    String,
    String,
    String,
    String,
    String,
    serde::de::IgnoredAny,
    String,
    u64,
    String,
    String,
    serde::de::IgnoredAny,
);

impl BarArchive for Binance {
    fn bars_page(
        &self,
        native: &str,
        timeframe: Timeframe,
        from_ms: UnixMillis,
        last_start_ms: UnixMillis,
    ) -> Option<RestRequest> {
        // The venue's intervals have our names, and it has all of ours.
        let interval = timeframe.to_string();
        let known = [
            "1s", "1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "1w",
            "1M",
        ];
        known.contains(&interval.as_str()).then(|| RestRequest {
            path_and_query: format!(
                "/api/v3/klines?symbol={native}&interval={interval}&startTime={from_ms}&endTime={last_start_ms}&limit=1000"
            ),
            weight: 2,
        })
    }

    fn parse_bars_page(&self, body: &[u8]) -> Result<Vec<VenueBar>, DecodeError> {
        let rows: Vec<BarRow> =
            serde_json::from_slice(body).map_err(|_| DecodeError::Malformed("page of bars"))?;
        let bar = |row: BarRow| VenueBar {
            start_ms: to_millis(row.0),
            open: row.1,
            high: row.2,
            low: row.3,
            close: row.4,
            volume: row.5,
            quote_volume: Some(row.7),
            count: Some(row.8),
            taker_buy_volume: Some(row.9),
            taker_buy_quote_volume: Some(row.10),
        };
        Ok(rows.into_iter().map(bar).collect())
    }
}
