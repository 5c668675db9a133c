//! Bars of a minute, of which averages and tickers of windows are made.

use serde::Deserialize;

use super::symbol::symbol_name;
use crate::bar::BarState;
use crate::bar_row::BarRow;
use crate::series::sequence::IdSpan;
use crate::value::amount::Amount;
use crate::value::clock::{UnixMicros, UnixMillis};
use crate::value::price::Price;
use crate::value::symbol::Symbol;

/// The width of these bars, ms.
pub const MINUTE_MS: i64 = 60_000;

/// An encoded bar of a minute, as far as it is read here.
#[derive(Deserialize, Debug)]
struct Encoded<'a> {
    symbol: Symbol,
    #[serde(borrow, default)]
    exchange: &'a str,
    start_ms: UnixMillis,
    #[serde(borrow)]
    open: &'a str,
    #[serde(borrow)]
    high: &'a str,
    #[serde(borrow)]
    low: &'a str,
    #[serde(borrow)]
    close: &'a str,
    #[serde(borrow)]
    volume: &'a str,
    #[serde(borrow)]
    quote_volume: Option<&'a str>,
    count: Option<u64>,
    #[serde(borrow, default)]
    first_id: Option<&'a str>,
    #[serde(borrow, default)]
    last_id: Option<&'a str>,
    state: BarState,
    event_ms: Option<UnixMillis>,
    #[serde(default)]
    published_us: UnixMicros,
}

/// The numbers of a bar of a minute.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct MinuteBar {
    /// First instant in it.
    pub start_ms: UnixMillis,
    /// Price of the earliest trade.
    pub open: Price,
    /// Highest price.
    pub high: Price,
    /// Lowest price.
    pub low: Price,
    /// Price of the latest trade.
    pub close: Price,
    /// In the base currency.
    pub volume: Amount,
    /// In the quote currency; `None` if the venue does not say it.
    pub quote_volume: Option<Amount>,
    /// Number of trades; `None` if the venue does not say it.
    pub count: Option<u64>,
    /// Lowest and highest trade id, if there are any.
    pub ids: Option<IdSpan>,
    /// Whether the bar is closed.
    pub is_closed: bool,
}

impl MinuteBar {
    /// The numbers of a closed bar that is stored.
    #[must_use]
    pub fn of_closed(row: &BarRow) -> Self {
        Self {
            start_ms: row.start_ms,
            open: row.open,
            high: row.high,
            low: row.low,
            close: row.close,
            volume: row.volume,
            quote_volume: row.quote_volume,
            count: row.count,
            ids: row.ids,
            is_closed: true,
        }
    }
}

/// A published bar of a minute.
#[derive(Clone, PartialEq, Debug)]
pub struct Minute {
    /// Its numbers.
    pub bar: MinuteBar,
    /// The symbol's name.
    pub name: String,
    /// The venue of its trades, in lower case; empty if the publisher did not name it.
    pub exchange: String,
    /// Event time of the latest trade, if known.
    pub event_ms: Option<UnixMillis>,
    /// When it was published.
    pub published_us: UnixMicros,
}

impl Minute {
    /// Reads an encoded bar; `None` if the payload is not a bar, or if its symbol has no name.
    #[must_use]
    pub fn read(payload: &[u8]) -> Option<Self> {
        let bar: Encoded<'_> = serde_json::from_slice(payload).ok()?;
        let price = |text: &str| Price::parse(text).ok();
        let quote_volume = match bar.quote_volume {
            Some(sum) => Some(Amount::parse(sum)?),
            None => None,
        };
        let id = |text: &str| text.parse::<u64>().ok();
        let ids = bar.first_id.and_then(id).zip(bar.last_id.and_then(id));
        Some(Self {
            name: symbol_name(&bar.symbol)?,
            exchange: bar.exchange.to_owned(),
            bar: MinuteBar {
                start_ms: bar.start_ms,
                open: price(bar.open)?,
                high: price(bar.high)?,
                low: price(bar.low)?,
                close: price(bar.close)?,
                volume: Amount::parse(bar.volume)?,
                quote_volume,
                count: bar.count,
                ids: ids.map(|(first, last)| IdSpan { first, last }),
                is_closed: bar.state == BarState::Closed,
            },
            event_ms: bar.event_ms,
            published_us: bar.published_us,
        })
    }

    /// When it was published, ms.
    #[must_use]
    pub fn published_ms(&self) -> i64 {
        self.published_us.div_euclid(1_000)
    }
}
