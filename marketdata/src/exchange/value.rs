//! Prices and quantities of quotes, tickers and books, which may be zero: then there is none.

use market_core::book::LevelChange;
use market_core::{Amount, ParseDecimalError, Price, PriceLevel, Quantity};

use super::DecodeError;

const MALFORMED: DecodeError = DecodeError::Malformed("number of a quote or ticker");

/// A price, unless it is zero.
pub(super) fn price(text: &str) -> Result<Option<Price>, DecodeError> {
    above_zero(Price::parse(text))
}

/// A quantity, unless it is zero.
pub(super) fn quantity(text: &str) -> Result<Option<Quantity>, DecodeError> {
    above_zero(Quantity::parse(text))
}

fn above_zero<T>(parsed: Result<T, ParseDecimalError>) -> Result<Option<T>, DecodeError> {
    match parsed {
        Ok(value) => Ok(Some(value)),
        Err(ParseDecimalError::Zero) => Ok(None),
        Err(_) => Err(MALFORMED),
    }
}

/// A volume.
pub(super) fn amount(text: &str) -> Result<Amount, DecodeError> {
    Amount::parse(text).ok_or(MALFORMED)
}

/// A price with its quantity, unless one of them is zero.
pub(super) fn level(price: &str, quantity: &str) -> Result<Option<PriceLevel>, DecodeError> {
    PriceLevel::parse(price, quantity).map_err(|_| MALFORMED)
}

/// The new quantity at a price of a book; zero if there is nothing.
pub(super) fn level_change(price: &str, quantity: &str) -> Result<LevelChange, DecodeError> {
    LevelChange::parse(price, quantity).map_err(|_| DecodeError::Malformed("level of a book"))
}
