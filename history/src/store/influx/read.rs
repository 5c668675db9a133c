//! Pages of rows.

use std::collections::BTreeMap;

use market_core::{BarRow, Trade, UnixMillis};

use super::InfluxStore;
use super::answer::Statement;
use super::point::{BARS, PLACES, REVISIONS, TIME_END_MS, TRADES};
use super::question::{between, by_time, of_instrument, of_timeframe};
use crate::store::remote::Purpose;
use crate::store::revisions::{current_last, distinct};
use crate::store::row_text::{parse_bar, parse_trade};
use crate::store::{BarSeries, Cursor, Instrument, Order, Page, Range, StoreError};

/// Rows that are read at once.
const ROWS_AT_ONCE: usize = 10_000;

/// What is left of `[from_ms, to_ms)`, and in which order it is read.
#[derive(Clone, Copy, Debug)]
struct Rest {
    from_ms: UnixMillis,
    to_ms: UnixMillis,
    order: Order,
}

impl Rest {
    fn is_empty(self) -> bool {
        self.from_ms >= self.to_ms
    }

    /// Everything up to this instant, with it, has been read.
    fn advance(&mut self, read_ms: UnixMillis) {
        match self.order {
            Order::Ascending => self.from_ms = read_ms.saturating_add(1),
            Order::Descending => self.to_ms = read_ms,
        }
    }
}

fn of_series(series: &BarSeries) -> String {
    format!(
        "{} AND {}",
        of_instrument(&series.instrument),
        of_timeframe(series.timeframe)
    )
}

impl InfluxStore {
    /// At most `limit` points of one measurement with one set of tags.
    fn points<T>(
        &self,
        (measurement, tags): (&str, &str),
        rest: Rest,
        limit: usize,
        parse: impl Fn(UnixMillis, &str) -> Option<T>,
    ) -> Result<(Vec<T>, bool), StoreError> {
        let statement = format!(
            "SELECT \"row\" FROM \"{measurement}\" WHERE {tags} AND {} {} LIMIT {limit}",
            between(rest.from_ms, rest.to_ms),
            by_time(rest.order),
        );
        let answers = self.ask(&[statement], Purpose::Read)?;
        let points = answers.iter().flat_map(|answer| &answer.series);
        let mut rows = Vec::new();
        for (at_ns, text) in points.flat_map(|series| series.texts("row")) {
            let row = parse(at_ns.div_euclid(PLACES), text);
            rows.push(row.ok_or_else(|| self.foreign(at_ns))?);
        }
        let is_cut = answers.iter().any(Statement::is_cut);
        if is_cut && rows.is_empty() {
            return Err(self.refused("max-row-limit is too low: set it to 0"));
        }
        let is_full = is_cut || rows.len() >= limit;
        Ok((rows, is_full))
    }

    /// The revisions of bars that start in a span and are not the current ones.
    fn superseded(
        &self,
        series: &BarSeries,
        from_ms: UnixMillis,
        to_ms: UnixMillis,
    ) -> Result<BTreeMap<UnixMillis, Vec<BarRow>>, StoreError> {
        let tags = of_series(series);
        let mut rest = Rest {
            from_ms,
            to_ms,
            order: Order::Ascending,
        };
        let mut found: BTreeMap<UnixMillis, Vec<BarRow>> = BTreeMap::new();
        while !rest.is_empty() {
            let (rows, is_full) = self.points((REVISIONS, &tags), rest, ROWS_AT_ONCE, parse_bar)?;
            let last_ms = rows.last().map(|row| row.start_ms);
            for row in rows {
                found.entry(row.start_ms).or_default().push(row);
            }
            match last_ms.filter(|_| is_full) {
                // The revisions of the last bar may go on: that millisecond is read again.
                Some(last_ms) if last_ms > rest.from_ms => {
                    found.remove(&last_ms);
                    rest.from_ms = last_ms;
                }
                Some(_) => {
                    return Err(self.refused("a bar has too many revisions"));
                }
                None => break,
            }
        }
        Ok(found)
    }

    pub(super) fn read_bars(
        &self,
        series: &BarSeries,
        range: &Range,
    ) -> Result<Page<BarRow>, StoreError> {
        let mut rest = Rest {
            from_ms: range.from_ms.max(0),
            to_ms: range.to_ms.min(TIME_END_MS),
            order: range.order,
        };
        if let Some(cursor) = range.cursor {
            match range.order {
                Order::Ascending => {
                    rest.from_ms = rest.from_ms.max(cursor.at_ms.saturating_add(1));
                }
                Order::Descending => rest.to_ms = rest.to_ms.min(cursor.at_ms),
            }
        }
        let tags = of_series(series);
        let wanted = range.limit.saturating_add(1);
        let mut rows: Vec<BarRow> = Vec::new();
        while rows.len() < wanted && range.limit > 0 && !rest.is_empty() {
            let limit = wanted.saturating_sub(rows.len()).min(ROWS_AT_ONCE);
            let (found, is_full) = self.points((BARS, &tags), rest, limit, parse_bar)?;
            let Some(last) = found.last() else { break };
            let last_ms = last.start_ms;
            match range.as_of_ms {
                None => rows.extend(found),
                Some(as_of_ms) => rows.extend(self.as_of(series, &found, as_of_ms)?),
            }
            rest.advance(last_ms);
            if !is_full {
                break;
            }
        }
        Ok(Page::of(rows, range.limit, |row| Cursor {
            at_ms: row.start_ms,
            id: 0,
        }))
    }

    /// Bars as they were known at an instant, in the same order.
    fn as_of(
        &self,
        series: &BarSeries,
        current: &[BarRow],
        as_of_ms: UnixMillis,
    ) -> Result<Vec<BarRow>, StoreError> {
        let starts = current.iter().map(|row| row.start_ms);
        let (Some(first_ms), Some(last_ms)) = (starts.clone().min(), starts.max()) else {
            return Ok(Vec::new());
        };
        let mut superseded = self.superseded(series, first_ms, last_ms.saturating_add(1))?;
        let known = current.iter().filter_map(|row| {
            let mut revisions = superseded.remove(&row.start_ms).unwrap_or_default();
            revisions.push(*row);
            revisions = distinct(revisions);
            revisions.retain(|row| row.known_ms <= as_of_ms);
            BarRow::current(&revisions).map(|at| revisions[at])
        });
        Ok(known.collect())
    }

    pub(super) fn read_revisions(
        &self,
        series: &BarSeries,
        from_ms: UnixMillis,
        to_ms: UnixMillis,
    ) -> Result<Vec<BarRow>, StoreError> {
        let range = Range::new(from_ms, to_ms, usize::MAX);
        let current = self.read_bars(series, &range)?.rows;
        let mut superseded = self.superseded(series, from_ms, to_ms)?;
        let mut rows = Vec::with_capacity(current.len());
        for row in current {
            match superseded.remove(&row.start_ms) {
                None => rows.push(row),
                Some(mut revisions) => {
                    revisions.push(row);
                    revisions = distinct(revisions);
                    current_last(&mut revisions);
                    rows.append(&mut revisions);
                }
            }
        }
        Ok(rows)
    }

    pub(super) fn find_known_after(
        &self,
        series: &BarSeries,
        before_ms: UnixMillis,
        known_after_ms: UnixMillis,
    ) -> Result<Option<UnixMillis>, StoreError> {
        let (tags, span) = (of_series(series), between(0, before_ms));
        // InfluxQL reads no number below.
        let known_after_ms = known_after_ms.max(-UnixMillis::MAX);
        let statements = [BARS, REVISIONS].map(|measurement| {
            format!(
                "SELECT \"known_ms\" FROM \"{measurement}\" WHERE {tags} AND {span} AND \"known_ms\" > {known_after_ms} ORDER BY time DESC LIMIT 1"
            )
        });
        let answers = self.ask(&statements, Purpose::Read)?;
        let newest_ns = answers.iter().filter_map(Statement::first_time).max();
        Ok(newest_ns.map(|at_ns| at_ns.div_euclid(PLACES)))
    }

    pub(super) fn find_newest_start(
        &self,
        series: &BarSeries,
    ) -> Result<Option<UnixMillis>, StoreError> {
        let statement = format!(
            "SELECT last(\"rev\") FROM \"{BARS}\" WHERE {}",
            of_series(series)
        );
        let answers = self.ask(&[statement], Purpose::Read)?;
        let newest_ns = answers.iter().find_map(Statement::first_time);
        Ok(newest_ns.map(|at_ns| at_ns.div_euclid(PLACES)))
    }

    /// Points have the order of their ids' last digits, so a millisecond is read as a whole.
    pub(super) fn read_trades(
        &self,
        instrument: &Instrument,
        range: &Range,
    ) -> Result<Page<Trade>, StoreError> {
        let mut rest = Rest {
            from_ms: range.from_ms.max(0),
            to_ms: range.to_ms.min(TIME_END_MS),
            order: range.order,
        };
        if let Some(cursor) = range.cursor {
            // Its millisecond may have more.
            match range.order {
                Order::Ascending => rest.from_ms = rest.from_ms.max(cursor.at_ms),
                Order::Descending => {
                    rest.to_ms = rest.to_ms.min(cursor.at_ms.saturating_add(1));
                }
            }
        }
        let is_wanted = |trade: &Trade| match range.cursor {
            None => true,
            Some(cursor) => {
                let (at, behind) = ((trade.event_ms, trade.first_id), (cursor.at_ms, cursor.id));
                match range.order {
                    Order::Ascending => at > behind,
                    Order::Descending => at < behind,
                }
            }
        };
        let tags = of_instrument(instrument);
        let wanted = range.limit.saturating_add(1);
        let mut rows: Vec<Trade> = Vec::new();
        while rows.len() < wanted && range.limit > 0 && !rest.is_empty() {
            let limit = wanted.saturating_sub(rows.len()).clamp(2, ROWS_AT_ONCE);
            let (mut found, is_full) = self.points((TRADES, &tags), rest, limit, parse_trade)?;
            let Some(last_ms) = found.last().map(|trade| trade.event_ms) else {
                break;
            };
            if is_full {
                found.retain(|trade| trade.event_ms != last_ms);
                found.extend(self.trades_of(&tags, last_ms)?);
            }
            found.sort_by_key(|trade| (trade.event_ms, trade.first_id));
            found.dedup_by_key(|trade| (trade.event_ms, trade.first_id));
            if range.order == Order::Descending {
                found.reverse();
            }
            rows.extend(found.into_iter().filter(is_wanted));
            rest.advance(last_ms);
            if !is_full {
                break;
            }
        }
        Ok(Page::of(rows, range.limit, |trade| Cursor {
            at_ms: trade.event_ms,
            id: trade.first_id,
        }))
    }

    /// All trades of a millisecond.
    fn trades_of(&self, tags: &str, at_ms: UnixMillis) -> Result<Vec<Trade>, StoreError> {
        let mut trades = Vec::new();
        loop {
            // An offset, for a time within the millisecond is no instant of a row.
            let statement = format!(
                "SELECT \"row\" FROM \"{TRADES}\" WHERE {tags} AND {} ORDER BY time ASC LIMIT {ROWS_AT_ONCE} OFFSET {}",
                between(at_ms, at_ms.saturating_add(1)),
                trades.len(),
            );
            let answers = self.ask(&[statement], Purpose::Read)?;
            let before = trades.len();
            let points = answers.iter().flat_map(|answer| &answer.series);
            for (at_ns, text) in points.flat_map(|series| series.texts("row")) {
                let trade = parse_trade(at_ns.div_euclid(PLACES), text);
                trades.push(trade.ok_or_else(|| self.foreign(at_ns))?);
            }
            let is_cut = answers.iter().any(Statement::is_cut);
            let found = trades.len() - before;
            if found == 0 || (found < ROWS_AT_ONCE && !is_cut) {
                return Ok(trades);
            }
        }
    }
}
