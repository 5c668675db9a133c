//! What both stores hold when a copy begins.

use std::collections::BTreeMap;
use std::fmt;

use market_core::UnixMillis;

use crate::store::{BarSeries, Instrument, Order, Range, Store, StoreError};

/// What is copied and compared at once.
#[derive(Clone, Copy)]
pub(super) enum Part<'a> {
    Bars(&'a BarSeries),
    Trades(&'a Instrument),
}

impl fmt::Display for Part<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (instrument, rows): (_, &dyn fmt::Display) = match self {
            Part::Bars(series) => (&series.instrument, &series.timeframe),
            Part::Trades(instrument) => (*instrument, &"trades"),
        };
        write!(f, "{} {} {rows}", instrument.exchange, instrument.symbol)
    }
}

/// The series and instruments of a store. With each: the first instant after its newest row.
#[derive(Debug, Default)]
pub(super) struct Content {
    pub(super) bars: BTreeMap<BarSeries, UnixMillis>,
    pub(super) trades: BTreeMap<Instrument, UnixMillis>,
}

impl Content {
    /// Reads it.
    ///
    /// # Errors
    /// Those of the store; `Damaged` if a file of it would be left out.
    pub(super) fn of(store: &dyn Store) -> Result<Self, StoreError> {
        store.check_lists()?;
        let bars = store.series()?.into_iter();
        let mut content = Self {
            bars: bars.map(|info| (info.series, info.last_end_ms)).collect(),
            trades: BTreeMap::new(),
        };
        for instrument in store.traded()? {
            let newest = Range {
                order: Order::Descending,
                ..Range::new(UnixMillis::MIN, UnixMillis::MAX, 1)
            };
            let newest = store.trades(&instrument, &newest)?.rows.pop();
            let end_ms = newest.map_or(UnixMillis::MIN, |trade| trade.event_ms.saturating_add(1));
            content.trades.insert(instrument, end_ms);
        }
        Ok(content)
    }

    /// Takes the later end of each, and returns the parts that only the other has.
    pub(super) fn until_later_of<'a>(&mut self, other: &'a Self) -> Vec<Part<'a>> {
        let mut only_there = Vec::new();
        for (series, end_ms) in &other.bars {
            match self.bars.get_mut(series) {
                Some(own_ms) => *own_ms = (*own_ms).max(*end_ms),
                None => only_there.push(Part::Bars(series)),
            }
        }
        for (instrument, end_ms) in &other.trades {
            match self.trades.get_mut(instrument) {
                Some(own_ms) => *own_ms = (*own_ms).max(*end_ms),
                None => only_there.push(Part::Trades(instrument)),
            }
        }
        only_there
    }
}
