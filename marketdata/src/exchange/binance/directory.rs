//! Binance's list of spot markets, and their turnover.

use std::collections::HashMap;

use serde::Deserialize;

use super::Binance;
use crate::exchange::directory::{Directory, Market, turnover};
use crate::exchange::{DecodeError, RestRequest};

/// `/api/v3/exchangeInfo`.
#[derive(Deserialize)]
struct Markets {
    symbols: Vec<MarketRow>,
}

/// ```json
/// {"symbol":"ETHBTC","status":"TRADING","baseAsset":"ETH","quoteAsset":"BTC","isSpotTradingAllowed":true}
/// ```
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MarketRow {
    symbol: String,
    status: String,
    base_asset: String,
    quote_asset: String,
    #[serde(default = "yes")]
    is_spot_trading_allowed: bool,
}

/// One row of `/api/v3/ticker/24hr`.
///
/// ```json
/// {"symbol":"ETHBTC","quoteVolume":"812.31840000"}
/// ```
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TickerRow {
    symbol: String,
    quote_volume: String,
}

fn yes() -> bool {
    true
}

impl Directory for Binance {
    fn parse_markets(&self, body: &[u8]) -> Result<Vec<Market>, DecodeError> {
        let list: Markets =
            serde_json::from_slice(body).map_err(|_| DecodeError::Malformed("list of symbols"))?;
        let market = |row: MarketRow| Market {
            is_trading: row.status == "TRADING" && row.is_spot_trading_allowed,
            native: row.symbol,
            base: row.base_asset,
            quote: row.quote_asset,
        };
        Ok(list.symbols.into_iter().map(market).collect())
    }

    fn turnovers_page(&self) -> RestRequest {
        RestRequest {
            path_and_query: "/api/v3/ticker/24hr?type=MINI".to_owned(),
            weight: 80,
        }
    }

    fn parse_turnovers(&self, body: &[u8]) -> Result<HashMap<String, f64>, DecodeError> {
        let rows: Vec<TickerRow> =
            serde_json::from_slice(body).map_err(|_| DecodeError::Malformed("list of tickers"))?;
        let turnovers = rows
            .into_iter()
            .filter_map(|row| Some((row.symbol, turnover(&[&row.quote_volume])?)));
        Ok(turnovers.collect())
    }
}
