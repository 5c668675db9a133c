//! OKX's list of spot markets, and their turnover.

use std::collections::HashMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{Okx, Page};
use crate::exchange::directory::{Directory, Market, turnover};
use crate::exchange::{DecodeError, RestRequest};

/// One row of `public/instruments`.
///
/// ```json
/// {"instType":"SPOT","instId":"BTC-USDT","baseCcy":"BTC","quoteCcy":"USDT","state":"live"}
/// ```
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MarketRow {
    inst_id: String,
    base_ccy: String,
    quote_ccy: String,
    state: String,
}

/// One row of `market/tickers`; for spot markets, `volCcy24h` is in the quote currency.
///
/// ```json
/// {"instType":"SPOT","instId":"BTC-USDT","last":"91248.1","vol24h":"5021.3","volCcy24h":"458141982.1"}
/// ```
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TickerRow {
    inst_id: String,
    vol_ccy24h: String,
}

fn rows<Row: DeserializeOwned>(body: &[u8], what: &'static str) -> Result<Vec<Row>, DecodeError> {
    let page: Page<'_, Row> =
        serde_json::from_slice(body).map_err(|_| DecodeError::Malformed(what))?;
    if page.code != "0" {
        return Err(DecodeError::Malformed(
            "the venue answered with an error code",
        ));
    }
    Ok(page.data)
}

impl Directory for Okx {
    fn parse_markets(&self, body: &[u8]) -> Result<Vec<Market>, DecodeError> {
        let market = |row: MarketRow| Market {
            is_trading: row.state == "live",
            native: row.inst_id,
            base: row.base_ccy,
            quote: row.quote_ccy,
        };
        Ok(rows(body, "list of symbols")?
            .into_iter()
            .map(market)
            .collect())
    }

    fn turnovers_page(&self) -> RestRequest {
        RestRequest {
            path_and_query: "/api/v5/market/tickers?instType=SPOT".to_owned(),
            weight: 1,
        }
    }

    fn parse_turnovers(&self, body: &[u8]) -> Result<HashMap<String, f64>, DecodeError> {
        let rows: Vec<TickerRow> = rows(body, "list of tickers")?;
        let turnovers = rows
            .into_iter()
            .filter_map(|row| Some((row.inst_id, turnover(&[&row.vol_ccy24h])?)));
        Ok(turnovers.collect())
    }
}
