//! OHLCV bars, folded exactly from trades.

use crate::trade::Trade;

/// The fold of the trades of one interval; every sum is exact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bar {
    /// Start of the interval, milliseconds since the epoch.
    pub(crate) start_ms: i64,
    /// Price of the earliest trade.
    pub(crate) open: i64,
    /// Highest price.
    pub(crate) high: i64,
    /// Lowest price.
    pub(crate) low: i64,
    /// Price of the latest trade.
    pub(crate) close: i64,
    /// Traded base quantity, at the quantity scale.
    pub(crate) volume: i128,
    /// Traded quote amount, at price scale + quantity scale.
    pub(crate) quote_volume: i128,
    /// Part of `volume` in which the taker bought.
    pub(crate) taker_buy_volume: i128,
    /// Part of `quote_volume` in which the taker bought.
    pub(crate) taker_buy_quote_volume: i128,
    /// Number of raw trades; 0 in a flat bar.
    pub(crate) count: u64,
    /// Lowest trade id.
    pub(crate) first_id: u64,
    /// Highest trade id.
    pub(crate) last_id: u64,
    /// Event time and id of the trade that gave `open`.
    pub(crate) open_key: (i64, u64),
    /// Event time and id of the trade that gave `close`.
    pub(crate) close_key: (i64, u64),
}

impl Bar {
    /// The bar that starts at `start_ms` and holds one trade.
    pub(crate) fn of(start_ms: i64, trade: &Trade) -> Bar {
        let quantity = i128::from(trade.quantity);
        let (buy, buy_quote) = if trade.taker_buys {
            (quantity, trade.notional())
        } else {
            (0, 0)
        };
        let key = (trade.event_us, trade.id);
        Bar {
            start_ms,
            open: trade.price,
            high: trade.price,
            low: trade.price,
            close: trade.price,
            volume: quantity,
            quote_volume: trade.notional(),
            taker_buy_volume: buy,
            taker_buy_quote_volume: buy_quote,
            count: u64::from(trade.count),
            first_id: trade.first_id(),
            last_id: trade.id,
            open_key: key,
            close_key: key,
        }
    }

    /// A bar without trades, at the price of the previous trade.
    pub(crate) fn flat(start_ms: i64, price: i64) -> Bar {
        Bar {
            start_ms,
            open: price,
            high: price,
            low: price,
            close: price,
            volume: 0,
            quote_volume: 0,
            taker_buy_volume: 0,
            taker_buy_quote_volume: 0,
            count: 0,
            first_id: 0,
            last_id: 0,
            open_key: (0, 0),
            close_key: (0, 0),
        }
    }

    /// Adds the trades of another bar; the order of additions does not matter.
    pub(crate) fn merge(&mut self, other: &Bar) {
        if other.open_key < self.open_key {
            self.open = other.open;
            self.open_key = other.open_key;
        }
        if other.close_key > self.close_key {
            self.close = other.close;
            self.close_key = other.close_key;
        }
        self.high = self.high.max(other.high);
        self.low = self.low.min(other.low);
        self.volume += other.volume;
        self.quote_volume += other.quote_volume;
        self.taker_buy_volume += other.taker_buy_volume;
        self.taker_buy_quote_volume += other.taker_buy_quote_volume;
        self.count += other.count;
        self.first_id = self.first_id.min(other.first_id);
        self.last_id = self.last_id.max(other.last_id);
    }
}
