//! One side of a book.

use std::cmp::Ordering;

use super::update::LevelChange;
use crate::quote::PriceLevel;
use crate::value::price::Price;

/// How often changes may move a side's levels, one change after the other. Beyond it, the remaining
/// changes are merged in one pass: the cost of a frame must not grow with the square of its length.
const MOVES_MAX: usize = 16;

/// The levels of one side by price, the best last: nearly all changes are near the best price, so
/// they move few levels.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ladder {
    levels: Vec<PriceLevel>,
    /// The highest price is the best.
    is_bids: bool,
    /// The last known price: the venue has more levels behind it, but did not send them.
    known_to: Option<Price>,
}

impl Ladder {
    /// No bids: the highest price is the best.
    #[must_use]
    pub fn bids() -> Self {
        Self {
            levels: Vec::new(),
            is_bids: true,
            known_to: None,
        }
    }

    /// No asks: the lowest price is the best.
    #[must_use]
    pub fn asks() -> Self {
        Self {
            levels: Vec::new(),
            is_bids: false,
            known_to: None,
        }
    }

    fn order(&self, left: Price, right: Price) -> Ordering {
        match self.is_bids {
            true => left.cmp(&right),
            false => right.cmp(&left),
        }
    }

    /// Whether a price is behind the last known one.
    fn is_unknown(&self, price: Price) -> bool {
        self.known_to
            .is_some_and(|known_to| self.order(price, known_to).is_lt())
    }

    /// Changes one level, and says how many others it moved. A level behind the last known price is
    /// left out: others around it are missing.
    pub fn set(&mut self, change: LevelChange) -> usize {
        if self.is_unknown(change.price) {
            return 0;
        }
        let found = self
            .levels
            .binary_search_by(|level| self.order(level.price, change.price));
        match (found, change.level()) {
            (Ok(at), Some(level)) => {
                self.levels[at] = level;
                0
            }
            (Ok(at), None) => {
                self.levels.remove(at);
                self.levels.len() - at
            }
            (Err(at), Some(level)) => {
                self.levels.insert(at, level);
                self.levels.len() - at
            }
            // A venue also removes levels that it never sent: those behind its snapshot.
            (Err(_), None) => 0,
        }
    }

    /// Changes levels, one after the other, and says how many other levels it moved for that.
    pub fn apply(&mut self, changes: &[LevelChange]) -> usize {
        let moved_max = (self.levels.len() + changes.len()).saturating_mul(MOVES_MAX);
        let mut moved = 0;
        for (done, &change) in changes.iter().enumerate() {
            moved += self.set(change);
            if moved > moved_max {
                self.merge(&changes[done + 1..]);
                break;
            }
        }
        moved
    }

    /// Changes levels in one pass.
    fn merge(&mut self, changes: &[LevelChange]) {
        let levels = std::mem::take(&mut self.levels);
        let mut all: Vec<LevelChange> = levels.into_iter().map(LevelChange::from).collect();
        all.extend(changes);
        self.levels = self.merged(all);
    }

    /// Becomes these levels. A venue that cuts a side after `cut_after` levels may have more of them.
    pub fn replace(&mut self, levels: &[LevelChange], cut_after: Option<usize>) {
        self.known_to = None;
        self.levels = self.merged(levels.to_vec());
        if cut_after.is_some_and(|cut_after| levels.len() >= cut_after) {
            self.known_to = self.levels.first().map(|level| level.price);
        }
    }

    /// Whether the side has fewer levels than `wanted`, although the venue has more.
    #[must_use]
    pub fn lacks(&self, wanted: usize) -> bool {
        self.known_to.is_some() && self.levels.len() < wanted
    }

    /// What changes make of nothing. The last one of a price counts.
    fn merged(&self, mut changes: Vec<LevelChange>) -> Vec<PriceLevel> {
        // The sort keeps the order of equal prices.
        changes.sort_by(|left, right| self.order(left.price, right.price));
        changes.reverse();
        changes.dedup_by_key(|change| change.price);
        changes.reverse();
        changes.retain(|change| !self.is_unknown(change.price));
        changes.into_iter().filter_map(LevelChange::level).collect()
    }

    /// Forgets all levels.
    pub fn clear(&mut self) {
        self.known_to = None;
        self.levels.clear();
    }

    /// The best level.
    #[must_use]
    pub fn best(&self) -> Option<PriceLevel> {
        self.levels.last().copied()
    }

    /// The levels, the best first.
    pub fn best_first(&self) -> impl Iterator<Item = PriceLevel> + '_ {
        self.levels.iter().rev().copied()
    }

    /// The number of levels.
    #[must_use]
    pub fn len(&self) -> usize {
        self.levels.len()
    }

    /// Whether there is no level.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.levels.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(price: &str, quantity: &str) -> LevelChange {
        LevelChange::parse(price, quantity).expect("a level")
    }

    fn prices(ladder: &Ladder) -> Vec<String> {
        let level = |level: PriceLevel| format!("{}x{}", level.price, level.quantity);
        ladder.best_first().map(level).collect()
    }

    #[test]
    fn bids_begin_with_the_highest_price_and_asks_with_the_lowest() {
        let (mut bids, mut asks) = (Ladder::bids(), Ladder::asks());
        for (price, quantity) in [("10", "1"), ("9.5", "2"), ("10.5", "3"), ("10.0", "4")] {
            bids.set(change(price, quantity));
            asks.set(change(price, quantity));
        }
        assert_eq!(prices(&bids), ["10.5x3", "10x4", "9.5x2"]);
        assert_eq!(prices(&asks), ["9.5x2", "10x4", "10.5x3"]);
        bids.set(change("10.50", "0"));
        bids.set(change("77", "0.000"));
        assert_eq!(prices(&bids), ["10x4", "9.5x2"]);
        assert_eq!(
            bids.best().map(|level| level.price),
            Some(change("10", "1").price)
        );
    }

    #[test]
    fn of_two_levels_of_a_snapshot_with_one_price_the_last_one_counts() {
        for mut ladder in [Ladder::bids(), Ladder::asks()] {
            ladder.set(change("1", "1"));
            let levels = [("5", "1"), ("6", "1"), ("5.0", "2"), ("7", "0")];
            ladder.replace(
                &levels.map(|(price, quantity)| change(price, quantity)),
                None,
            );
            let mut levels = prices(&ladder);
            levels.sort();
            assert_eq!(levels, ["5x2", "6x1"]);
        }
    }

    #[test]
    fn many_changes_at_once_are_as_the_same_changes_one_by_one() {
        let price = |index: usize| (1 + index * 7 % 1_009).to_string();
        let quantity = |index: usize| (index * 3 % 5).to_string();
        let changes: Vec<LevelChange> = (0..1_536)
            .map(|index| change(&price(index), &quantity(index)))
            .collect();
        for (mut at_once, mut singly) in [
            (Ladder::bids(), Ladder::bids()),
            (Ladder::asks(), Ladder::asks()),
        ] {
            for part in [&changes[..100], &changes[..], &changes[700..]] {
                at_once.apply(part);
                for &change in part {
                    singly.set(change);
                }
                assert_eq!(at_once, singly);
            }
            assert!(!singly.is_empty());
        }
    }

    #[test]
    fn changes_far_from_the_best_price_do_not_move_a_deep_side_once_for_each_of_them() {
        let levels = |prices: std::ops::Range<u32>| -> Vec<LevelChange> {
            let level = |price: u32| change(&price.to_string(), "1");
            prices.map(level).collect()
        };
        let mut bids = Ladder::bids();
        bids.replace(&levels(10_001..20_001), None);
        let moved = bids.apply(&levels(1..501));
        assert_eq!(bids.len(), 10_500);
        assert!(
            moved < 20 * 10_500,
            "{moved}: each of them moved all levels"
        );
        // Nearly all changes of a real book are near its best price.
        assert!(bids.apply(&levels(20_000..20_400)) < 400 * 400);
        assert_eq!(
            bids.best().map(|level| level.price),
            change("20399", "1").level().map(|level| level.price)
        );
    }

    #[test]
    fn a_level_behind_a_snapshot_that_was_cut_is_left_out() {
        let levels = [("10", "1"), ("9", "1")].map(|(price, quantity)| change(price, quantity));
        let mut bids = Ladder::bids();
        bids.replace(&levels, Some(3));
        assert!(!bids.lacks(3), "the venue has no more");
        bids.replace(&levels, Some(2));
        assert!(bids.lacks(3) && !bids.lacks(2));
        bids.set(change("8", "1"));
        bids.set(change("9.5", "1"));
        assert_eq!(prices(&bids), ["10x1", "9.5x1", "9x1"]);
        bids.set(change("9", "0"));
        bids.set(change("10", "0"));
        assert_eq!(
            (prices(&bids), bids.lacks(2)),
            (vec!["9.5x1".to_owned()], true)
        );
    }

    #[test]
    fn a_level_without_a_price_is_refused() {
        for (price, quantity) in [("0", "1"), ("", "1"), ("1", "-1"), ("1", ""), ("x", "0")] {
            assert!(
                LevelChange::parse(price, quantity).is_err(),
                "{price} {quantity}"
            );
        }
    }
}
