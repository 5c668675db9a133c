//! The best levels of a book, as a client has them, and what changes between two of them.

use std::cmp::Ordering;

use super::update::LevelChange;
use crate::quote::PriceLevel;
use crate::value::price::Price;

/// Levels of each side that the checksum covers.
pub const CHECKSUM_LEVELS: usize = 10;

/// The best levels of both sides, the best first.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct BookLevels {
    /// Bids, by falling prices.
    pub bids: Vec<PriceLevel>,
    /// Asks, by rising prices.
    pub asks: Vec<PriceLevel>,
}

/// What makes the best levels of a book out of its best levels of before.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LevelChanges {
    /// Levels of each side that count, before and after; `None` for all.
    pub depth: Option<usize>,
    /// Bids that are new, have another quantity, or are gone; by falling prices.
    pub bids: Vec<LevelChange>,
    /// Asks that are new, have another quantity, or are gone; by rising prices.
    pub asks: Vec<LevelChange>,
}

impl LevelChanges {
    /// How many there are, on both sides.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bids.len() + self.asks.len()
    }

    /// Whether nothing changes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Bids: the higher price comes first.
fn bids_first(left: Price, right: Price) -> Ordering {
    right.cmp(&left)
}

/// Asks: the lower price comes first.
fn asks_first(left: Price, right: Price) -> Ordering {
    left.cmp(&right)
}

type Order = fn(Price, Price) -> Ordering;

/// The best levels of a side.
fn best(levels: &[PriceLevel], depth: Option<usize>) -> &[PriceLevel] {
    &levels[..depth.map_or(levels.len(), |depth| depth.min(levels.len()))]
}

impl BookLevels {
    /// How many there are, on both sides.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bids.len() + self.asks.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The same with the best levels of each side only.
    #[must_use]
    pub fn cut(&self, depth: Option<usize>) -> Self {
        Self {
            bids: best(&self.bids, depth).to_vec(),
            asks: best(&self.asks, depth).to_vec(),
        }
    }

    /// What makes the best levels of this book out of the best levels of `before`.
    #[must_use]
    pub fn changes_since(&self, before: &Self, depth: Option<usize>) -> LevelChanges {
        let side = |before: &[PriceLevel], now: &[PriceLevel], order: Order| {
            changes(best(before, depth), best(now, depth), order)
        };
        LevelChanges {
            depth,
            bids: side(&before.bids, &self.bids, bids_first),
            asks: side(&before.asks, &self.asks, asks_first),
        }
    }

    /// Takes changes: leaves out the levels beyond their depth, and then changes the others.
    ///
    /// The levels beyond are not followed, so they must not come back when a better one is gone.
    pub fn apply(&mut self, changes: &LevelChanges) {
        for (levels, changes_of_side, order) in [
            (&mut self.bids, &changes.bids, bids_first as Order),
            (&mut self.asks, &changes.asks, asks_first as Order),
        ] {
            levels.truncate(changes.depth.unwrap_or(usize::MAX));
            *levels = applied(levels, changes_of_side, order);
        }
    }

    /// CRC-32 of the best ten bids and then the best ten asks, each as `price:quantity,`.
    #[must_use]
    pub fn checksum(&self) -> u32 {
        use std::fmt::Write;
        let mut text = String::with_capacity(CHECKSUM_LEVELS * 2 * 24);
        let (bids, asks) = (self.bids.iter(), self.asks.iter());
        for level in bids.take(CHECKSUM_LEVELS).chain(asks.take(CHECKSUM_LEVELS)) {
            // A text takes everything.
            let _ = write!(text, "{}:{},", level.price, level.quantity);
        }
        crc32fast::hash(text.as_bytes())
    }
}

/// The changes between two sides, which are both in order.
fn changes(before: &[PriceLevel], now: &[PriceLevel], order: Order) -> Vec<LevelChange> {
    let (mut before, mut now) = (before.iter().peekable(), now.iter().peekable());
    let mut changes = Vec::new();
    loop {
        let next = match (before.peek(), now.peek()) {
            (None, None) => return changes,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(before), Some(now)) => order(before.price, now.price),
        };
        let was = before.next_if(|_| next.is_le());
        let is = now.next_if(|_| next.is_ge());
        match (was, is) {
            (_, Some(is)) if was != Some(is) => changes.push(LevelChange::from(*is)),
            (Some(was), None) => changes.push(LevelChange {
                price: was.price,
                quantity: None,
            }),
            _ => {}
        }
    }
}

/// A side after changes in any order. The last one of a price counts.
fn applied(levels: &[PriceLevel], changes: &[LevelChange], order: Order) -> Vec<PriceLevel> {
    let mut changes: Vec<LevelChange> = changes.to_vec();
    changes.sort_by(|left, right| order(left.price, right.price));
    let mut changes = changes.into_iter().peekable();
    let mut after = Vec::with_capacity(levels.len() + changes.len());
    let mut take = |after: &mut Vec<PriceLevel>, upto: Option<Price>| {
        let mut is_replaced = false;
        while let Some(change) =
            changes.next_if(|change| upto.is_none_or(|upto| order(change.price, upto).is_le()))
        {
            is_replaced |= Some(change.price) == upto;
            if after.last().is_some_and(|last| last.price == change.price) {
                after.pop();
            }
            after.extend(change.level());
        }
        is_replaced
    };
    for level in levels {
        if !take(&mut after, Some(level.price)) {
            after.push(*level);
        }
    }
    take(&mut after, None);
    after
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn level(price: u32, quantity: u32) -> PriceLevel {
        let level = PriceLevel::parse(&price.to_string(), &quantity.to_string());
        level.expect("numbers").expect("a level")
    }

    fn book(bids: &[(u32, u32)], asks: &[(u32, u32)]) -> BookLevels {
        let side = |levels: &[(u32, u32)], order: Order| {
            let mut side: Vec<PriceLevel> = levels
                .iter()
                .map(|&(price, quantity)| level(price, quantity))
                .collect();
            side.sort_by(|left, right| order(left.price, right.price));
            side.dedup_by_key(|level| level.price);
            side
        };
        BookLevels {
            bids: side(bids, bids_first),
            asks: side(asks, asks_first),
        }
    }

    #[test]
    fn only_what_differs_changes_and_a_level_that_is_gone_has_no_quantity() {
        let before = book(&[(9, 1), (8, 1), (7, 1)], &[(10, 1)]);
        let now = book(&[(9, 1), (8, 5), (6, 1)], &[(10, 1), (11, 2)]);
        let changes = now.changes_since(&before, None);
        let of = |price: u32, quantity: u32| LevelChange::from(level(price, quantity));
        let gone = LevelChange {
            quantity: None,
            ..of(7, 1)
        };
        assert_eq!(changes.bids, [of(8, 5), gone, of(6, 1)]);
        assert_eq!(changes.asks, [of(11, 2)]);
        assert!(now.changes_since(&now, Some(5)).is_empty());
    }

    #[test]
    fn a_level_that_comes_back_into_a_cut_book_is_a_change_of_it() {
        let before = book(&[(9, 1), (8, 1), (7, 1)], &[]);
        let now = book(&[(8, 1), (7, 1)], &[]);
        let changes = now.changes_since(&before, Some(2));
        assert_eq!(changes.len(), 2, "one is gone, and one was not in sight");
        // One that has more levels ends with the same.
        for mut client in [before.cut(Some(2)), before] {
            client.apply(&changes);
            assert_eq!(client, now);
        }
    }

    #[test]
    fn the_checksum_is_that_of_the_text_of_the_best_ten_levels() {
        let levels: Vec<(u32, u32)> = (1..=12).map(|price| (price, 2)).collect();
        let text: String = (3..=12).rev().map(|price| format!("{price}:2,")).collect();
        let text = format!("{text}13:5,");
        assert_eq!(
            book(&levels, &[(13, 5)]).checksum(),
            crc32fast::hash(text.as_bytes())
        );
        assert_eq!(BookLevels::default().checksum(), 0);
    }

    proptest! {
        /// A client that takes any of the states, to any depth, and skips the others, has the
        /// publisher's best levels; also if it first had more levels than it follows.
        #[test]
        fn changes_between_any_two_books_lead_from_one_to_the_other(
            books in proptest::collection::vec(
                (
                    proptest::collection::vec((1u32..40, 1u32..4), 0..30),
                    proptest::collection::vec((1u32..40, 1u32..4), 0..30),
                    any::<bool>(),
                ),
                1..12,
            ),
            depth in prop_oneof![Just(None), (0usize..12).prop_map(Some)],
        ) {
            let books: Vec<(BookLevels, bool)> = books
                .iter()
                .map(|(bids, asks, is_taken)| (book(bids, asks), *is_taken))
                .collect();
            let mut had = &books[0].0;
            let mut client = had.clone();
            for (now, _) in books.iter().filter(|(_, is_taken)| *is_taken) {
                let mut changes = now.changes_since(had, depth);
                changes.bids.reverse();
                client.apply(&changes);
                prop_assert_eq!(&client, &now.cut(depth));
                prop_assert_eq!(client.checksum(), now.cut(depth).checksum());
                had = now;
            }
        }
    }
}
