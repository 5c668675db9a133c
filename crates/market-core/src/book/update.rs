//! Snapshots and changes of a book, as venues send them.

use crate::quote::PriceLevel;
use crate::value::clock::{UnixMicros, UnixMillis};
use crate::value::price::{ParseDecimalError, Price, Quantity};

/// The new quantity at a price.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LevelChange {
    /// In the quote currency.
    pub price: Price,
    /// In the base currency; `None` if there is nothing at this price any more.
    pub quantity: Option<Quantity>,
}

impl LevelChange {
    /// A change of a venue's texts. A quantity of zero is none.
    ///
    /// # Errors
    /// If the price is zero, or if one of the texts is no decimal number.
    pub fn parse(price: &str, quantity: &str) -> Result<Self, ParseDecimalError> {
        let quantity = match Quantity::parse(quantity) {
            Ok(quantity) => Some(quantity),
            Err(ParseDecimalError::Zero) => None,
            Err(error) => return Err(error),
        };
        Ok(Self {
            price: Price::parse(price)?,
            quantity,
        })
    }

    /// The level after the change; `None` if it is gone.
    #[must_use]
    pub fn level(self) -> Option<PriceLevel> {
        self.quantity.map(|quantity| PriceLevel {
            price: self.price,
            quantity,
        })
    }
}

impl From<PriceLevel> for LevelChange {
    fn from(level: PriceLevel) -> Self {
        Self {
            price: level.price,
            quantity: Some(level.quantity),
        }
    }
}

/// The numbers by which a venue orders its updates.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UpdateNumbers {
    /// The update has the changes of all these numbers, and nothing else has them (Binance). A
    /// snapshot has all changes up to `last`.
    Range {
        /// The first number.
        first: u64,
        /// The last number.
        last: u64,
    },
    /// The update follows the one of the number `previous` (OKX). The number may fall when the
    /// venue restarts its book.
    Chain {
        /// The number before; `None` for a snapshot.
        previous: Option<u64>,
        /// Its own number.
        number: u64,
    },
    /// The venue numbers nothing: only the order of the stream and the times tell (Coinbase).
    None,
}

/// A snapshot or a change of a book.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BookUpdate {
    /// Whether it is the whole book, as far as the venue sends it. Otherwise it has changes.
    pub is_snapshot: bool,
    /// Of a snapshot: after how many levels the venue cuts each side, if it does.
    pub cut_after: Option<usize>,
    /// Its place in the order of updates.
    pub numbers: UpdateNumbers,
    /// Changes of the bids, in any order. The last one of a price counts.
    pub bids: Vec<LevelChange>,
    /// Changes of the asks, in any order. The last one of a price counts.
    pub asks: Vec<LevelChange>,
    /// When the venue sent it, if it says so.
    pub event_ms: Option<UnixMillis>,
    /// When it was received, by this host's clock.
    pub received_us: UnixMicros,
}

impl BookUpdate {
    /// The number of its levels, on both sides.
    #[must_use]
    pub fn levels(&self) -> usize {
        self.bids.len() + self.asks.len()
    }
}
