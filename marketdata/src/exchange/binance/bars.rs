//! Binance's own bars.

use market_core::{Timeframe, UnixMillis};
use venue_files::binance::RestKline;

use super::Binance;
use crate::exchange::{BarArchive, DecodeError, RestRequest, VenueBar};

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

    fn bars_max(&self) -> usize {
        1_000
    }

    fn parse_bars_page(&self, body: &[u8]) -> Result<Vec<VenueBar>, DecodeError> {
        let rows: Vec<RestKline> =
            serde_json::from_slice(body).map_err(|_| DecodeError::Malformed("page of bars"))?;
        Ok(rows.into_iter().map(VenueBar::from).collect())
    }
}
