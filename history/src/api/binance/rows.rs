//! Bars up to now, as rows: clients of Binance are told no states, so a bar that is not closed is a
//! row like all others.

use market_core::{BarRow, UnixMillis, Width};

use super::failure::{self, Failure};
use super::listing::Market;
use crate::History;
use crate::answer::FILL_TIME;
use crate::range::{BarQuery, RangeError};
use crate::store::{Instrument, Order};

/// Pages that are read for one answer: a page can be shorter than its limit.
const PAGES_MAX: usize = 8;

/// Which bars of an instrument.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Wanted {
    /// How wide.
    pub width: Width,
    /// The first start; `None` for the newest bars up to `to_ms`.
    pub from_ms: Option<UnixMillis>,
    /// The first start after the range.
    pub to_ms: Option<UnixMillis>,
    /// Most bars.
    pub limit: usize,
}

impl Wanted {
    fn query(self, instrument: Instrument) -> BarQuery {
        let order = match self.from_ms {
            Some(_) => Order::Ascending,
            None => Order::Descending,
        };
        BarQuery {
            from_ms: self.from_ms,
            to_ms: self.to_ms,
            order,
            ..BarQuery::newest(instrument, self.width, self.limit)
        }
    }
}

impl Market {
    /// Bars by ascending start; the last one may be forming.
    pub(super) async fn rows(
        &self,
        instrument: &Instrument,
        wanted: Wanted,
    ) -> Result<Vec<BarRow>, Failure> {
        self.access
            .check_bars(instrument, wanted.width)
            .map_err(|error| failure::forbidden(&error))?;
        let query = wanted.query(instrument.clone());
        self.history.reach_back(&query, FILL_TIME).await;
        self.stored_rows(instrument, wanted).await
    }

    /// The same of what is here: no venue is asked for older bars, which takes its time.
    pub(super) async fn stored_rows(
        &self,
        instrument: &Instrument,
        wanted: Wanted,
    ) -> Result<Vec<BarRow>, Failure> {
        self.access
            .check_bars(instrument, wanted.width)
            .map_err(|error| failure::forbidden(&error))?;
        let query = wanted.query(instrument.clone());
        let call = move |history: &History| Ok(rows(history, query)?);
        self.read(call).await
    }
}

/// Reads pages until the rows are complete.
pub(super) fn rows(history: &History, mut query: BarQuery) -> Result<Vec<BarRow>, RangeError> {
    let (limit, order) = (query.limit, query.order);
    let (mut bars, mut forming) = (Vec::new(), Vec::new());
    for _ in 0..PAGES_MAX {
        let answer = history.bars(&query, true)?;
        bars.extend(answer.page.bars);
        forming.extend(answer.forming);
        query.limit = limit.saturating_sub(bars.len());
        query.cursor = answer.page.next;
        if query.cursor.is_none() || query.limit == 0 {
            break;
        }
    }
    if order == Order::Descending {
        bars.reverse();
    }
    bars.extend(forming);
    let beyond = bars.len().saturating_sub(limit);
    match order {
        Order::Ascending => bars.truncate(limit),
        Order::Descending => drop(bars.drain(..beyond)),
    }
    Ok(bars)
}
