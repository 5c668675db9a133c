//! OKX's own bars.

use market_core::{Timeframe, UnixMillis};

use super::{Okx, Page};
use crate::exchange::{BarArchive, DecodeError, RestRequest, VenueBar};

impl BarArchive for Okx {
    fn bars_page(
        &self,
        native: &str,
        timeframe: Timeframe,
        from_ms: UnixMillis,
        last_start_ms: UnixMillis,
    ) -> Option<RestRequest> {
        let name = match timeframe.to_string().as_str() {
            "1h" => "1H".to_owned(),
            "2h" => "2H".to_owned(),
            "4h" => "4H".to_owned(),
            // The plain names start at 16:00 UTC.
            "6h" => "6Hutc".to_owned(),
            "12h" => "12Hutc".to_owned(),
            "1d" => "1Dutc".to_owned(),
            "1w" => "1Wutc".to_owned(),
            "1M" => "1Mutc".to_owned(),
            name @ ("1s" | "1m" | "3m" | "5m" | "15m" | "30m") => name.to_owned(),
            _ => return None,
        };
        Some(RestRequest {
            path_and_query: format!(
                "/api/v5/market/history-candles?instId={native}&bar={name}&before={}&after={}&limit=100",
                from_ms - 1,
                last_start_ms + 1,
            ),
            weight: 1,
        })
    }

    fn bars_max(&self) -> usize {
        100
    }

    fn parse_bars_page(&self, body: &[u8]) -> Result<Vec<VenueBar>, DecodeError> {
        const MALFORMED: DecodeError = DecodeError::Malformed("page of bars");
        // [ts,o,h,l,c,vol,volCcy,volCcyQuote,confirm], newest first, all strings.
        let page: Page<'_, Vec<String>> = serde_json::from_slice(body).map_err(|_| MALFORMED)?;
        if page.code != "0" {
            return Err(DecodeError::Malformed(
                "the venue answered with an error code",
            ));
        }
        let mut bars = Vec::with_capacity(page.data.len());
        for row in page.data.into_iter().rev() {
            let [ts, open, high, low, close, volume, _, quote_volume, _] =
                <[String; 9]>::try_from(row).map_err(|_| MALFORMED)?;
            bars.push(VenueBar {
                start_ms: ts.parse().map_err(|_| MALFORMED)?,
                open,
                high,
                low,
                close,
                volume,
                quote_volume: Some(quote_volume),
                count: None,
                taker_buy_volume: None,
                taker_buy_quote_volume: None,
            });
        }
        Ok(bars)
    }
}
