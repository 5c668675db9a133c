//! The names of symbols, as on Binance: without the dash.
//!
//! The rule needs no list of the symbols, so every program has the same names, also for symbols
//! that do not exist yet.

use crate::value::symbol::{SYMBOL_LEN_MAX, Symbol};

/// The quote currencies at which a name without a dash is divided: the longest one that ends it.
///
/// A currency must not be listed if another pair's name often ends with it: `BUSD` would divide
/// `ARBUSD` in the wrong place.
pub const QUOTES: [&str; 35] = [
    "USDT", "USDC", "FDUSD", "USD1", "USD", "EUR", "GBP", "JPY", "TRY", "BRL", "AUD", "CAD", "CHF",
    "MXN", "ZAR", "ARS", "COP", "PLN", "RON", "CZK", "UAH", "IDR", "KRW", "INR", "SGD", "HKD",
    "DAI", "BTC", "ETH", "BNB", "SOL", "XRP", "TRX", "DOGE", "DOT",
];

/// The name of a symbol: `BTCUSDT` for `BTC-USDT`, and `OKX_BTCUSDT` for `OKX:BTC-USDT`. The dash
/// stays where the name would be read as another pair: `FD-USD`.
///
/// `None` for a symbol that cannot be named unambiguously, because of an underscore in it.
#[must_use]
pub fn symbol_name(symbol: &Symbol) -> Option<String> {
    let (base, quote) = (symbol.base(), symbol.quote());
    let mut name = symbol
        .venue()
        .map_or_else(String::new, |venue| format!("{venue}_"));
    let joined = format!("{base}{quote}");
    if divide(&joined) == Some((base, quote)) {
        name.push_str(&joined);
    } else {
        name.push_str(symbol.pair());
    }
    (parse_symbol(&name).as_ref() == Some(symbol)).then_some(name)
}

/// The symbol of a name, in capitals or small letters; `None` if the text names none.
#[must_use]
pub fn parse_symbol(name: &str) -> Option<Symbol> {
    if name.len() > SYMBOL_LEN_MAX {
        return None;
    }
    let name = name.to_ascii_uppercase();
    let (venue, pair) = match name.split_once('_') {
        Some((venue, pair)) => (Some(venue), pair),
        None => (None, name.as_str()),
    };
    let (base, quote) = pair.split_once('-').or_else(|| divide(pair))?;
    let text = match venue {
        Some(venue) => format!("{venue}:{base}-{quote}"),
        None => format!("{base}-{quote}"),
    };
    text.parse().ok()
}

/// The names of a symbol's base and quote asset: together they are the symbol's name without a
/// dash, also for a symbol with a venue in front.
#[must_use]
pub fn asset_names(symbol: &Symbol) -> (String, String) {
    let base = match symbol.venue() {
        Some(venue) => format!("{venue}_{}", symbol.base()),
        None => symbol.base().to_owned(),
    };
    (base, symbol.quote().to_owned())
}

/// Base and quote of a pair without a dash.
fn divide(pair: &str) -> Option<(&str, &str)> {
    let quote = QUOTES
        .iter()
        .filter(|quote| pair.len() > quote.len() && pair.ends_with(**quote))
        .max_by_key(|quote| quote.len())?;
    Some(pair.split_at(pair.len() - quote.len()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(symbol: &str, name: &str) {
        let symbol: Symbol = symbol.parse().expect("a symbol");
        assert_eq!(symbol_name(&symbol).as_deref(), Some(name));
        assert_eq!(parse_symbol(name).as_ref(), Some(&symbol));
        assert_eq!(
            parse_symbol(&name.to_ascii_lowercase()).as_ref(),
            Some(&symbol)
        );
    }

    #[test]
    fn a_symbol_has_the_name_that_binance_gives_it() {
        check("BTC-USDT", "BTCUSDT");
        check("BTC-USD", "BTCUSD");
        check("ETH-BTC", "ETHBTC");
        check("TUSD-USDT", "TUSDUSDT");
        check("BTC-FDUSD", "BTCFDUSD");
        check("ARB-USD", "ARBUSD");
        check("OKX:BTC-USDT", "OKX_BTCUSDT");
    }

    #[test]
    fn the_dash_stays_where_the_name_would_be_read_as_another_pair() {
        check("XFD-USD", "XFD-USD");
        check("X-FDUSD", "XFDUSD");
        check("SHIB-XSGD", "SHIB-XSGD");
        check("OKX:SHIB-XSGD", "OKX_SHIB-XSGD");
    }

    #[test]
    fn what_names_no_symbol_is_none() {
        for text in ["", "USDT", "0", "BTC", "-USDT", "BTC-", "BTC USDT", "ü-USD"] {
            assert_eq!(parse_symbol(text), None, "{text}");
        }
        assert_eq!(parse_symbol(&"A".repeat(10_000)), None);
        let symbol = "A_B-USD".parse().expect("a symbol");
        assert_eq!(
            symbol_name(&symbol),
            None,
            "it would name B-USD of the venue A"
        );
    }

    proptest! {
        #[test]
        fn two_symbols_never_have_the_same_name(
            one in "([AB]:)?[AFDU]{1,3}(USD|BTC)?-(USD|FDUSD|USDT|BTC|[ABDUS]{1,3})",
            other in "([AB]:)?[AFDU]{1,3}(USD|BTC)?-(USD|FDUSD|USDT|BTC|[ABDUS]{1,3})",
        ) {
            let one: Symbol = one.parse().expect("a symbol");
            let other: Symbol = other.parse().expect("a symbol");
            let names = (symbol_name(&one), symbol_name(&other));
            prop_assert!(names.0.is_some());
            prop_assert_eq!(names.0 == names.1, one == other);
            let (base, quote) = asset_names(&one);
            prop_assert_eq!(names.0.expect("a name").replace('-', ""), base + &quote);
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,80}") {
            if let Some(symbol) = parse_symbol(&text) {
                prop_assert!(text.is_ascii());
                prop_assert!(symbol.as_str().len() <= SYMBOL_LEN_MAX);
            }
        }
    }
}
