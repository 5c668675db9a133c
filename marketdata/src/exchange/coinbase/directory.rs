//! Coinbase's list of markets, and their turnover.

use std::collections::HashMap;

use serde::Deserialize;

use super::Coinbase;
use crate::exchange::directory::{Directory, Market, turnover};
use crate::exchange::{DecodeError, RestRequest};

/// One row of `/products`.
///
/// ```json
/// {"id":"BTC-USD","base_currency":"BTC","quote_currency":"USD","status":"online","trading_disabled":false}
/// ```
#[derive(Deserialize)]
struct MarketRow {
    id: String,
    base_currency: String,
    quote_currency: String,
    status: String,
    #[serde(default)]
    trading_disabled: bool,
}

/// One value of `/products/stats`, which the venue answers and does not document. Source: its own
/// page of markets, and clients that rank by it.
///
/// ```json
/// {"BTC-USD":{"stats_24hour":{"open":"1","high":"1","low":"1","volume":"62.4","last":"91250.1"}}}
/// ```
#[derive(Deserialize)]
struct Stats {
    stats_24hour: Option<DayStats>,
}

#[derive(Deserialize)]
struct DayStats {
    volume: Option<String>,
    last: Option<String>,
}

impl Directory for Coinbase {
    fn parse_markets(&self, body: &[u8]) -> Result<Vec<Market>, DecodeError> {
        let rows: Vec<MarketRow> =
            serde_json::from_slice(body).map_err(|_| DecodeError::Malformed("list of symbols"))?;
        let listed = rows.into_iter().filter(|row| row.status != "delisted");
        let market = |row: MarketRow| Market {
            is_trading: row.status == "online" && !row.trading_disabled,
            native: row.id,
            base: row.base_currency,
            quote: row.quote_currency,
        };
        Ok(listed.map(market).collect())
    }

    fn turnovers_page(&self) -> RestRequest {
        RestRequest {
            path_and_query: "/products/stats".to_owned(),
            weight: 1,
        }
    }

    /// The venue tells the volume in the base currency, so the last price stands for all prices.
    fn parse_turnovers(&self, body: &[u8]) -> Result<HashMap<String, f64>, DecodeError> {
        let stats: HashMap<String, Stats> =
            serde_json::from_slice(body).map_err(|_| DecodeError::Malformed("list of tickers"))?;
        let turnovers = stats.into_iter().filter_map(|(native, stats)| {
            let day = stats.stats_24hour?;
            Some((native, turnover(&[&day.volume?, &day.last?])?))
        });
        Ok(turnovers.collect())
    }
}
