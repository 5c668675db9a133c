//! The venues, and the pairs that each lists.

use serde::{Deserialize, Serialize};

use crate::fixed;

/// A simulated exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Venue {
    /// Binance spot.
    Binance,
    /// Coinbase Exchange.
    Coinbase,
    /// OKX v5, spot.
    Okx,
}

impl Venue {
    /// All venues.
    pub const ALL: [Venue; 3] = [Venue::Binance, Venue::Coinbase, Venue::Okx];

    /// Lower-case name, as in metrics, faults and queries.
    pub fn name(self) -> &'static str {
        match self {
            Venue::Binance => "binance",
            Venue::Coinbase => "coinbase",
            Venue::Okx => "okx",
        }
    }

    /// The venue of a lower-case name.
    pub fn parse(text: &str) -> Option<Venue> {
        Venue::ALL
            .into_iter()
            .find(|venue| venue.name().eq_ignore_ascii_case(text))
    }

    /// How the venue spells a pair.
    pub fn spell(self, base: &str, quote: &str) -> String {
        match self {
            Venue::Binance => format!("{base}{quote}"),
            Venue::Coinbase | Venue::Okx => format!("{base}-{quote}"),
        }
    }
}

/// A spot pair of one venue. Prices and quantities are mantissas at the two scales.
#[derive(Clone, Debug)]
pub(crate) struct Instrument {
    /// The venue that lists it.
    pub(crate) venue: Venue,
    /// The venue's spelling: `BTCUSDT`, `BTC-USD`.
    pub(crate) symbol: String,
    /// Base asset.
    pub(crate) base: String,
    /// Quote asset.
    pub(crate) quote: String,
    /// Decimals of a price mantissa.
    pub(crate) price_scale: u8,
    /// Decimals of a quantity mantissa.
    pub(crate) quantity_scale: u8,
    /// Smallest price step.
    pub(crate) tick: i64,
    /// Smallest quantity step.
    pub(crate) lot: i64,
    /// Price around which the generated market moves.
    pub(crate) base_price: i64,
    /// Lots of a typical trade.
    pub(crate) typical_lots: u64,
    /// Trades per second relative to `--rate`.
    pub(crate) activity: f64,
    /// Whether the generated market has silences of 40 s and more.
    pub(crate) quiet: bool,
}

impl Instrument {
    /// The symbol without separators, upper case: how symbols of faults and queries are compared.
    pub(crate) fn key(&self) -> String {
        symbol_key(&self.symbol)
    }

    /// An instrument that is known only from captured frames.
    pub(crate) fn captured(
        venue: Venue,
        symbol: &str,
        price_scale: u8,
        quantity_scale: u8,
    ) -> Instrument {
        let (base, quote) = split_pair(symbol);
        Instrument {
            venue,
            symbol: symbol.to_owned(),
            base,
            quote,
            price_scale: price_scale.max(8),
            quantity_scale: quantity_scale.max(8),
            tick: 10i64.pow(u32::from(price_scale.max(8) - price_scale)),
            lot: 10i64.pow(u32::from(quantity_scale.max(8) - quantity_scale)),
            base_price: 0,
            typical_lots: 1_000,
            activity: 0.0,
            quiet: false,
        }
    }
}

/// A symbol without separators, upper case.
pub(crate) fn symbol_key(symbol: &str) -> String {
    symbol
        .chars()
        .filter(|letter| letter.is_ascii_alphanumeric())
        .map(|letter| letter.to_ascii_uppercase())
        .collect()
}

fn split_pair(symbol: &str) -> (String, String) {
    if let Some((base, quote)) = symbol.split_once('-') {
        return (base.to_owned(), quote.to_owned());
    }
    for quote in [
        "USDT", "USDC", "FDUSD", "BUSD", "TUSD", "USD", "EUR", "GBP", "TRY", "BTC", "ETH", "BNB",
    ] {
        if let Some(base) = symbol.strip_suffix(quote).filter(|base| !base.is_empty()) {
            return (base.to_owned(), quote.to_owned());
        }
    }
    (symbol.to_owned(), String::new())
}

/// base, quote, tick, lot, price, activity, quiet. Prices are plausible, not quotes.
type Row = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    f64,
    bool,
);

const BINANCE: [Row; 9] = [
    ("BTC", "USDT", "0.01", "0.00001", "91250", 2.6, false),
    ("ETH", "USDT", "0.01", "0.0001", "3015", 2.0, false),
    ("SOL", "USDT", "0.01", "0.001", "137.4", 1.4, false),
    ("BNB", "USDT", "0.01", "0.001", "872", 0.9, false),
    ("XRP", "USDT", "0.0001", "0.1", "2.1043", 1.0, false),
    ("DOGE", "USDT", "0.00001", "1", "0.14321", 0.6, false),
    ("SHIB", "USDT", "0.00000001", "1", "0.00000812", 0.2, false),
    ("ADA", "USDT", "0.0001", "0.1", "0.4288", 0.25, false),
    ("LTC", "BTC", "0.000001", "0.001", "0.000934", 0.05, true),
];
const COINBASE: [Row; 4] = [
    ("BTC", "USD", "0.01", "0.00000001", "91262", 1.8, false),
    ("ETH", "USD", "0.01", "0.00000001", "3016", 1.2, false),
    ("SOL", "USD", "0.01", "0.00000001", "137.5", 0.8, false),
    (
        "LTC",
        "BTC",
        "0.000001",
        "0.00000001",
        "0.000934",
        0.05,
        true,
    ),
];
const OKX: [Row; 4] = [
    ("BTC", "USDT", "0.1", "0.00000001", "91248", 1.8, false),
    ("ETH", "USDT", "0.01", "0.000001", "3014.5", 1.2, false),
    ("SOL", "USDT", "0.01", "0.000001", "137.38", 0.8, false),
    ("LTC", "BTC", "0.000001", "0.001", "0.000934", 0.05, true),
];

/// The symbols of the simulated venues: real pairs, then `synthetic` invented ones, spread evenly.
pub(crate) fn listing(synthetic: usize) -> Vec<Instrument> {
    let mut all = Vec::new();
    for (venue, rows) in [
        (Venue::Binance, &BINANCE[..]),
        (Venue::Coinbase, &COINBASE[..]),
        (Venue::Okx, &OKX[..]),
    ] {
        for (base, quote, tick, lot, price, activity, quiet) in rows {
            all.push(instrument(
                venue,
                base,
                quote,
                [tick, lot, price],
                *activity,
                *quiet,
            ));
        }
    }
    for number in 0..synthetic {
        let venue = Venue::ALL[number % 3];
        let quote = if venue == Venue::Coinbase {
            "USD"
        } else {
            "USDT"
        };
        let price = format!("{}.{:02}", 1 + number * 7919 % 997, number % 100);
        let base = format!("SIM{number:04}");
        all.push(instrument(
            venue,
            &base,
            quote,
            ["0.0001", "0.001", &price],
            1.0,
            number % 50 == 49,
        ));
    }
    all
}

/// Lots that are worth about 700 dollars; `price` and `lot` have eight decimals.
fn typical_lots(quote: &str, price: i64, lot: i64) -> u64 {
    let worth = if quote == "BTC" {
        800_000
    } else {
        70_000_000_000i128
    };
    let lots = worth * 100_000_000 / i128::from(price) / i128::from(lot);
    u64::try_from(lots).unwrap_or(u64::MAX).clamp(1, 1 << 40)
}

fn instrument(
    venue: Venue,
    base: &str,
    quote: &str,
    numbers: [&str; 3],
    activity: f64,
    quiet: bool,
) -> Instrument {
    let [tick, lot, price] =
        numbers.map(|text| fixed::parse_at(text, 8).expect("the table holds decimals"));
    Instrument {
        venue,
        symbol: venue.spell(base, quote),
        base: base.to_owned(),
        quote: quote.to_owned(),
        price_scale: 8,
        quantity_scale: 8,
        tick,
        lot,
        base_price: price,
        typical_lots: typical_lots(quote, price, lot),
        activity,
        quiet,
    }
}
