//! Bars of venues, as lines of CSV with any of the usual column names.

use market_core::{Amount, BarRow, Price, Quality, Timeframe, UnixMillis};

use crate::to_millis;

/// The columns of Binance's public dumps, which sometimes have no header.
const BINANCE_COLUMNS: [&str; 11] = [
    "open_time",
    "open",
    "high",
    "low",
    "close",
    "volume",
    "close_time",
    "quote_volume",
    "count",
    "taker_buy_volume",
    "taker_buy_quote_volume",
];
/// The possible timeframes of a file's rows.
const WIDTHS: [&str; 14] = [
    "1s", "1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "1w",
];

/// A venue's own bar, with decimals as the venue wrote them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as the fields of a bar")]
pub struct VenueBar {
    pub start_ms: UnixMillis,
    pub open: String,
    pub high: String,
    pub low: String,
    pub close: String,
    pub volume: String,
    pub quote_volume: Option<String>,
    pub count: Option<u64>,
    pub taker_buy_volume: Option<String>,
    pub taker_buy_quote_volume: Option<String>,
}

impl VenueBar {
    /// Whether there were no trades: some venues have a flat bar there, others none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match self.count {
            Some(count) => count == 0,
            None => is_zero(&self.volume),
        }
    }

    /// The fields that are compared if the venue has them.
    #[must_use]
    pub fn fields(&self) -> [(&'static str, Option<&str>); 8] {
        [
            ("open", Some(&self.open)),
            ("high", Some(&self.high)),
            ("low", Some(&self.low)),
            ("close", Some(&self.close)),
            ("volume", Some(&self.volume)),
            ("quote_volume", self.quote_volume.as_deref()),
            ("taker_buy_volume", self.taker_buy_volume.as_deref()),
            (
                "taker_buy_quote_volume",
                self.taker_buy_quote_volume.as_deref(),
            ),
        ]
    }

    /// The bar as history stores it, known at `known_ms`; it gives way to any bar that is made of
    /// trades. Values that the venue does not publish stay unknown. `None` if a field is no number.
    #[must_use]
    pub fn row(&self, known_ms: UnixMillis) -> Option<BarRow> {
        let sum = |text: &str| Amount::parse(text);
        let is_empty = self.is_empty();
        // The outer `None` stands for a text that is no number. Without trades, all sums are known.
        let told = |text: Option<&str>| match text {
            Some(text) => sum(text).map(Some),
            None => Some(is_empty.then_some(Amount::ZERO)),
        };
        Some(BarRow {
            start_ms: self.start_ms,
            open: Price::parse(&self.open).ok()?,
            high: Price::parse(&self.high).ok()?,
            low: Price::parse(&self.low).ok()?,
            close: Price::parse(&self.close).ok()?,
            volume: sum(&self.volume)?,
            quote_volume: told(self.quote_volume.as_deref())?,
            taker_buy_volume: told(self.taker_buy_volume.as_deref())?,
            taker_buy_quote_volume: told(self.taker_buy_quote_volume.as_deref())?,
            count: self.count.or(is_empty.then_some(0)),
            ids: None,
            event_ms: None,
            received_us: None,
            rev: 0,
            quality: if is_empty {
                Quality::Filled
            } else {
                Quality::Complete
            },
            is_imported: true,
            known_ms,
        })
    }
}

/// Whether a decimal is zero, however it is written: `0`, `0.000`, `0E-8`.
fn is_zero(text: &str) -> bool {
    let mantissa = text.split(['e', 'E']).next().unwrap_or_default();
    mantissa.contains('0') && mantissa.bytes().all(|byte| matches!(byte, b'0' | b'.'))
}

/// A header lacks this column.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MissingColumn(pub &'static str);

/// A line of a file of bars.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kline {
    /// The bar.
    pub bar: VenueBar,
    /// Its timeframe, if the line reveals it.
    pub timeframe: Option<Timeframe>,
}

/// Which column holds what.
#[derive(Clone, Debug)]
pub struct KlineColumns {
    start: usize,
    prices: [usize; 4],
    volume: usize,
    end: Option<usize>,
    interval: Option<usize>,
    quote_volume: Option<usize>,
    count: Option<usize>,
    taker_buy_volume: Option<usize>,
    taker_buy_quote_volume: Option<usize>,
}

impl KlineColumns {
    /// Whether a first line is a header: a bar begins with a time.
    #[must_use]
    pub fn is_header(line: &str) -> bool {
        !line.starts_with(|first: char| first.is_ascii_digit())
    }

    /// The columns of Binance's files without a header.
    #[must_use]
    pub fn without_header() -> Self {
        Self::named(&BINANCE_COLUMNS.map(str::to_owned)).expect("they have all that is needed")
    }

    /// The columns that a header names.
    ///
    /// # Errors
    /// If a needed one is missing.
    pub fn of_header(header: &str) -> Result<Self, MissingColumn> {
        let names = header.split(',').map(|name| name.trim().to_lowercase());
        Self::named(&names.collect::<Vec<_>>())
    }

    fn named(names: &[String]) -> Result<Self, MissingColumn> {
        let column = |known: &[&str]| names.iter().position(|name| known.contains(&name.as_str()));
        let needed = |known: &[&'static str]| column(known).ok_or(MissingColumn(known[0]));
        Ok(Self {
            start: needed(&["open_time", "start_ms", "timestamp", "time", "date"])?,
            prices: [
                needed(&["open"])?,
                needed(&["high"])?,
                needed(&["low"])?,
                needed(&["close"])?,
            ],
            volume: needed(&["volume"])?,
            end: column(&["close_time"]),
            interval: column(&["interval"]),
            quote_volume: column(&["quote_volume", "quote_asset_volume"]),
            count: column(&["count", "trades", "number_of_trades"]),
            taker_buy_volume: column(&["taker_buy_volume", "taker_buy_base_asset_volume"]),
            taker_buy_quote_volume: column(&[
                "taker_buy_quote_volume",
                "taker_buy_quote",
                "taker_buy_quote_asset_volume",
            ]),
        })
    }

    /// Reads a line. `None` if it is no bar.
    #[must_use]
    pub fn read(&self, line: &str) -> Option<Kline> {
        let values: Vec<&str> = line.split(',').map(str::trim).collect();
        let value = |at: usize| values.get(at).copied();
        let text = |at: usize| value(at).map(str::to_owned);
        // A cell may be empty even if the column exists.
        let optional = |at: Option<usize>| -> Option<String> {
            let text = values.get(at?)?;
            (!text.is_empty()).then(|| (*text).to_owned())
        };
        let start_ms = time_of(value(self.start)?)?;
        let named = self.interval.and_then(|at| values.get(at)?.parse().ok());
        let spanned = self
            .end
            .and_then(|at| time_of(values.get(at)?))
            .and_then(|end_ms| timeframe_of(end_ms.checked_sub(start_ms)?));
        let count = match optional(self.count) {
            Some(count) => Some(count.parse().ok()?),
            None => None,
        };
        let [open, high, low, close] = self.prices;
        Some(Kline {
            bar: VenueBar {
                start_ms,
                open: text(open)?,
                high: text(high)?,
                low: text(low)?,
                close: text(close)?,
                volume: text(self.volume)?,
                quote_volume: optional(self.quote_volume),
                count,
                taker_buy_volume: optional(self.taker_buy_volume),
                taker_buy_quote_volume: optional(self.taker_buy_quote_volume),
            },
            timeframe: named.or(spanned),
        })
    }
}

/// Seconds, ms or µs, recognised by their size.
fn time_of(text: &str) -> Option<UnixMillis> {
    let value: i64 = text.parse().ok()?;
    match value {
        0..100_000_000_000 => value.checked_mul(1_000),
        100_000_000_000.. => Some(to_millis(value)),
        _ => None,
    }
}

/// The timeframe with this width, or with this width plus the last millisecond.
#[must_use]
pub fn timeframe_of(width_ms: i64) -> Option<Timeframe> {
    let known = WIDTHS
        .iter()
        .filter_map(|name| name.parse::<Timeframe>().ok());
    // The epoch began on a Thursday, so a week is measured from its first Monday.
    known.into_iter().find(|known| {
        let start_ms = known.start_of(4 * 86_400_000);
        let known_ms = known.end_of(start_ms) - start_ms;
        width_ms == known_ms || width_ms == known_ms - 1
    })
}
