//! One trade, as a venue reported it.

use serde::{Deserialize, Serialize};

use crate::value::clock::{UnixMicros, UnixMillis};
use crate::value::price::{Price, Quantity};

/// The side that crossed the spread.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AggressorSide {
    /// The taker bought.
    Buy,
    /// The taker sold.
    Sell,
}

/// A trade, or a venue's aggregate of trades at one price with adjoining ids.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Trade {
    /// The venue's id of the first trade in it.
    pub first_id: u64,
    /// The venue's id of the last trade in it; equal to `first_id` for a single trade.
    pub last_id: u64,
    /// When the trade happened, by the venue.
    pub event_ms: UnixMillis,
    /// In the quote currency.
    pub price: Price,
    /// In the base currency.
    pub quantity: Quantity,
    /// The taker's side.
    pub aggressor_side: AggressorSide,
    /// When its frame was received, by this host's clock.
    pub received_us: UnixMicros,
}

impl Trade {
    /// The number of trades in it.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.last_id - self.first_id + 1
    }
}
