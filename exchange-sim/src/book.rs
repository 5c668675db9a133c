//! A plausible order book around the last trade: a pure function of the price, so that snapshots
//! and changes agree without a stored book.

use crate::instrument::Instrument;
use crate::market::mix;
use crate::trade::Trade;

/// Levels of each side that changes keep up to date.
pub(crate) const LEVELS: i64 = 100;

/// One price of a book; a quantity of zero removes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Level {
    /// Price mantissa.
    pub(crate) price: i64,
    /// Quantity mantissa.
    pub(crate) quantity: i64,
}

/// The best prices of a book; the whole book follows from them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Book {
    /// Best bid, price mantissa.
    pub(crate) bid: i64,
    /// Best ask, price mantissa.
    pub(crate) ask: i64,
    /// Rises with every change.
    pub(crate) update_id: u64,
    /// The trade that it follows from.
    pub(crate) trade_id: u64,
}

impl Book {
    /// The book after a trade.
    pub(crate) fn after(trade: &Trade, tick: i64, update_id: u64) -> Book {
        let bid = if trade.taker_buys {
            trade.price.saturating_sub(tick)
        } else {
            trade.price
        };
        let bid = bid.max(tick);
        Book {
            bid,
            ask: bid.saturating_add(tick),
            update_id,
            trade_id: trade.id,
        }
    }

    /// Bids, best first.
    pub(crate) fn bids(&self, instrument: &Instrument, levels: i64) -> Vec<Level> {
        (0..levels)
            .map(|depth| self.bid - depth * instrument.tick)
            .take_while(|price| *price > 0)
            .map(|price| self.level(instrument, price))
            .collect()
    }

    /// Asks, best first.
    pub(crate) fn asks(&self, instrument: &Instrument, levels: i64) -> Vec<Level> {
        (0..levels)
            .map_while(|depth| self.ask.checked_add(depth * instrument.tick))
            .map(|price| self.level(instrument, price))
            .collect()
    }

    /// The best bid and the best ask.
    pub(crate) fn top(&self, instrument: &Instrument) -> (Level, Level) {
        (
            self.level(instrument, self.bid),
            self.level(instrument, self.ask),
        )
    }

    /// The changes from the first [`LEVELS`] levels of `before` to those of this book: bids, asks.
    pub(crate) fn changes_since(
        &self,
        before: &Book,
        instrument: &Instrument,
    ) -> (Vec<Level>, Vec<Level>) {
        let side = |old: Vec<Level>, new: Vec<Level>| {
            let mut changes: Vec<Level> = new
                .iter()
                .filter(|level| !old.contains(level))
                .copied()
                .collect();
            changes.extend(
                old.iter()
                    .filter(|level| !new.iter().any(|kept| kept.price == level.price))
                    .map(|level| Level {
                        price: level.price,
                        quantity: 0,
                    }),
            );
            changes
        };
        (
            side(
                before.bids(instrument, LEVELS),
                self.bids(instrument, LEVELS),
            ),
            side(
                before.asks(instrument, LEVELS),
                self.asks(instrument, LEVELS),
            ),
        )
    }

    fn level(&self, instrument: &Instrument, price: i64) -> Level {
        // The best levels change with each update; the levels behind them stay.
        let is_best = price == self.bid || price == self.ask;
        let salt = if is_best { self.update_id } else { 0 };
        let size = 1 + mix(price as u64 ^ salt.rotate_left(40)) % 5_000;
        let lots = (size * instrument.typical_lots / 500).max(1);
        Level {
            price,
            quantity: lots as i64 * instrument.lot.max(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instrument::listing;
    use std::collections::BTreeMap;

    #[test]
    fn changes_applied_to_a_snapshot_give_the_next_snapshot() {
        let instrument = &listing(0)[0];
        let book = |price: i64, update_id| Book {
            bid: price * instrument.tick,
            ask: (price + 1) * instrument.tick,
            update_id,
            trade_id: update_id,
        };
        let steps = [
            book(1000, 1),
            book(1000, 2),
            book(1007, 3),
            book(950, 4),
            book(40, 5),
            book(100_000, 6),
        ];
        for pair in steps.windows(2) {
            let (bids, asks) = pair[1].changes_since(&pair[0], instrument);
            for (before, changes, after) in [
                (
                    pair[0].bids(instrument, LEVELS),
                    bids,
                    pair[1].bids(instrument, LEVELS),
                ),
                (
                    pair[0].asks(instrument, LEVELS),
                    asks,
                    pair[1].asks(instrument, LEVELS),
                ),
            ] {
                let mut applied: BTreeMap<i64, i64> = before
                    .iter()
                    .map(|level| (level.price, level.quantity))
                    .collect();
                for change in changes {
                    applied.insert(change.price, change.quantity);
                }
                applied.retain(|_, quantity| *quantity > 0);
                let expected: BTreeMap<i64, i64> = after
                    .iter()
                    .map(|level| (level.price, level.quantity))
                    .collect();
                assert_eq!(applied, expected);
            }
        }
    }
}
