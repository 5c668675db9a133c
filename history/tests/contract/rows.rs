//! Rows for the tests, whose content follows from their position.

use history::BarRow;
use history::store::{BarSeries, Instrument};
use market_core::{
    AggressorSide, Amount, IdSpan, Price, Quality, Quantity, Timeframe, Trade, UnixMillis,
};

/// 2024-02-28T00:00Z: a few steps before the end of a month.
pub(crate) const START_MS: UnixMillis = 1_709_078_400_000;

pub(crate) fn instrument(name: &str) -> Instrument {
    Instrument {
        exchange: "binance".into(),
        symbol: name.parse().expect("a symbol"),
    }
}

pub(crate) fn minutes(name: &str) -> BarSeries {
    BarSeries {
        instrument: instrument(name),
        timeframe: Timeframe::MINUTE,
    }
}

/// A bar whose prices and sums follow from its start and revision.
pub(crate) fn bar(start_ms: UnixMillis, rev: u32, known_ms: UnixMillis) -> BarRow {
    let seed = i128::from(start_ms / 60_000 % 10_007) + i128::from(rev) * 11 + 100;
    let price = |cents: i128| Price::from_parts(cents, 2).expect("above zero");
    let first = (start_ms / 60_000).cast_unsigned();
    BarRow {
        start_ms,
        open: price(seed),
        high: price(seed + 9),
        low: price(seed - 9),
        close: price(seed + 3),
        volume: Amount::from_parts(seed * 7, 5),
        quote_volume: Some(Amount::from_parts(seed * seed * 7, 7)),
        taker_buy_volume: Some(Amount::from_parts(seed * 3, 5)),
        taker_buy_quote_volume: Some(Amount::from_parts(seed * seed * 3, 7)),
        count: Some(1),
        ids: Some(IdSpan { first, last: first }),
        event_ms: Some(start_ms + 59_000),
        received_us: Some((start_ms + 59_000) * 1_000 + 321),
        rev,
        quality: Quality::Complete,
        is_imported: false,
        known_ms,
    }
}

/// A trade whose content follows from its id.
pub(crate) fn trade(id: u64, event_ms: UnixMillis) -> Trade {
    let seed = i128::from(id % 997) + 1;
    Trade {
        first_id: id,
        last_id: id,
        event_ms,
        price: Price::from_parts(6_000_000 + seed, 2).expect("above zero"),
        quantity: Quantity::from_parts(seed, 5).expect("above zero"),
        aggressor_side: if id.is_multiple_of(3) {
            AggressorSide::Sell
        } else {
            AggressorSide::Buy
        },
        received_us: event_ms * 1_000 + 555,
    }
}
