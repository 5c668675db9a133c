//! A venue's book, as it says it and as it is.

use std::collections::BTreeMap;

use crate::book::{BookSync, BookUpdate, LevelChange, UpdateNumbers};
use crate::quote::PriceLevel;
use crate::value::price::{Price, Quantity};

/// Prices below are bids, the others are asks.
pub(super) const FIRST_ASK: u64 = 21;

/// One change of the venue's book: a price, and its new quantity.
pub(super) type Change = (u64, u64);
pub(super) type Levels = Vec<(String, String)>;

pub(super) fn level((price, quantity): Change) -> LevelChange {
    LevelChange {
        price: Price::from_parts(price.into(), 0).expect("above zero"),
        quantity: Quantity::from_parts(quantity.into(), 0),
    }
}

/// A venue that numbers its changes from 1.
pub(super) struct Venue(pub(super) Vec<Change>);

impl Venue {
    /// The net changes of these numbers.
    pub(super) fn net(&self, first: usize, last: usize) -> Vec<Change> {
        let net: BTreeMap<u64, u64> = self.0[first - 1..last].iter().copied().collect();
        net.into_iter().collect()
    }

    pub(super) fn update(&self, first: usize, last: usize, numbers: UpdateNumbers) -> BookUpdate {
        let changes = self.net(first, last);
        let side = |is_bid: bool| {
            let side = changes
                .iter()
                .filter(|&&(price, _)| (price < FIRST_ASK) == is_bid);
            side.map(|&change| level(change)).collect()
        };
        BookUpdate {
            is_snapshot: false,
            cut_after: None,
            numbers,
            bids: side(true),
            asks: side(false),
            event_ms: Some(last as i64),
            received_us: 0,
        }
    }

    pub(super) fn range(&self, first: usize, last: usize) -> BookUpdate {
        let numbers = UpdateNumbers::Range {
            first: first as u64,
            last: last as u64,
        };
        self.update(first, last, numbers)
    }

    pub(super) fn snapshot(&self, last: usize, numbers: UpdateNumbers) -> BookUpdate {
        BookUpdate {
            is_snapshot: true,
            ..self.update(1, last, numbers)
        }
    }

    pub(super) fn range_snapshot(&self, last: usize) -> BookUpdate {
        let number = last as u64;
        let numbers = UpdateNumbers::Range {
            first: number,
            last: number,
        };
        self.snapshot(last, numbers)
    }

    /// The book after the change of this number: bids and asks, best first.
    pub(super) fn book(&self, last: usize) -> (Levels, Levels) {
        let text = |&(price, quantity): &Change| (price.to_string(), quantity.to_string());
        let mut held = self.net(1, last);
        held.retain(|&(_, quantity)| quantity > 0);
        let (bids, asks): (Vec<Change>, Vec<Change>) =
            held.into_iter().partition(|&(price, _)| price < FIRST_ASK);
        (
            bids.iter().rev().map(text).collect(),
            asks.iter().map(text).collect(),
        )
    }
}

pub(super) fn texts(levels: &[PriceLevel]) -> Levels {
    let text = |level: &PriceLevel| (level.price.to_string(), level.quantity.to_string());
    levels.iter().map(text).collect()
}

pub(super) fn book_of(sync: &BookSync) -> Option<(u64, (Levels, Levels))> {
    let top = sync.top(usize::MAX)?;
    Some((top.update_id?, (texts(&top.bids), texts(&top.asks))))
}
