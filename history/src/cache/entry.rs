//! What a cache keeps.

use bytes::Bytes;
use market_core::wire::BarHead;
use market_core::{Timeframe, UnixMillis};
use serde::Deserialize;

use crate::store::{BarSeries, Instrument};

/// Which value of a market.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Value {
    /// The bar with the newest price.
    Tick,
    /// The newest bar of a timeframe.
    Kline(Timeframe),
    /// The newest order book.
    Orderbook,
}

/// The place of one value.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CacheKey {
    /// The venue, in lower case.
    pub exchange: Box<str>,
    /// The pair without its venue: `BTC-USDT`.
    pub pair: Box<str>,
    /// Which value.
    pub value: Value,
}

impl CacheKey {
    /// The place of a value of an instrument.
    #[must_use]
    pub fn of(instrument: &Instrument, value: Value) -> Self {
        Self {
            exchange: instrument.exchange.clone(),
            pair: instrument.symbol.pair().into(),
            value,
        }
    }
}

/// Says which of two values of one key is newer: the higher one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Rank([u64; 5]);

impl Rank {
    /// As numbers, the most important one first.
    #[must_use]
    pub fn new(numbers: [u64; 5]) -> Self {
        Self(numbers)
    }

    /// As text whose order is the order of the ranks.
    #[must_use]
    pub fn text(&self) -> String {
        let [a, b, c, d, e] = self.0;
        format!("{a:020}.{b:020}.{c:020}.{d:020}.{e:020}")
    }
}

/// One value for a cache.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CacheEntry {
    /// Where it belongs.
    pub key: CacheKey,
    /// Whether it is newer than another one.
    pub rank: Rank,
    /// The event time of a tick: its place among the ticks before it. 0 for other values.
    pub event_ms: UnixMillis,
    /// The bytes that the bus carried.
    pub bytes: Bytes,
}

#[derive(Deserialize)]
struct EventTime {
    event_ms: Option<UnixMillis>,
}

#[derive(Deserialize)]
struct BookHead<'a> {
    seq: u64,
    epoch: u64,
    exchange: &'a str,
    symbol: &'a str,
}

fn since_1970(at_ms: UnixMillis) -> u64 {
    at_ms.max(0).cast_unsigned()
}

impl CacheEntry {
    /// A bar as the newest one of its timeframe.
    #[must_use]
    pub fn kline(series: &BarSeries, head: &BarHead<'_>, bytes: &Bytes) -> Self {
        let start = since_1970(head.start_ms);
        let closed = u64::from(head.closed);
        let rank = [start, closed, head.rev.into(), head.epoch, head.seq];
        Self {
            key: CacheKey::of(&series.instrument, Value::Kline(series.timeframe)),
            rank: Rank(rank),
            event_ms: 0,
            bytes: bytes.clone(),
        }
    }

    /// A bar as the newest price of its market; `None` for a flat bar, which repeats an older price.
    /// Of bars with one event time, the narrowest one is the newest.
    #[must_use]
    pub fn tick(series: &BarSeries, head: &BarHead<'_>, bytes: &Bytes) -> Option<Self> {
        let times: EventTime = serde_json::from_slice(bytes).ok()?;
        let event_ms = times.event_ms.filter(|_| !head.filled)?;
        let width_ms = since_1970(series.timeframe.end_of(0));
        let state = u64::from(head.closed).saturating_mul(1 + u64::from(head.rev));
        let rank = [
            since_1970(event_ms),
            u64::MAX.saturating_sub(width_ms),
            state,
            head.epoch,
            head.seq,
        ];
        Some(Self {
            key: CacheKey::of(&series.instrument, Value::Tick),
            rank: Rank(rank),
            event_ms,
            bytes: bytes.clone(),
        })
    }

    /// An order book of the bus; `None` if it is none of a venue.
    #[must_use]
    pub fn orderbook(bytes: &Bytes) -> Option<Self> {
        let head: BookHead<'_> = serde_json::from_slice(bytes).ok()?;
        let symbol = head.symbol.parse().ok()?;
        let exchange = Some(head.exchange).filter(|name| !name.is_empty())?;
        let instrument = Instrument {
            exchange: exchange.into(),
            symbol,
        };
        Some(Self {
            key: CacheKey::of(&instrument, Value::Orderbook),
            rank: Rank([head.epoch, head.seq, 0, 0, 0]),
            event_ms: 0,
            bytes: bytes.clone(),
        })
    }
}
