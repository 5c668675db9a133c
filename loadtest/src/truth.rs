//! What the bars should be: folded from the simulator's trades, in whole numbers, by code that
//! shares nothing with the product's.

use std::collections::BTreeMap;

use crate::bar::{Bar, Quality};

/// Decimals of the simulator's prices and quantities.
const SCALE: usize = 8;

/// A trade as the simulator's tape has it; price and quantity in 1e-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trade {
    id: u64,
    price: i128,
    quantity: i128,
    is_taker_buy: bool,
    event_ms: i64,
}

impl Trade {
    /// From the texts of `/sim/trades`.
    ///
    /// # Panics
    /// If they are no decimals of at most eight places.
    #[must_use]
    pub fn read(id: u64, price: &str, quantity: &str, is_taker_buy: bool, event_ms: i64) -> Self {
        Self {
            id,
            price: mantissa(price),
            quantity: mantissa(quantity),
            is_taker_buy,
            event_ms,
        }
    }

    /// When it happened.
    #[must_use]
    pub fn event_ms(&self) -> i64 {
        self.event_ms
    }
}

fn mantissa(text: &str) -> i128 {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    assert!(decimals.len() <= SCALE, "too many decimals: {text}");
    let digits = format!("{whole}{decimals:0<SCALE$}");
    digits
        .parse()
        .unwrap_or_else(|_| panic!("no decimal: {text}"))
}

/// A decimal without needless zeros.
fn decimal(mantissa: i128, scale: usize) -> String {
    let digits = format!("{mantissa:0>width$}", width = scale + 1);
    let (whole, decimals) = digits.split_at(digits.len() - scale);
    let decimals = decimals.trim_end_matches('0');
    if decimals.is_empty() {
        whole.to_owned()
    } else {
        format!("{whole}.{decimals}")
    }
}

/// A bar's values as they should be on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Values {
    ohlc: [String; 4],
    volume: String,
    quote_volume: Option<String>,
    taker_buy_volume: Option<String>,
    taker_buy_quote_volume: Option<String>,
    count: Option<u64>,
    first_id: Option<String>,
    last_id: Option<String>,
}

impl Values {
    fn of_trades(trades: &[&Trade]) -> Self {
        let sum = |is_taker_buy_only: bool, of: fn(&Trade) -> i128| -> i128 {
            let wanted = trades
                .iter()
                .filter(|trade| !is_taker_buy_only || trade.is_taker_buy);
            wanted.map(|trade| of(trade)).sum()
        };
        let base = |trade: &Trade| trade.quantity;
        let quote = |trade: &Trade| trade.quantity * trade.price;
        let first = trades
            .iter()
            .min_by_key(|trade| (trade.event_ms, trade.id))
            .expect("there are trades");
        let last = trades
            .iter()
            .max_by_key(|trade| (trade.event_ms, trade.id))
            .expect("there are trades");
        let prices = || trades.iter().map(|trade| trade.price);
        let ids = || trades.iter().map(|trade| trade.id);
        Self {
            ohlc: [
                first.price,
                prices().max().expect("there are trades"),
                prices().min().expect("there are trades"),
                last.price,
            ]
            .map(|price| decimal(price, SCALE)),
            volume: decimal(sum(false, base), SCALE),
            quote_volume: Some(decimal(sum(false, quote), 2 * SCALE)),
            taker_buy_volume: Some(decimal(sum(true, base), SCALE)),
            taker_buy_quote_volume: Some(decimal(sum(true, quote), 2 * SCALE)),
            count: Some(trades.len() as u64),
            first_id: ids().min().map(|id| id.to_string()),
            last_id: ids().max().map(|id| id.to_string()),
        }
    }

    fn flat(close: &str) -> Self {
        let zero = || "0".to_owned();
        Self {
            ohlc: [close, close, close, close].map(str::to_owned),
            volume: zero(),
            quote_volume: Some(zero()),
            taker_buy_volume: Some(zero()),
            taker_buy_quote_volume: Some(zero()),
            count: Some(0),
            first_id: None,
            last_id: None,
        }
    }

    fn of_bar(bar: &Bar) -> Self {
        let bar = bar.clone();
        Self {
            ohlc: [bar.open, bar.high, bar.low, bar.close],
            volume: bar.volume,
            quote_volume: bar.quote_volume,
            taker_buy_volume: bar.taker_buy_volume,
            taker_buy_quote_volume: bar.taker_buy_quote_volume,
            count: bar.count,
            first_id: bar.first_id,
            last_id: bar.last_id,
        }
    }
}

/// How bars compare with the truth.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Bars that equal it, flat ones included.
    pub equal: usize,
    /// Of these, bars that say that they were completed by a refetch.
    pub backfilled: usize,
    /// Starts of bars that say that trades are missing: they need not equal it.
    pub gaps: Vec<i64>,
    /// Starts of the first bars, which say that the feed was joined within them.
    pub partial: Vec<i64>,
}

/// Compares closed bars, by their starts, with the bars that the trades make.
///
/// # Errors
/// The first bar that differs without saying so, with both.
pub fn compare(
    bars: &BTreeMap<i64, Bar>,
    trades: &[Trade],
    width_ms: i64,
) -> Result<Comparison, String> {
    let mut comparison = Comparison::default();
    for (&start_ms, bar) in bars {
        let differs = |why: &str| Err(format!("{why}: {bar:?}"));
        if (bar.start_ms, bar.end_ms) != (start_ms, start_ms + width_ms) || start_ms % width_ms != 0
        {
            return differs("the interval is wrong");
        }
        let from = trades.partition_point(|trade| trade.event_ms < start_ms);
        let to = trades.partition_point(|trade| trade.event_ms < start_ms + width_ms);
        let inside: Vec<&Trade> = trades[from..to].iter().collect();
        match bar.quality {
            Quality::Gap => {
                comparison.gaps.push(start_ms);
                continue;
            }
            Quality::Partial if comparison.equal == 0 => {
                comparison.partial.push(start_ms);
                continue;
            }
            Quality::Partial => return differs("partial after whole bars"),
            Quality::Filled if !inside.is_empty() => return differs("trades happened"),
            Quality::Complete if inside.is_empty() => return differs("no trade happened"),
            Quality::Backfilled => comparison.backfilled += 1,
            Quality::Filled | Quality::Complete => {}
        }
        let expected = match trades[..from].last() {
            _ if !inside.is_empty() => Values::of_trades(&inside),
            Some(before) => Values::flat(&decimal(before.price, SCALE)),
            None => return differs("no trade happened before it"),
        };
        if Values::of_bar(bar) != expected {
            return Err(format!(
                "a bar differs from the truth:\n  bar   {bar:?}\n  truth {expected:?}"
            ));
        }
        comparison.equal += 1;
    }
    Ok(comparison)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trades() -> Vec<Trade> {
        vec![
            Trade::read(7, "100.5", "0.3", true, 1_000),
            Trade::read(8, "101", "0.00000001", false, 1_999),
            Trade::read(9, "99", "2", false, 2_000),
        ]
    }

    fn bar(start_ms: i64, quality: &str, values: &Values) -> Bar {
        let [open, high, low, close] = &values.ohlc;
        serde_json::from_value(serde_json::json!({
            "topic": "kline:1s:A-B", "seq": 1, "epoch": 1, "exchange": "binance", "symbol": "A-B", "interval": "1s",
            "start_ms": start_ms, "end_ms": start_ms + 1_000,
            "open": open, "high": high, "low": low, "close": close,
            "volume": values.volume, "quote_volume": values.quote_volume,
            "taker_buy_volume": values.taker_buy_volume, "taker_buy_quote_volume": values.taker_buy_quote_volume,
            "count": values.count, "first_id": values.first_id, "last_id": values.last_id,
            "state": "closed", "rev": 0, "quality": quality, "event_ms": null, "received_us": null, "published_us": 1,
        }))
        .expect("a bar")
    }

    #[test]
    fn trades_on_the_boundary_open_the_next_bar() {
        let trades = trades();
        let values = Values::of_trades(&trades[..2].iter().collect::<Vec<_>>());
        assert_eq!(values.ohlc, ["100.5", "101", "100.5", "101"]);
        assert_eq!(
            (values.volume.as_str(), values.quote_volume.as_deref()),
            ("0.30000001", Some("30.15000101"))
        );
        assert_eq!(
            (
                values.taker_buy_volume.as_deref(),
                values.taker_buy_quote_volume.as_deref()
            ),
            (Some("0.3"), Some("30.15"))
        );
        let bars = BTreeMap::from([(1_000, bar(1_000, "complete", &values))]);
        assert_eq!(compare(&bars, &trades, 1_000).map(|it| it.equal), Ok(1));
    }

    #[test]
    fn a_bar_that_differs_is_told_unless_it_says_gap() {
        let trades = trades();
        let values = Values::of_trades(&[&trades[0]]);
        let wrong = BTreeMap::from([(1_000, bar(1_000, "complete", &values))]);
        assert!(compare(&wrong, &trades, 1_000).is_err());
        let gap = BTreeMap::from([(1_000, bar(1_000, "gap", &values))]);
        assert_eq!(
            compare(&gap, &trades, 1_000).map(|it| it.gaps),
            Ok(vec![1_000])
        );
    }

    #[test]
    fn a_second_without_trades_is_flat_at_the_close_before() {
        let trades = trades();
        let flat = BTreeMap::from([(3_000, bar(3_000, "filled", &Values::flat("99")))]);
        assert_eq!(compare(&flat, &trades, 1_000).map(|it| it.equal), Ok(1));
        let wrong = BTreeMap::from([(2_000, bar(2_000, "filled", &Values::flat("101")))]);
        assert!(compare(&wrong, &trades, 1_000).is_err());
    }
}
