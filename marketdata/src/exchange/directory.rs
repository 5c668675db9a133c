//! A venue's list of markets with what is traded on each, as pure functions.

use std::collections::HashMap;

use super::message::{DecodeError, RestRequest};

/// What a venue lists, and how much is traded there. [`super::Venue::symbols_page`] asks for the list.
pub trait Directory: Send + Sync + 'static {
    /// Parses the answer to `symbols_page` into spot markets.
    ///
    /// # Errors
    /// `Malformed` if the body is not a list of symbols. A row without a field that is needed makes
    /// the whole list malformed: half of a list would look like delistings.
    fn parse_markets(&self, body: &[u8]) -> Result<Vec<Market>, DecodeError>;

    /// The request for what was traded on all markets in the last 24 hours.
    fn turnovers_page(&self) -> RestRequest;

    /// Parses the answer: by the venue's name of a symbol, the turnover of 24 hours in its quote
    /// currency. It is only good for ranking. A row that cannot be read is left out.
    ///
    /// # Errors
    /// `Malformed` if the body is no such answer.
    fn parse_turnovers(&self, body: &[u8]) -> Result<HashMap<String, f64>, DecodeError>;
}

/// A spot market in a venue's list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Market {
    /// The venue's name of it.
    pub native: String,
    /// The venue's name of the base currency.
    pub base: String,
    /// The venue's name of the quote currency.
    pub quote: String,
    /// Whether it trades now. A market may be listed before its first trade, and pause.
    pub is_trading: bool,
}

/// A product of numbers as venues write them, if it can be ranked.
pub(super) fn turnover(factors: &[&str]) -> Option<f64> {
    let mut product = 1.0;
    for factor in factors {
        let number: f64 = factor.parse().ok()?;
        product *= number;
    }
    (product.is_finite() && product >= 0.0).then_some(product)
}
