//! The parameters of requests.

use axum::extract::Query;
use axum::http::Uri;
use market_core::UnixMillis;

use super::failure::{self, Failure};
use super::listing::{Listed, Market};

/// Times of this size and above are microseconds: Binance takes both.
const MICROSECONDS_MIN: i64 = 100_000_000_000_000;

/// The parameters of a request.
#[derive(Debug, Default)]
pub(super) struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// The pairs of a URL's query; `None` if they cannot be decoded.
    pub(super) fn read(uri: &Uri) -> Option<Self> {
        let Query(pairs) = Query::try_from_uri(uri).ok()?;
        Some(Self(pairs))
    }

    /// The first value of a key; an empty one is none.
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        let pair = self.0.iter().find(|(name, _)| name == key);
        pair.map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    }

    /// How many names the list of symbols has, whether they are symbols or not.
    pub(super) fn names(&self) -> usize {
        let list = self.get("symbols");
        list.map_or(0, |list| list.matches(',').count().saturating_add(1))
    }

    /// A whole number.
    pub(super) fn number(&self, key: &str) -> Result<Option<i64>, Failure> {
        let Some(text) = self.get(key) else {
            return Ok(None);
        };
        text.parse().map(Some).map_err(|_| failure::illegal(key))
    }

    /// A time, unix ms.
    pub(super) fn time_ms(&self, key: &str) -> Result<Option<UnixMillis>, Failure> {
        let time = self.number(key)?;
        Ok(time.map(|time| match time {
            MICROSECONDS_MIN.. => time / 1_000,
            time => time,
        }))
    }

    /// The most rows of the answer.
    pub(super) fn limit(&self, default: usize, most: usize) -> Result<usize, Failure> {
        let Some(limit) = self.number("limit")? else {
            return Ok(default);
        };
        match usize::try_from(limit) {
            Ok(limit) if limit > 0 => Ok(limit.min(most)),
            _ => Err(failure::invalid("limit", "write a number of rows from 1")),
        }
    }

    /// The symbol that the request must name. Names are in capitals, as on Binance.
    pub(super) fn symbol(&self, market: &Market) -> Result<Listed, Failure> {
        let name = self
            .get("symbol")
            .ok_or_else(|| failure::missing("symbol"))?;
        let listed = market.listing().get(name).cloned();
        listed.ok_or_else(failure::invalid_symbol)
    }

    /// The symbols that `symbol` or `symbols` name, or all of them; and whether `symbol` named one.
    pub(super) fn symbols(&self, market: &Market) -> Result<(Vec<Listed>, bool), Failure> {
        if self.get("symbol").is_some() {
            let listed = self.symbol(market)?;
            market.check_listed(&listed)?;
            return Ok((vec![listed], true));
        }
        let listing = market.listing();
        let Some(list) = self.get("symbols") else {
            let permitted = listing.values().filter(|listed| market.lists(listed));
            return Ok((permitted.cloned().collect(), false));
        };
        let names: Vec<String> =
            serde_json::from_str(list).map_err(|_| failure::illegal("symbols"))?;
        let found: Option<Vec<Listed>> = names
            .iter()
            .map(|name| listing.get(name).cloned())
            .collect();
        let found = found.ok_or_else(failure::invalid_symbol)?;
        for listed in &found {
            market.check_listed(listed)?;
        }
        Ok((found, false))
    }
}
