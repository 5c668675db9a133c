//! What the rules know of a bar.

use market_core::wire::BarMessage;
use market_core::{Amount, BarState, Price, Quality, Symbol, Timeframe, UnixMillis};
use serde::{Deserialize, Serialize};

/// Latest time of a bar, unix ms: the year 9999.
const TIME_MAX_MS: UnixMillis = 253_402_300_799_999;
/// Longest name of a venue.
const EXCHANGE_LEN_MAX: usize = 32;
/// Most places of a volume: those of a quantity.
const VOLUME_SCALE_MAX: u32 = 28;

/// A closed bar of a symbol.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct WatchedBar {
    /// First instant in it.
    pub start_ms: UnixMillis,
    /// First instant after it.
    pub end_ms: UnixMillis,
    /// Its revision.
    pub rev: u32,
    /// Price of its first trade.
    pub open: Price,
    /// Highest price.
    pub high: Price,
    /// Lowest price.
    pub low: Price,
    /// Price of its last trade.
    pub close: Price,
    /// In the base currency.
    pub volume: Amount,
    /// Whether anything was traded.
    pub is_traded: bool,
    /// Whether trades of it are missing.
    pub has_gap: bool,
}

/// A bar as the bus has it.
#[derive(Clone, PartialEq, Debug)]
pub struct SymbolBar {
    /// The venue, in lower case.
    pub exchange: Box<str>,
    /// The symbol.
    pub symbol: Symbol,
    /// The bar.
    pub bar: WatchedBar,
}

/// Reads a closed bar; `None` if it is of another timeframe.
///
/// # Errors
/// Why it is none.
pub fn read_bar(payload: &[u8], timeframe: Timeframe) -> Result<Option<SymbolBar>, String> {
    let message: BarMessage =
        serde_json::from_slice(payload).map_err(|error| format!("not a bar: {error}"))?;
    let wrong = |what: &str| Err(format!("not a bar: {what}"));
    if message.interval != timeframe {
        return Ok(None);
    }
    if message.state != BarState::Closed {
        return wrong("it is not closed");
    }
    let is_name = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_'
    };
    if !(1..=EXCHANGE_LEN_MAX).contains(&message.exchange.len())
        || !message.exchange.bytes().all(is_name)
    {
        return wrong("it names no venue");
    }
    let Ok(symbol) = message.symbol.parse::<Symbol>() else {
        return wrong("its symbol is none");
    };
    if !(0..=TIME_MAX_MS).contains(&message.start_ms)
        || timeframe.start_of(message.start_ms) != message.start_ms
    {
        return wrong("its start is none of its timeframe");
    }
    let prices = [&message.open, &message.high, &message.low, &message.close];
    let [Ok(open), Ok(high), Ok(low), Ok(close)] = prices.map(|text| Price::parse(text)) else {
        return wrong("a price is none");
    };
    let volume =
        Amount::parse(&message.volume).filter(|volume| volume.parts().1 <= VOLUME_SCALE_MAX);
    let Some(volume) = volume else {
        return wrong("its volume is none");
    };
    let range = low..=high;
    if !range.contains(&open) || !range.contains(&close) {
        return wrong("its prices are not between its lowest and its highest");
    }
    let bar = WatchedBar {
        start_ms: message.start_ms,
        end_ms: timeframe.end_of(message.start_ms),
        rev: message.rev,
        open,
        high,
        low,
        close,
        volume,
        is_traded: !volume.is_zero(),
        has_gap: message.quality == Quality::Gap,
    };
    let exchange = message.exchange.into_boxed_str();
    Ok(Some(SymbolBar {
        exchange,
        symbol,
        bar,
    }))
}
