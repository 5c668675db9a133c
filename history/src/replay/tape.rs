//! All stored rows in the order in which they happened.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;

use market_core::{BarRow, Trade, UnixMillis};

use super::args::ReplayArgs;
use super::error::ReplayError;
use crate::store::{BarSeries, Cursor, Instrument, Range, Store, StoreError};

/// Rows of all series together that are in memory.
const ROWS_MAX: usize = 200_000;
/// Rows of a page of one series.
const PAGE_ROWS: std::ops::RangeInclusive<usize> = 16..=1_000;
/// The first instant of the year 10000.
const TIME_MAX_MS: UnixMillis = 253_402_300_800_000;

/// Something that happened.
#[derive(Clone, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "most are bars, and their number in memory is bounded"
)]
pub(super) enum Event {
    /// A bar closed.
    Bar { series: Arc<BarSeries>, row: BarRow },
    /// A trade happened.
    Trade {
        instrument: Arc<Instrument>,
        trade: Trade,
    },
}

impl Event {
    pub(super) fn at_ms(&self) -> UnixMillis {
        match self {
            Self::Bar { series, row } => series.timeframe.end_of(row.start_ms),
            Self::Trade { trade, .. } => trade.event_ms,
        }
    }
}

/// The rows of one series that are read next.
struct Lane {
    source: Source,
    rows: VecDeque<Event>,
    next: Option<Cursor>,
    is_done: bool,
}

/// Where rows come from.
pub(super) enum Source {
    Bars(Arc<BarSeries>),
    Trades(Arc<Instrument>),
}

impl Source {
    /// The stored bars that the flags choose.
    pub(super) fn bars(args: &ReplayArgs, store: &dyn Store) -> Result<Vec<Self>, StoreError> {
        let mut series: Vec<BarSeries> = store
            .series()?
            .into_iter()
            .map(|info| info.series)
            .filter(|series| {
                args.chooses(&series.instrument)
                    && (args.timeframes.is_empty() || args.timeframes.contains(&series.timeframe))
            })
            .collect();
        series.sort_by(|a, b| (a.timeframe, &a.instrument).cmp(&(b.timeframe, &b.instrument)));
        let sources = series.into_iter().map(|series| Self::Bars(series.into()));
        Ok(sources.collect())
    }

    /// The stored trades that the flags choose.
    pub(super) fn trades(args: &ReplayArgs, store: &dyn Store) -> Result<Vec<Self>, StoreError> {
        let traded = store.traded()?.into_iter();
        let chosen = traded.filter(|instrument| args.chooses(instrument));
        Ok(chosen
            .map(|instrument| Self::Trades(instrument.into()))
            .collect())
    }
}

/// Reads the rows of a store, merged by time. Of one instant, trades come before bars, bars of narrow
/// timeframes before wide ones, and series in the order of their names.
pub(super) struct Tape<'a> {
    store: &'a dyn Store,
    from: UnixMillis,
    to: UnixMillis,
    page_rows: usize,
    lanes: Vec<Lane>,
    /// The time of the first row of each lane, and the lane.
    heads: BinaryHeap<Reverse<(UnixMillis, usize)>>,
}

impl<'a> Tape<'a> {
    /// The rows of these sources, in the span of the flags.
    pub(super) fn new(
        args: &ReplayArgs,
        store: &'a dyn Store,
        sources: Vec<Source>,
    ) -> Result<Self, ReplayError> {
        if sources.len() > args.series_max {
            return Err(ReplayError::Series {
                found: sources.len(),
                allowed: args.series_max,
            });
        }
        let each = ROWS_MAX / sources.len().max(1);
        let mut tape = Self {
            store,
            from: args.from.unwrap_or(0),
            to: args.to.unwrap_or(TIME_MAX_MS),
            page_rows: each.clamp(*PAGE_ROWS.start(), *PAGE_ROWS.end()),
            lanes: Vec::new(),
            heads: BinaryHeap::new(),
        };
        for source in sources {
            tape.lanes.push(Lane {
                source,
                rows: VecDeque::new(),
                next: None,
                is_done: false,
            });
            tape.advance(tape.lanes.len() - 1)?;
        }
        Ok(tape)
    }

    pub(super) fn next(&mut self) -> Result<Option<Event>, StoreError> {
        let Some(Reverse((_, index))) = self.heads.pop() else {
            return Ok(None);
        };
        let event = self.lanes[index].rows.pop_front();
        self.advance(index)?;
        Ok(event)
    }

    /// Puts a lane in its place, after reading what follows if it is empty.
    fn advance(&mut self, index: usize) -> Result<(), StoreError> {
        let lane = &mut self.lanes[index];
        while lane.rows.is_empty() && !lane.is_done {
            let mut range = Range::new(self.from, self.to, self.page_rows);
            range.cursor = lane.next;
            lane.next = match &lane.source {
                Source::Bars(series) => {
                    let page = self.store.bars(series, &range)?;
                    let bars = page.rows.into_iter().map(|row| Event::Bar {
                        series: Arc::clone(series),
                        row,
                    });
                    // A bar is known at its end.
                    lane.rows.extend(bars.filter(|bar| bar.at_ms() <= self.to));
                    page.next
                }
                Source::Trades(instrument) => {
                    let page = self.store.trades(instrument, &range)?;
                    lane.rows
                        .extend(page.rows.into_iter().map(|trade| Event::Trade {
                            instrument: Arc::clone(instrument),
                            trade,
                        }));
                    page.next
                }
            };
            lane.is_done = lane.next.is_none();
        }
        if let Some(event) = lane.rows.front() {
            self.heads.push(Reverse((event.at_ms(), index)));
        }
        Ok(())
    }
}
