//! The canonical name of a market.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A market's canonical symbol, `BASE-QUOTE` (`BTC-USD`), unique in a deployment. Where two
/// venues list the same pair, all but one carry the venue in front: `OKX:BTC-USDT`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Symbol(Arc<str>);

/// Why a text is not a symbol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is not a symbol: write BASE-QUOTE in capitals and digits, such as BTC-USD, with an optional venue in front, such as OKX:BTC-USDT"
)]
pub struct ParseSymbolError(String);

/// The longest symbol accepted, in bytes.
pub const SYMBOL_LEN_MAX: usize = 64;

impl Symbol {
    /// The symbol as text, `OKX:BTC-USDT`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The venue in front, if the symbol carries one: `OKX` of `OKX:BTC-USDT`.
    #[must_use]
    pub fn venue(&self) -> Option<&str> {
        self.0.split_once(':').map(|(venue, _)| venue)
    }

    /// The pair without its venue: `BTC-USDT` of `OKX:BTC-USDT`.
    #[must_use]
    pub fn pair(&self) -> &str {
        self.0.split_once(':').map_or(&self.0, |(_, pair)| pair)
    }

    /// The base currency: `BTC` of `BTC-USDT`.
    #[must_use]
    pub fn base(&self) -> &str {
        self.pair().split_once('-').map_or("", |(base, _)| base)
    }

    /// The quote currency: `USDT` of `BTC-USDT`.
    #[must_use]
    pub fn quote(&self) -> &str {
        self.pair().split_once('-').map_or("", |(_, quote)| quote)
    }
}

fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
}

impl FromStr for Symbol {
    type Err = ParseSymbolError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let pair = match text.split_once(':') {
            Some((venue, pair)) if is_token(venue) => pair,
            Some(_) => return Err(ParseSymbolError(text.to_owned())),
            None => text,
        };
        match pair.split_once('-') {
            Some((base, quote))
                if is_token(base) && is_token(quote) && text.len() <= SYMBOL_LEN_MAX =>
            {
                Ok(Self(Arc::from(text)))
            }
            _ => Err(ParseSymbolError(
                text.chars().take(SYMBOL_LEN_MAX).collect(),
            )),
        }
    }
}

impl fmt::Display for Symbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Symbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Symbol {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Symbol {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::value::text::deserialize(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbol_splits_into_venue_base_and_quote() {
        let symbol: Symbol = "OKX:BTC-USDT".parse().expect("valid");
        assert_eq!(
            (symbol.venue(), symbol.base(), symbol.quote()),
            (Some("OKX"), "BTC", "USDT")
        );
    }

    #[test]
    fn malformed_symbols_are_refused_with_the_form_to_write() {
        for text in [
            "",
            "BTC",
            "btc-usd",
            "BTC-",
            "-USD",
            "A.B-C",
            "OKX:",
            ":BTC-USD",
            "BTC-USD-X",
            "B*-USD",
            "A:B:C-D",
        ] {
            let error = text.parse::<Symbol>().expect_err(text);
            assert!(error.to_string().contains("BASE-QUOTE"), "{error}");
        }
    }
}
