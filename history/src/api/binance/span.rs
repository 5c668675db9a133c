//! The bars of a span of time as one ticker.

use market_core::binance::decimal::{Parts, difference, quotient, text};
use market_core::{Amount, BarRow, UnixMillis};
use serde_json::{Value, json};

/// What is unknown: of books, and of sums that a venue does not say.
pub(super) const UNKNOWN: &str = "0";

/// A bar without trades at the close of another.
pub(super) fn silent(bar: BarRow) -> BarRow {
    BarRow {
        open: bar.close,
        high: bar.close,
        low: bar.close,
        volume: Amount::ZERO,
        quote_volume: Some(Amount::ZERO),
        taker_buy_volume: Some(Amount::ZERO),
        taker_buy_quote_volume: Some(Amount::ZERO),
        count: Some(0),
        ids: None,
        ..bar
    }
}

/// The sums of several bars. What one of them does not say is unknown.
pub(super) struct Sums {
    volume: Amount,
    quote_volume: Option<Amount>,
    count: Option<u64>,
}

impl Sums {
    /// Those of these bars.
    pub(super) fn of(bars: &[BarRow]) -> Self {
        let mut sums = Self {
            volume: Amount::ZERO,
            quote_volume: Some(Amount::ZERO),
            count: Some(0),
        };
        for bar in bars {
            sums.volume.add(bar.volume);
            sums.quote_volume = sums
                .quote_volume
                .zip(bar.quote_volume)
                .map(|(mut sum, next)| {
                    sum.add(next);
                    sum
                });
            let counts = sums.count.zip(bar.count);
            sums.count = counts.map(|(sum, next)| sum.saturating_add(next));
        }
        sums
    }

    /// The average price by volume.
    pub(super) fn average(&self) -> Option<Parts> {
        quotient(self.quote_volume?.parts(), self.volume.parts(), 8)
    }
}

/// The ticker of `type=MINI`: without the changes of the price. `None` without bars.
pub(super) fn small(
    name: &str,
    bars: &[BarRow],
    (open_ms, close_ms): (UnixMillis, UnixMillis),
) -> Option<Value> {
    let (first, last) = (bars.first()?, bars.last()?);
    let sums = Sums::of(bars);
    let first_id = bars.iter().find_map(|bar| bar.ids).map(|ids| ids.first);
    let last_ids = bars.iter().rev().find_map(|bar| bar.ids);
    let id = |id: Option<u64>| id.map_or_else(|| Value::from(-1), Value::from);
    Some(json!({
        "symbol": name,
        "lastPrice": last.close.to_string(),
        "openPrice": first.open.to_string(),
        "highPrice": bars.iter().map(|bar| bar.high).max()?.to_string(),
        "lowPrice": bars.iter().map(|bar| bar.low).min()?.to_string(),
        "volume": sums.volume.to_string(),
        "quoteVolume": sums.quote_volume.unwrap_or(Amount::ZERO).to_string(),
        "openTime": open_ms,
        "closeTime": close_ms,
        "firstId": id(first_id),
        "lastId": id(last_ids.map(|ids| ids.last)),
        "count": sums.count.unwrap_or_default(),
    }))
}

/// The same with the changes of the price.
pub(super) fn whole(name: &str, bars: &[BarRow], times: (UnixMillis, UnixMillis)) -> Option<Value> {
    let mut row = small(name, bars, times)?;
    let (first, last) = (bars.first()?, bars.last()?);
    let change = difference(last.close.parts(), first.open.parts());
    let hundredfold =
        change.and_then(|(mantissa, scale)| Some((mantissa.checked_mul(100)?, scale)));
    let percent = hundredfold.and_then(|change| quotient(change, first.open.parts(), 3));
    let or_unknown = |parts: Option<Parts>| parts.map_or_else(|| UNKNOWN.to_owned(), text);
    row["priceChange"] = or_unknown(change).into();
    row["priceChangePercent"] = or_unknown(percent).into();
    row["weightedAvgPrice"] = or_unknown(Sums::of(bars).average()).into();
    Some(row)
}
