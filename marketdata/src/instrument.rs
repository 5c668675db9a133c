//! The followed symbols and their venues.

use std::fmt;
use std::str::FromStr;

use market_core::Symbol;

use crate::exchange::{Endpoints, Exchange};

/// An instrument as written in the configuration: `exchange:SYMBOL`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct InstrumentSpec {
    /// The venue's lower-case name.
    pub exchange: String,
    /// The canonical symbol.
    pub symbol: Symbol,
}

/// Text that is not an instrument.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{given}' is not an instrument: write exchange:BASE-QUOTE, such as binance:BTC-USDT or okx:OKX:BTC-USDT"
)]
pub struct ParseInstrumentError {
    given: String,
}

/// The index of an instrument in the plan.
pub type InstrumentId = usize;

/// A followed instrument.
#[derive(Clone, Debug)]
pub struct Instrument {
    /// The venue's name.
    pub exchange: &'static str,
    /// The venue's index in the plan.
    pub venue: usize,
    /// The canonical symbol.
    pub symbol: Symbol,
    /// The venue's name of it.
    pub native: String,
}

/// A venue and its followed symbols.
#[derive(Clone)]
pub struct Venue {
    /// What it speaks.
    pub exchange: &'static dyn Exchange,
    /// Where it listens.
    pub endpoints: Endpoints,
    /// What is followed there.
    pub instruments: Vec<InstrumentId>,
}

impl fmt::Debug for Venue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.exchange.name(), self.endpoints)
    }
}

impl InstrumentSpec {
    /// Parses a list separated by commas.
    ///
    /// # Errors
    /// As for one.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, ParseInstrumentError> {
        text.split(',').map(|part| part.trim().parse()).collect()
    }
}

impl FromStr for InstrumentSpec {
    type Err = ParseInstrumentError;

    fn from_str(text: &str) -> Result<Self, ParseInstrumentError> {
        let wrong = || ParseInstrumentError {
            given: text.to_owned(),
        };
        let (exchange, symbol) = text.trim().split_once(':').ok_or_else(wrong)?;
        Ok(Self {
            exchange: exchange.to_owned(),
            symbol: symbol.parse().map_err(|_| wrong())?,
        })
    }
}

impl fmt::Display for InstrumentSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.exchange, self.symbol)
    }
}
