//! Other timeframes, while bars are open.
//!
//! Each trade is in the open bars of exactly one level of a chain. A source holds the trades that it
//! has not closed, and the level above holds those that the source has closed. So a removed level
//! gives its open bars to every level that it fed, and these take its source as theirs. A level that
//! is inserted starts empty: the trades that its source has closed are already in the levels above.

use super::Aggregator;
use crate::series::level::{LastTrade, Level};
use crate::series::pipeline::EVENT_MAX_MS;
use crate::value::clock::UnixMillis;
use crate::value::price::Price;
use crate::value::timeframe::{Timeframe, TimeframeSet};

/// The time from which an added level has all trades, and the last trade before.
struct Joined {
    at_ms: UnixMillis,
    last_close: Option<Price>,
    before: Option<LastTrade>,
}

impl Aggregator {
    /// Continues in `timeframes`. Levels that stay keep all their bars. An added level begins with
    /// the present bar, which lacks the trades that its source has closed already.
    pub(crate) fn change_timeframes(&mut self, timeframes: &TimeframeSet) {
        // Additions come first, so that they can continue from levels that are removed.
        for &timeframe in timeframes.as_slice() {
            if self.timeframes().all(|known| known != timeframe) {
                self.insert(timeframe);
            }
        }
        for index in (0..self.levels.len()).rev() {
            let timeframe = self.levels[index].timeframe;
            if !timeframes.as_slice().contains(&timeframe) {
                self.remove(index);
            }
        }
    }

    /// Whether every level was there from the start and has the source of a new aggregator.
    pub(crate) fn is_as_new(&self) -> bool {
        self.levels.iter().enumerate().all(|(index, level)| {
            level.joined_ms.is_none() && level.source == self.source_for(index, level.timeframe)
        })
    }

    /// The widest of the first `index` levels whose bars make up a bar of `timeframe`.
    fn source_for(&self, index: usize, timeframe: Timeframe) -> Option<usize> {
        let is_part = |&lower: &usize| timeframe.is_made_of(self.levels[lower].timeframe);
        (0..index).rev().find(is_part)
    }

    fn insert(&mut self, timeframe: Timeframe) {
        let index = self
            .levels
            .partition_point(|level| level.timeframe < timeframe);
        let source = self.source_for(index, timeframe);
        let mut added = Level::new(timeframe, source);
        let joined = match source.map(|source| &self.levels[source]) {
            Some(source) => {
                added.joined_ms = source.joined_ms;
                source.closed_until_ms.map(|at_ms| Joined {
                    at_ms,
                    last_close: source.last_close,
                    before: source.last_trade(),
                })
            }
            None => self.newest(),
        };
        if let Some(joined) = joined {
            added.joined_ms = added.joined_ms.max(Some(joined.at_ms));
            added.closed_until_ms = Some(timeframe.start_of(joined.at_ms));
            added.began_ms = added.closed_until_ms;
            added.last_close = joined.last_close;
            added.before = joined.before;
        }
        for level in &mut self.levels[index..] {
            if level.source == source && level.timeframe.is_made_of(timeframe) {
                level.source = Some(index);
            } else if let Some(lower) = &mut level.source
                && *lower >= index
            {
                *lower += 1;
            }
        }
        self.levels.insert(index, added);
    }

    /// A time after every counted trade and every closed bar.
    fn newest(&self) -> Option<Joined> {
        let levels = || self.levels.iter();
        let open = levels().flat_map(|level| &level.open);
        let open = open.map(|bar| LastTrade {
            key: bar.fold.close_key,
            price: bar.fold.close,
        });
        let closed = levels().filter_map(Level::last_trade);
        let before = open.chain(closed).max_by_key(|trade| trade.key);
        let known_ms = levels().flat_map(|level| [level.closed_until_ms, level.joined_ms]);
        let newest_ms = before.map(|trade| (trade.key.0 + 1).min(EVENT_MAX_MS));
        Some(Joined {
            at_ms: known_ms.flatten().chain(newest_ms).max()?,
            last_close: before.map(|trade| trade.price),
            before,
        })
    }

    fn remove(&mut self, index: usize) {
        let removed = self.levels.remove(index);
        for level in &mut self.levels[index..] {
            match &mut level.source {
                Some(source) if *source == index => {
                    level.source = removed.source;
                    for bar in &removed.open {
                        let start_ms = level.timeframe.start_of(bar.start_ms);
                        level.merge_open(start_ms, &bar.fold);
                    }
                }
                Some(source) if *source > index => *source -= 1,
                _ => {}
            }
        }
    }
}
