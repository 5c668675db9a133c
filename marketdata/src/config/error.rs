//! Why a configuration cannot be used.

use market_core::Symbol;

use crate::instrument::InstrumentSpec;

/// Why a configuration cannot be used; the text says what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Nothing to follow.
    #[error("no instruments: write --instruments exchange:SYMBOL,..., such as binance:BTC-USDT")]
    NoInstruments,
    /// An exchange that there is not.
    #[error("unknown exchange '{name}' in '{given}': the exchanges are {known}")]
    UnknownExchange {
        /// As given.
        name: String,
        /// The whole flag value.
        given: String,
        /// The known exchanges.
        known: String,
    },
    /// A symbol that carries another venue's name.
    #[error("instrument {given} is of {exchange}, but its symbol says {venue}: write {suggestion}")]
    OtherVenue {
        /// As given.
        given: InstrumentSpec,
        /// Where it is to be followed.
        exchange: String,
        /// What stands in front of the pair.
        venue: String,
        /// What can be written.
        suggestion: String,
    },
    /// Two instruments with one symbol.
    #[error(
        "instruments {first} and {second} both claim the symbol {symbol}: write {suggestion} for one of them"
    )]
    SymbolClaimedTwice {
        /// The first.
        first: InstrumentSpec,
        /// The second.
        second: InstrumentSpec,
        /// What both claim.
        symbol: Symbol,
        /// How to tell them apart.
        suggestion: String,
    },
    /// Two patterns of different venues that may mean one symbol.
    #[error(
        "patterns {first} and {second} may both claim a symbol: write {suggestion} for one of them"
    )]
    PatternsOverlap {
        /// The first.
        first: String,
        /// The second.
        second: String,
        /// How to tell them apart.
        suggestion: String,
    },
    /// Two instruments for one of the venue's.
    #[error("instruments {first} and {second} are the same at the venue: leave one of them out")]
    InstrumentTwice {
        /// The first.
        first: InstrumentSpec,
        /// The second.
        second: InstrumentSpec,
    },
    /// A value that makes no sense.
    #[error("{flag} is {value}: write {instead}")]
    Value {
        /// The flag.
        flag: &'static str,
        /// As given.
        value: String,
        /// What can be written.
        instead: &'static str,
    },
    /// Text that cannot be read.
    #[error("'{given}' is not {what}: write {example}")]
    Text {
        /// As given.
        given: String,
        /// What it should be.
        what: &'static str,
        /// A right value.
        example: &'static str,
    },
}
