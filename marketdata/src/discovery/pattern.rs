//! Which of a venue's markets are meant: `binance:*-USDT:top=200:exclude=USDC-USDT`.

use std::fmt;
use std::str::FromStr;

use crate::instrument::{InstrumentSpec, ParseInstrumentError};

/// An instrument, or a pattern of instruments, as written in the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// One instrument.
    One(InstrumentSpec),
    /// All markets of a venue that match.
    Pattern(Pattern),
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// The venue's lower-case name.
    pub exchange: String,
    /// What stands in front of the pair, such as `OKX` for `OKX:BTC-USDT`.
    pub venue: Option<String>,
    /// The pair, in which `*` stands for any letters.
    pub pair: String,
    /// Only so many, by turnover of the last 24 hours.
    pub top: Option<usize>,
    /// Pairs that are not meant, with `*` as in the pair.
    pub exclude: Vec<String>,
}

/// Text that is neither an instrument nor a pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseWishError {
    /// Not an instrument.
    #[error(transparent)]
    Instrument(#[from] ParseInstrumentError),
    /// Not a pattern.
    #[error(
        "'{given}' is not a pattern of instruments: write exchange:BASE-QUOTE with * for any letters, such as binance:*-USDT, binance:*-USDT:top=200:exclude=USDC-USDT+*UP-USDT or okx:OKX:*-USDT"
    )]
    Pattern {
        /// As given.
        given: String,
    },
    /// Markets with different quote currencies cannot be ranked.
    #[error(
        "'{given}' ranks markets by turnover, so it needs one quote currency: write one pattern for each, such as binance:*-USDT:top=200,binance:*-BTC:top=20"
    )]
    Rank {
        /// As given.
        given: String,
    },
}

impl Wish {
    /// Parses a list separated by commas.
    ///
    /// # Errors
    /// As for one.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, ParseWishError> {
        text.split(',').map(str::parse).collect()
    }

    /// The venue's lower-case name.
    #[must_use]
    pub fn exchange(&self) -> &str {
        match self {
            Self::One(spec) => &spec.exchange,
            Self::Pattern(pattern) => &pattern.exchange,
        }
    }
}

impl FromStr for Wish {
    type Err = ParseWishError;

    fn from_str(text: &str) -> Result<Self, ParseWishError> {
        if text.contains(['*', '=']) {
            Ok(Self::Pattern(text.trim().parse()?))
        } else {
            Ok(Self::One(text.parse()?))
        }
    }
}

impl fmt::Display for Wish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(spec) => spec.fmt(f),
            Self::Pattern(pattern) => pattern.fmt(f),
        }
    }
}

impl Pattern {
    /// Whether a pair, `BTC-USDT`, is meant.
    #[must_use]
    pub fn matches(&self, pair: &str) -> bool {
        matches(&self.pair, pair) && !self.exclude.iter().any(|not| matches(not, pair))
    }

    /// The symbol of a pair that is meant, as text.
    #[must_use]
    pub fn symbol_of(&self, pair: &str) -> String {
        match &self.venue {
            Some(venue) => format!("{venue}:{pair}"),
            None => pair.to_owned(),
        }
    }

    /// Whether both may mean markets with one symbol. Bases with a `*` may always be the same.
    #[must_use]
    pub fn may_share_symbols(&self, other: &Self) -> bool {
        let may_be = |a: &str, b: &str| a == b || a.contains('*') || b.contains('*');
        let parts = |pair: &str| {
            pair.split_once('-')
                .map(|(a, b)| (a.to_owned(), b.to_owned()))
        };
        let (Some(mine), Some(theirs)) = (parts(&self.pair), parts(&other.pair)) else {
            return false;
        };
        self.venue == other.venue && may_be(&mine.0, &theirs.0) && may_be(&mine.1, &theirs.1)
    }

    /// The same, with the venue in front of the symbols.
    #[must_use]
    pub fn with_venue(&self) -> Self {
        Self {
            venue: Some(self.exchange.to_ascii_uppercase()),
            ..self.clone()
        }
    }
}

impl FromStr for Pattern {
    type Err = ParseWishError;

    fn from_str(text: &str) -> Result<Self, ParseWishError> {
        let given = || text.to_owned();
        let wrong = || ParseWishError::Pattern { given: given() };
        let mut parts = text.split(':');
        let exchange = parts.next().unwrap_or_default().to_owned();
        let mut pair = parts.next().ok_or_else(wrong)?;
        let mut venue = None;
        if !pair.contains('-') {
            if pair != exchange.to_ascii_uppercase() {
                return Err(wrong());
            }
            venue = Some(pair.to_owned());
            pair = parts.next().ok_or_else(wrong)?;
        }
        let mut pattern = Self {
            exchange,
            venue,
            pair: pair.to_owned(),
            top: None,
            exclude: Vec::new(),
        };
        for filter in parts {
            match filter.split_once('=') {
                Some(("top", count)) if pattern.top.is_none() => {
                    let top = count.parse().ok().filter(|&top: &usize| top > 0);
                    pattern.top = Some(top.ok_or_else(wrong)?);
                }
                Some(("exclude", pairs)) if pattern.exclude.is_empty() => {
                    pattern.exclude = pairs.split('+').map(str::to_owned).collect();
                }
                _ => return Err(wrong()),
            }
        }
        let pairs = std::iter::once(&pattern.pair).chain(&pattern.exclude);
        if !pairs.into_iter().all(|pair| is_pair(pair)) {
            return Err(wrong());
        }
        let quote = pattern.pair.split_once('-').map_or("", |(_, quote)| quote);
        if pattern.top.is_some() && quote.contains('*') {
            return Err(ParseWishError::Rank { given: given() });
        }
        Ok(pattern)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.exchange)?;
        if let Some(venue) = &self.venue {
            write!(f, "{venue}:")?;
        }
        f.write_str(&self.pair)?;
        if let Some(top) = self.top {
            write!(f, ":top={top}")?;
        }
        if !self.exclude.is_empty() {
            write!(f, ":exclude={}", self.exclude.join("+"))?;
        }
        Ok(())
    }
}

fn is_pair(text: &str) -> bool {
    let is_part = |part: &str| {
        let is_letter = |byte: u8| {
            byte.is_ascii_uppercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'*')
        };
        !part.is_empty() && part.len() <= 32 && part.bytes().all(is_letter)
    };
    text.split_once('-')
        .is_some_and(|(base, quote)| is_part(base) && is_part(quote))
}

/// Whether `text` is `pattern`, in which `*` stands for any letters, also none.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    let mut middle: Vec<&str> = parts.collect();
    let Some(last) = middle.pop() else {
        return rest.is_empty();
    };
    for part in middle {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pattern(text: &str) -> Pattern {
        text.parse().expect("a pattern")
    }

    #[test]
    fn patterns_say_which_pairs_are_meant_and_are_written_as_they_are_read() {
        for text in [
            "binance:*-USDT",
            "binance:*-USDT:top=200:exclude=USDC-USDT+*UP-USDT",
            "okx:OKX:BTC-*",
            "coinbase:*-*",
        ] {
            assert_eq!(pattern(text).to_string(), text);
            assert_eq!(
                Wish::parse_list(text),
                Ok(vec![Wish::Pattern(pattern(text))])
            );
        }
        let top = pattern("binance:*-USDT:top=200:exclude=USDC-USDT+*UP-USDT");
        assert_eq!(top.top, Some(200));
        assert!(top.matches("BTC-USDT") && top.matches("UPS-USDT"));
        assert!(!top.matches("USDC-USDT") && !top.matches("BTCUP-USDT") && !top.matches("BTC-USD"));
        assert!(pattern("okx:BTC-*").matches("BTC-EUR"));
        assert!(pattern("okx:B*C*-USD*").matches("BTCBC-USDT"));
    }

    #[test]
    fn what_is_no_pattern_is_refused_with_what_to_write() {
        for text in [
            "binance:*",
            "*",
            "binance:*-USDT:top=0",
            "binance:*-USDT:top=x",
            "binance:*-usdt",
            "okx:BINANCE:*-USDT",
            "binance:*-USDT:volume=1",
            "binance:*-USDT:exclude=",
            "binance:*-USDT:top=1:top=2",
        ] {
            let error = text.parse::<Wish>().expect_err(text).to_string();
            assert!(error.contains("write exchange:BASE-QUOTE"), "{error}");
        }
        let error = "binance:BTC-*:top=5".parse::<Wish>().expect_err("quotes");
        assert!(error.to_string().contains("one quote currency"), "{error}");
    }

    proptest! {
        /// A star stands for anything, and text without one only for itself.
        #[test]
        fn a_star_matches_what_it_replaces(
            a in "[AB]{0,4}", b in "[AB]{0,4}", c in "[AB]{0,4}", other in "[AB]{0,12}",
        ) {
            let text = format!("{a}{b}{c}");
            let starred = format!("{}*{}", a, c);
            prop_assert!(matches(&starred, &text));
            prop_assert!(matches("*", &text));
            prop_assert_eq!(matches(&text, &other), text == other);
        }
    }
}
