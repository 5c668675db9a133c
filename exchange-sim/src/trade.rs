//! One trade of a venue's tape.

/// A trade: numbers are mantissas at its instrument's scales.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trade {
    /// The venue's id; ids of one symbol are consecutive.
    pub(crate) id: u64,
    /// Id of the aggregate (one taker order at one price) that the trade belongs to.
    pub(crate) aggregate_id: u64,
    /// Number of raw trades in this entry; `id` is the last of them. One, unless it was captured
    /// from a stream that only has aggregates.
    pub(crate) count: u32,
    /// Time of the trade at the venue, microseconds since the epoch.
    pub(crate) event_us: i64,
    /// Price, mantissa at the instrument's price scale.
    pub(crate) price: i64,
    /// Quantity in base units, mantissa at the instrument's quantity scale.
    pub(crate) quantity: i64,
    /// Whether the taker bought.
    pub(crate) taker_buys: bool,
}

impl Trade {
    /// Time of the trade in milliseconds since the epoch, rounded down.
    pub(crate) fn event_ms(&self) -> i64 {
        self.event_us.div_euclid(1000)
    }

    /// Id of the first raw trade that the entry stands for.
    pub(crate) fn first_id(&self) -> u64 {
        self.id
            .saturating_sub(u64::from(self.count.saturating_sub(1)))
    }

    /// Price × quantity, mantissa at the sum of both scales.
    pub(crate) fn notional(&self) -> i128 {
        i128::from(self.price) * i128::from(self.quantity)
    }
}
