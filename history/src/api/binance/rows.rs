//! Bars up to now: the stored ones, those of the bus that are not stored yet, and the forming one.

use bytes::Bytes;
use market_core::{BarRow, UnixMillis, Width};

use super::failure::Failure;
use super::listing::Market;
use crate::History;
use crate::message::read_bar;
use crate::range::{self, BarQuery, RangeError, StoredBars, WithNewest};
use crate::store::{BarSeries, Instrument, Order};

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

impl Market {
    /// Bars by ascending start; the last one may be forming.
    pub(super) async fn rows(
        &self,
        instrument: &Instrument,
        wanted: Wanted,
    ) -> Result<Vec<BarRow>, Failure> {
        let query = BarQuery {
            from_ms: wanted.from_ms,
            to_ms: wanted.to_ms,
            ..BarQuery::newest(instrument.clone(), wanted.width, wanted.limit)
        };
        self.history.reach_back(&query).await;
        let stored = self.stored(instrument);
        let instrument = instrument.clone();
        let call = move |history: &History| Ok(rows(history, &stored, instrument, wanted)?);
        self.read(call).await
    }
}

fn rows(
    history: &History,
    stored: &[StoredBars],
    instrument: Instrument,
    wanted: Wanted,
) -> Result<Vec<BarRow>, RangeError> {
    let Wanted {
        width,
        from_ms,
        to_ms,
        limit,
    } = wanted;
    let order = match from_ms {
        Some(_) => Order::Ascending,
        None => Order::Descending,
    };
    let mut query = BarQuery {
        from_ms,
        to_ms,
        order,
        ..BarQuery::newest(instrument, width, limit)
    };
    let source = range::source_of(&query, stored)?;
    let series = BarSeries {
        instrument: query.instrument.clone(),
        timeframe: source,
    };
    let newest = history.latest.of(&series);
    let row_of = |payload: &Bytes| Some(read_bar(payload).ok()?.1);
    let closed = newest.closed.iter().filter_map(row_of).collect();
    let stored_until = history.index.get(&series).map(|info| info.last_end_ms);
    let mut rows = range::joined(source, stored_until, closed);
    // Clients of Binance are told no states, so a forming bar is a row like all others.
    let forming = newest.closing.iter().chain(&newest.forming);
    rows.extend(forming.filter_map(row_of));
    let store = WithNewest::new(&*history.store, &series, rows);
    let mut bars = Vec::new();
    let mut pages = 0;
    let is_complete = loop {
        let page = range::bars(&store, stored, &query)?;
        bars.extend(page.bars);
        query.limit = limit.saturating_sub(bars.len());
        pages += 1;
        if page.next.is_none() || query.limit == 0 || pages == PAGES_MAX {
            break page.next.is_none();
        }
        query.cursor = page.next;
    };
    query.cursor = None;
    let is_at_end = order == Order::Descending || is_complete;
    if order == Order::Descending {
        bars.reverse();
    }
    if is_at_end && let Some(forming) = range::forming(&store, &query, source, &[])?.pop() {
        let is_wanted = from_ms.is_none_or(|from| from <= forming.start_ms)
            && to_ms.is_none_or(|to| forming.start_ms < to)
            && bars
                .last()
                .is_none_or(|last| last.start_ms < forming.start_ms);
        bars.extend(is_wanted.then_some(forming));
    }
    let beyond = bars.len().saturating_sub(limit);
    match order {
        Order::Ascending => bars.truncate(limit),
        Order::Descending => drop(bars.drain(..beyond)),
    }
    Ok(bars)
}
