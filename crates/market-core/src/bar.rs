//! OHLCV bars, and the fold that makes them.

use serde::{Deserialize, Serialize};

use crate::series::sequence::ID_MAX;
use crate::trade::{AggressorSide, Trade};
use crate::value::amount::Amount;
use crate::value::clock::{UnixMicros, UnixMillis};
use crate::value::price::Price;
use crate::value::timeframe::Timeframe;

/// The order of a trade in time: event time, then trade id among equals.
pub(crate) type TradeKey = (UnixMillis, u64);

/// The sum of trades. Merging is associative and commutative. Therefore bars do not depend on the
/// order in which trades arrive, and a bar of a higher timeframe is the merge of the lower bars in
/// it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Fold {
    open_key: TradeKey,
    pub(crate) close_key: TradeKey,
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
    /// In the quote currency.
    pub quote_volume: Amount,
    /// Quantity that takers bought, in the base currency.
    pub taker_buy_volume: Amount,
    /// Quantity that takers bought, in the quote currency.
    pub taker_buy_quote_volume: Amount,
    /// Number of trades; at least one.
    pub count: u64,
    /// Lowest trade id.
    pub first_id: u64,
    /// Highest trade id.
    pub last_id: u64,
    /// When the frame with the newest trade was received.
    pub received_us: UnixMicros,
}

impl Fold {
    /// One trade as a fold.
    #[must_use]
    #[inline]
    pub fn of(trade: &Trade) -> Self {
        let volume = trade.quantity.amount();
        let quote_volume = trade.price.times(trade.quantity);
        let (taker_buy_volume, taker_buy_quote_volume) = match trade.aggressor_side {
            AggressorSide::Buy => (volume, quote_volume),
            AggressorSide::Sell => (Amount::ZERO, Amount::ZERO),
        };
        Self {
            open_key: (trade.event_ms, trade.first_id),
            close_key: (trade.event_ms, trade.last_id),
            open: trade.price,
            high: trade.price,
            low: trade.price,
            close: trade.price,
            volume,
            quote_volume,
            taker_buy_volume,
            taker_buy_quote_volume,
            count: trade.count(),
            first_id: trade.first_id,
            last_id: trade.last_id,
            received_us: trade.received_us,
        }
    }

    /// Whether a stored fold can be the sum of trades between these times. It may have more trades
    /// than ids, because a venue may start its ids again within the bar.
    pub(crate) fn is_sound(&self, start_ms: UnixMillis, end_ms: UnixMillis) -> bool {
        let prices = self.low..=self.high;
        let times = start_ms..end_ms;
        prices.contains(&self.open)
            && prices.contains(&self.close)
            && times.contains(&self.open_key.0)
            && times.contains(&self.close_key.0)
            && self.open_key <= self.close_key
            && self.first_id <= self.last_id
            && self.last_id <= ID_MAX
            && self.count > 0
    }

    /// Adds what `other` holds.
    #[inline]
    pub fn merge(&mut self, other: &Self) {
        if other.open_key < self.open_key {
            self.open_key = other.open_key;
            self.open = other.open;
        }
        if other.close_key > self.close_key {
            self.close_key = other.close_key;
            self.close = other.close;
        }
        self.high = self.high.max(other.high);
        self.low = self.low.min(other.low);
        self.volume.add(other.volume);
        self.quote_volume.add(other.quote_volume);
        self.taker_buy_volume.add(other.taker_buy_volume);
        self.taker_buy_quote_volume
            .add(other.taker_buy_quote_volume);
        self.count = self.count.saturating_add(other.count);
        self.first_id = self.first_id.min(other.first_id);
        self.last_id = self.last_id.max(other.last_id);
        self.received_us = self.received_us.max(other.received_us);
    }

    /// Whether every sum is exact: beyond 38 digits they give up decimal places.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        // A part is never longer than the whole.
        self.volume.is_exact() && self.quote_volume.is_exact()
    }

    /// Event time of the latest trade.
    #[must_use]
    #[inline]
    pub fn event_ms(&self) -> UnixMillis {
        self.close_key.0
    }
}

/// Adds `other` to a fold that may still be empty.
#[inline]
pub(crate) fn merge_into(fold: &mut Option<Fold>, other: &Fold) {
    match fold {
        Some(fold) => fold.merge(other),
        None => *fold = Some(*other),
    }
}

/// Whether a bar can still change in the ordinary course of things.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BarState {
    /// Its interval, or the reorder window after it, is still running.
    Forming,
    /// Final, unless a later revision (`rev` above 0) replaces it.
    Closed,
}

/// What is known about a bar's completeness.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Quality {
    /// Every trade of the interval is in it.
    Complete,
    /// Known trade ids of the interval are missing, or a sum outgrew the 38 digits that are exact.
    Gap,
    /// It was closed with a gap, or differed from the venue's own bar, and has been healed since.
    Backfilled,
    /// The feed was joined in the middle of the interval.
    Partial,
    /// No trade happened: open = high = low = close = the close before.
    Filled,
}

/// A bar of one symbol and timeframe, `[start_ms, end_ms)` in UTC.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Bar {
    /// The bar's width.
    pub timeframe: Timeframe,
    /// First instant in it.
    pub start_ms: UnixMillis,
    /// First instant after it.
    pub end_ms: UnixMillis,
    /// The sum of its trades; `None` in a filled bar.
    pub fold: Option<Fold>,
    /// The previous close, which a filled bar repeats.
    pub previous_close: Option<Price>,
    /// Forming or closed.
    pub state: BarState,
    /// 0, and one more with every revision after the bar was closed.
    pub rev: u32,
    /// What is known about its completeness.
    pub quality: Quality,
}

impl Bar {
    /// Open, high, low and close; flat at the close before in a filled bar. `None` only for a
    /// bar with neither trades nor a bar before it, which is never published.
    #[must_use]
    pub fn ohlc(&self) -> Option<[Price; 4]> {
        match &self.fold {
            Some(fold) => Some([fold.open, fold.high, fold.low, fold.close]),
            None => self.previous_close.map(|close| [close; 4]),
        }
    }
}
