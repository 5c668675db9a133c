//! The trades of one symbol, within bounds: the REST endpoints of a venue answer from them.

use std::collections::{BTreeMap, VecDeque};

use crate::bar::Bar;
use crate::interval::Interval;
use crate::trade::Trade;

/// The bounds of a tape.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TapeBounds {
    /// Trades kept per symbol.
    pub(crate) trades_max: usize,
    /// Age in microseconds, relative to the newest trade, beyond which a trade is dropped.
    pub(crate) age_us_max: i64,
    /// One-minute bars kept per symbol.
    pub(crate) minutes_max: usize,
}

/// Trades of one symbol in id order, and their one-minute bars.
#[derive(Debug)]
pub(crate) struct Tape {
    bounds: TapeBounds,
    trades: VecDeque<Trade>,
    /// Trades from before the venue's ids started again: found by time, not by id.
    retired: VecDeque<Trade>,
    minutes: BTreeMap<i64, Bar>,
    /// Event times have never decreased, so a time can be found by binary search.
    in_time_order: bool,
    newest_us: Option<i64>,
    /// The time against which age is measured: a placed trade with any time does not move it.
    clock_us: Option<i64>,
    evicted: u64,
}

impl Tape {
    /// An empty tape.
    pub(crate) fn new(bounds: TapeBounds) -> Tape {
        Tape {
            bounds,
            trades: VecDeque::new(),
            retired: VecDeque::new(),
            minutes: BTreeMap::new(),
            in_time_order: true,
            newest_us: None,
            clock_us: None,
            evicted: 0,
        }
    }

    /// Adds a trade at its place by id. Returns false, and changes nothing, if the id exists.
    pub(crate) fn insert(&mut self, trade: Trade) -> bool {
        self.clock_us = self.clock_us.max(Some(trade.event_us));
        self.place(trade)
    }

    /// Begins the venue's ids again: from now on, existing trades are found by time only.
    pub(crate) fn restart_ids(&mut self) {
        self.retired.append(&mut self.trades);
    }

    /// Adds a trade like [`Tape::insert`], but its time, which may be any, makes no other trade too
    /// old.
    pub(crate) fn place(&mut self, trade: Trade) -> bool {
        let at_end = self.trades.back().is_none_or(|last| last.id < trade.id);
        if at_end {
            self.in_time_order &= self
                .trades
                .back()
                .or(self.retired.back())
                .is_none_or(|last| last.event_us <= trade.event_us);
            self.trades.push_back(trade);
        } else {
            match self.trades.binary_search_by_key(&trade.id, |kept| kept.id) {
                Ok(_) => return false,
                Err(at) => self.trades.insert(at, trade),
            }
            self.in_time_order = false;
        }
        self.newest_us = self.newest_us.max(Some(trade.event_us));
        let start_ms = Interval::MINUTE.start_of(trade.event_ms(), 0);
        let single = Bar::of(start_ms, &trade);
        self.minutes
            .entry(start_ms)
            .and_modify(|bar| bar.merge(&single))
            .or_insert(single);
        self.evict();
        true
    }

    fn evict(&mut self) {
        while let Some(oldest) = self.retired.front().or(self.trades.front()) {
            let too_old = self.clock_us.is_some_and(|clock_us| {
                clock_us.saturating_sub(oldest.event_us) > self.bounds.age_us_max
            });
            let kept = self.retired.len() + self.trades.len();
            if kept <= self.bounds.trades_max && !too_old {
                break;
            }
            if self.retired.pop_front().is_none() {
                self.trades.pop_front();
            }
            self.evicted += 1;
        }
        while self.minutes.len() > self.bounds.minutes_max {
            self.minutes.pop_first();
        }
    }

    /// The latest event time of any trade, milliseconds since the epoch.
    pub(crate) fn newest_ms(&self) -> Option<i64> {
        self.newest_us.map(|newest_us| newest_us.div_euclid(1000))
    }

    /// The newest trade by id.
    pub(crate) fn last(&self) -> Option<&Trade> {
        self.trades.back()
    }

    /// The oldest trade kept.
    pub(crate) fn first(&self) -> Option<&Trade> {
        self.trades.front()
    }

    /// Trades with an id of at least `from_id`, ascending.
    pub(crate) fn since_id(&self, from_id: u64) -> impl Iterator<Item = &Trade> {
        let at = self.trades.partition_point(|trade| trade.id < from_id);
        self.trades.range(at..)
    }

    /// Trades with an id in (`above`, `below`), newest first.
    pub(crate) fn newest_between(
        &self,
        above: Option<u64>,
        below: Option<u64>,
    ) -> impl Iterator<Item = &Trade> {
        let from = above.map_or(0, |id| self.trades.partition_point(|trade| trade.id <= id));
        let to = below.map_or(self.trades.len(), |id| {
            self.trades.partition_point(|trade| trade.id < id)
        });
        self.trades.range(from.min(to)..to).rev()
    }

    /// Trades from aggregate `from_aggregate_id` on, ascending.
    pub(crate) fn since_aggregate(&self, from_aggregate_id: u64) -> impl Iterator<Item = &Trade> {
        let at = self
            .trades
            .partition_point(|trade| trade.aggregate_id < from_aggregate_id);
        self.trades.range(at..)
    }

    /// Trades with event time in [`from_us`, `to_us`), ascending by id.
    pub(crate) fn between(&self, from_us: i64, to_us: i64) -> impl Iterator<Item = &Trade> {
        let range = |trades: &VecDeque<Trade>| {
            if !self.in_time_order {
                return 0..trades.len();
            }
            let from = trades.partition_point(|trade| trade.event_us < from_us);
            let to = trades.partition_point(|trade| trade.event_us < to_us);
            from.min(to)..to
        };
        self.retired
            .range(range(&self.retired))
            .chain(self.trades.range(range(&self.trades)))
            .filter(move |trade| (from_us..to_us).contains(&trade.event_us))
    }

    /// All trades, newest first.
    pub(crate) fn newest_first(&self) -> impl Iterator<Item = &Trade> {
        self.trades.iter().rev()
    }

    /// Start of the earliest bar of an interval whose trades the tape has completely, if there is
    /// one.
    pub(crate) fn earliest_bar_ms(&self, interval: Interval, offset_ms: i64) -> Option<i64> {
        let sub_minute = matches!(interval, Interval::Fixed(length_ms) if length_ms < 60_000);
        let first_ms = if sub_minute {
            let first_us = if self.in_time_order {
                self.retired.front().or(self.trades.front())?.event_us
            } else {
                let all = self.retired.iter().chain(&self.trades);
                all.map(|trade| trade.event_us).min()?
            };
            let start = interval.start_of(first_us.div_euclid(1000), offset_ms);
            // The oldest second may have lost trades to the bounds.
            return Some(if self.evicted > 0 {
                interval.next(start, offset_ms)
            } else {
                start
            });
        } else {
            *self.minutes.first_key_value()?.0
        };
        Some(interval.start_of(first_ms, offset_ms))
    }

    /// The bars with trades of [`from_ms`, `to_ms`), ascending; both must be bar starts.
    pub(crate) fn bars(
        &self,
        interval: Interval,
        offset_ms: i64,
        from_ms: i64,
        to_ms: i64,
    ) -> Vec<Bar> {
        let mut folded: BTreeMap<i64, Bar> = BTreeMap::new();
        let mut add = |start_ms: i64, part: Bar| {
            let part = Bar { start_ms, ..part };
            folded
                .entry(start_ms)
                .and_modify(|bar| bar.merge(&part))
                .or_insert(part);
        };
        if matches!(interval, Interval::Fixed(length_ms) if length_ms < 60_000) {
            let earliest = self.earliest_bar_ms(interval, offset_ms).unwrap_or(from_ms);
            for trade in self.between(
                from_ms.max(earliest).saturating_mul(1000),
                to_ms.saturating_mul(1000),
            ) {
                let start_ms = interval.start_of(trade.event_ms(), offset_ms);
                add(start_ms, Bar::of(start_ms, trade));
            }
        } else if from_ms < to_ms {
            for (minute_ms, bar) in self.minutes.range(from_ms..to_ms) {
                add(interval.start_of(*minute_ms, offset_ms), *bar);
            }
        }
        folded.into_values().collect()
    }

    /// The closing price before `at_ms`, or the first price if nothing is older.
    pub(crate) fn price_before(&self, at_ms: i64) -> Option<i64> {
        if let Some(trade) = self
            .trades
            .back()
            .filter(|trade| self.in_time_order && trade.event_ms() < at_ms)
        {
            return Some(trade.price);
        }
        let minute_ms = Interval::MINUTE.start_of(at_ms, 0);
        let within = self
            .between(minute_ms.saturating_mul(1000), at_ms.saturating_mul(1000))
            .max_by_key(|trade| (trade.event_us, trade.id))
            .map(|trade| trade.price);
        within
            .or_else(|| {
                self.minutes
                    .range(..minute_ms)
                    .next_back()
                    .map(|(_, bar)| bar.close)
            })
            .or_else(|| self.minutes.first_key_value().map(|(_, bar)| bar.open))
    }

    /// Like [`Tape::bars`], with flat bars where nothing was traded, from the earliest bar on.
    pub(crate) fn bars_filled(
        &self,
        interval: Interval,
        offset_ms: i64,
        from_ms: i64,
        to_ms: i64,
    ) -> Vec<Bar> {
        let Some(earliest) = self.earliest_bar_ms(interval, offset_ms) else {
            return Vec::new();
        };
        let from_ms = from_ms.max(earliest);
        let traded = self.bars(interval, offset_ms, from_ms, to_ms);
        let mut bars = Vec::new();
        let mut price = match traded.first() {
            Some(bar) if bar.start_ms == from_ms => bar.open,
            _ => self.price_before(from_ms).unwrap_or_default(),
        };
        let mut next = traded.into_iter().peekable();
        let mut start_ms = from_ms;
        while start_ms < to_ms {
            let bar = next
                .next_if(|bar| bar.start_ms == start_ms)
                .unwrap_or(Bar::flat(start_ms, price));
            price = bar.close;
            bars.push(bar);
            start_ms = interval.next(start_ms, offset_ms);
        }
        bars
    }

    /// One bar over everything traded since `from_ms`, by whole minutes.
    pub(crate) fn summary_since(&self, from_ms: i64) -> Option<Bar> {
        let mut parts = self
            .minutes
            .range(Interval::MINUTE.start_of(from_ms, 0)..)
            .map(|(_, bar)| *bar);
        let mut sum = parts.next()?;
        for part in parts {
            sum.merge(&part);
        }
        Some(sum)
    }
}

#[cfg(test)]
mod tests;
