//! Appending: what is stored is read, and what is new is written.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::Ordering;

use bytes::Bytes;
use market_core::{BarRow, Timeframe, Trade, UnixMillis};
use service::wall_clock_ms;
use tracing::{error, warn};

use super::InfluxStore;
use super::merge::Stored;
use super::point::{self, BARS, PLACES, REVISIONS};
use super::policy;
use super::question::{between, name, of_any, of_timeframe};
use crate::store::remote::Purpose;
use crate::store::row_text::parse_bar;
use crate::store::{BarSeries, Instrument, StoreError};

/// The most points of a request.
const POINTS_MAX: usize = 5_000;
/// The most bytes of a request: far below the server's own bound of 25 MB.
const BYTES_MAX: usize = 4 << 20;
/// The most instruments of a statement.
const INSTRUMENTS_MAX: usize = 50;
/// The most bars that the statements of one request can find.
const BARS_ASKED_MAX: i64 = 40_000;
/// The most bars of one series in a statement.
const SPAN_BARS_MAX: i64 = 1_000;
/// Bars that nobody asked for between two of one statement.
const GAP_BARS_MAX: i64 = 50;

/// Rows of an append by start and series.
type ByStart<'a> = BTreeMap<UnixMillis, BTreeMap<&'a Instrument, Vec<BarRow>>>;
/// Whose bar, and its start.
type BarKey<'a> = (&'a Instrument, UnixMillis);

/// Starts of bars that one statement asks for.
#[derive(Debug, PartialEq, Eq)]
struct Span {
    first_ms: UnixMillis,
    last_ms: UnixMillis,
}

/// Sorted starts in spans without long gaps.
fn spans(timeframe: Timeframe, starts: impl Iterator<Item = UnixMillis>) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    for start in starts {
        let width_ms = timeframe.end_of(start).saturating_sub(start).max(1);
        if let Some(span) = spans.last_mut()
            && start.saturating_sub(span.last_ms) <= width_ms.saturating_mul(GAP_BARS_MAX)
            && start.saturating_sub(span.first_ms) < width_ms.saturating_mul(SPAN_BARS_MAX)
        {
            span.last_ms = start;
        } else {
            spans.push(Span {
                first_ms: start,
                last_ms: start,
            });
        }
    }
    spans
}

/// How many points a server says that it dropped.
fn dropped(reason: &str) -> Option<u64> {
    let (_, count) = reason.rsplit_once("dropped=")?;
    let digits = count.bytes().take_while(u8::is_ascii_digit).count();
    count[..digits].parse().ok()
}

impl InfluxStore {
    /// Writes lines, in requests of a bounded size. Returns how many were too old for the server.
    pub(super) fn write(&self, lines: &[String]) -> Result<u64, StoreError> {
        let (mut rest, mut expired) = (lines, 0_u64);
        while !rest.is_empty() {
            let mut bytes = 0;
            let fits = rest.iter().take(POINTS_MAX).take_while(|line| {
                bytes += line.len();
                bytes <= BYTES_MAX
            });
            let count = fits.count().max(1);
            expired = expired.saturating_add(self.write_request(&rest[..count])?);
            self.has_rows.store(true, Ordering::Relaxed);
            rest = &rest[count..];
        }
        Ok(expired)
    }

    fn write_request(&self, lines: &[String]) -> Result<u64, StoreError> {
        let body = Bytes::from(lines.concat());
        let mut answer = self.send_lines(body.clone())?;
        if answer.status == 404 && answer.reason().contains("database not found") {
            self.create_database()?;
            answer = self.send_lines(body)?;
        }
        let reason = answer.reason();
        let is_too_large = answer.status == 413;
        match answer.status {
            204 => Ok(0),
            // A proxy or another program may have taken the rows and thrown them away.
            200..300 => Err(self.client.away(format!(
                "it answered a write with status {} and not with 204",
                answer.status
            ))),
            400 if reason.contains("points beyond retention policy") => {
                let rows = dropped(&reason).unwrap_or(1);
                let now_ms = wall_clock_ms();
                let expired = policy::expired(lines, self.keep_ms()?, now_ms);
                if rows > expired as u64 {
                    return Err(self.client.away(format!(
                        "it drops rows that are not older than its retention policy keeps, so its clock or this one is wrong: {reason}"
                    )));
                }
                self.expired.increment(rows);
                warn!(
                    rows,
                    "rows are older than InfluxDB's retention policy keeps"
                );
                Ok(rows)
            }
            400 | 413 if is_too_large || reason.contains("unable to parse") => {
                if let [_] = lines {
                    return Err(StoreError::RowRefused {
                        store: self.client.name().into(),
                        reason,
                    });
                }
                let (first, second) = lines.split_at(lines.len() / 2);
                let expired = self.write_request(first)?;
                Ok(expired.saturating_add(self.write_request(second)?))
            }
            _ => Err(self.fault(&answer)),
        }
    }

    /// Makes the database, with shards of four weeks: histories are long, and a shard costs memory.
    fn create_database(&self) -> Result<(), StoreError> {
        let database = name(self.client.url().database());
        let statement = format!("CREATE DATABASE {database} WITH SHARD DURATION 4w");
        self.ask(&[statement], Purpose::Write)?;
        Ok(())
    }

    pub(super) fn write_bars(&self, batch: &[(BarSeries, Vec<BarRow>)]) -> Result<(), StoreError> {
        let mut by_timeframe: HashMap<Timeframe, ByStart<'_>> = HashMap::new();
        for (series, rows) in batch {
            let by_start = by_timeframe.entry(series.timeframe).or_default();
            for row in rows {
                let of_start = by_start.entry(row.start_ms).or_default();
                of_start.entry(&series.instrument).or_default().push(*row);
            }
        }
        let (mut superseded, mut current) = (Vec::new(), Vec::new());
        for (timeframe, by_start) in &by_timeframe {
            let stored = self.stored(*timeframe, by_start)?;
            let nothing = Stored::default();
            for (start_ms, of_start) in by_start {
                for (instrument, rows) in of_start {
                    let stored = stored.get(&(*instrument, *start_ms)).unwrap_or(&nothing);
                    let changes = stored.with(rows);
                    let series = BarSeries {
                        instrument: (*instrument).clone(),
                        timeframe: *timeframe,
                    };
                    let line = |measurement, row: &BarRow, place| {
                        let mut line = String::with_capacity(384);
                        point::put_bar(&mut line, measurement, &series, row, place);
                        line
                    };
                    let old = changes.superseded.iter();
                    superseded.extend(old.map(|(place, row)| line(REVISIONS, row, *place)));
                    current.extend(changes.current.map(|row| line(BARS, &row, 0)));
                }
            }
        }
        // A kill between them leaves a revision twice, and none missing.
        self.write(&superseded)?;
        self.write(&current)?;
        Ok(())
    }

    /// What is stored of the bars of an append.
    fn stored<'a>(
        &self,
        timeframe: Timeframe,
        by_start: &ByStart<'a>,
    ) -> Result<HashMap<BarKey<'a>, Stored>, StoreError> {
        let mut stored = HashMap::new();
        let mut instruments: HashMap<(&str, &str), &'a Instrument> = HashMap::new();
        let (mut statements, mut asked) = (Vec::new(), 0);
        for span in spans(timeframe, by_start.keys().copied()) {
            let of_span = by_start.range(span.first_ms..=span.last_ms);
            let names: BTreeSet<&'a Instrument> = of_span
                .flat_map(|(_, of_start)| of_start.keys().copied())
                .collect();
            let names: Vec<&'a Instrument> = names.into_iter().collect();
            let width_ms = timeframe.end_of(span.last_ms).saturating_sub(span.last_ms);
            let bars = span.last_ms.saturating_sub(span.first_ms) / width_ms.max(1) + 1;
            for names in names.chunks(INSTRUMENTS_MAX) {
                for name in names {
                    instruments.insert((&*name.exchange, name.symbol.as_str()), name);
                }
                statements.push(format!(
                    "SELECT \"row\" FROM \"{BARS}\", \"{REVISIONS}\" WHERE {} AND {} AND {} GROUP BY \"exchange\", \"symbol\"",
                    of_timeframe(timeframe),
                    of_any(names),
                    between(span.first_ms, span.last_ms.saturating_add(1)),
                ));
                asked += bars.saturating_mul(i64::try_from(names.len()).unwrap_or(i64::MAX));
                if asked >= BARS_ASKED_MAX {
                    self.find(&statements, &instruments, &mut stored)?;
                    (statements, asked) = (Vec::new(), 0);
                }
            }
        }
        if !statements.is_empty() {
            self.find(&statements, &instruments, &mut stored)?;
        }
        Ok(stored)
    }

    fn find<'a>(
        &self,
        statements: &[String],
        instruments: &HashMap<(&str, &str), &'a Instrument>,
        stored: &mut HashMap<BarKey<'a>, Stored>,
    ) -> Result<(), StoreError> {
        for statement in self.whole(self.ask(statements, Purpose::Write)?)? {
            for series in &statement.series {
                let key = (series.tag("exchange"), series.tag("symbol"));
                let Some(instrument) = instruments.get(&key).copied() else {
                    continue;
                };
                for (at_ns, text) in series.texts("row") {
                    let start_ms = at_ns.div_euclid(PLACES);
                    let row = parse_bar(start_ms, text).ok_or_else(|| self.foreign(at_ns))?;
                    let stored = stored.entry((instrument, start_ms)).or_default();
                    match series.name.as_str() {
                        BARS => stored.current = Some(row),
                        _ => {
                            stored.places.insert(at_ns.rem_euclid(PLACES), row);
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// A row that this program cannot have written.
    pub(super) fn foreign(&self, at_ns: i64) -> StoreError {
        self.refused(format!(
            "its row at {at_ns} ns cannot be read: it was written by another program, or a newer one"
        ))
    }

    pub(super) fn write_trades(
        &self,
        batch: &[(Instrument, Vec<Trade>)],
    ) -> Result<(), StoreError> {
        let mut lines = Vec::new();
        for (instrument, rows) in batch {
            let mut places: HashMap<i64, u64> = HashMap::with_capacity(rows.len());
            for trade in rows {
                match places.insert(point::trade_ns(trade), trade.first_id) {
                    Some(before) if before != trade.first_id => {
                        // No venue has a million trades in a millisecond.
                        self.collided.increment(1);
                        let (at_ms, id) = (trade.event_ms, trade.first_id);
                        error!(
                            at_ms,
                            id, before, "two trades have one place, and one of them is lost"
                        );
                    }
                    Some(_) => continue,
                    None => {}
                }
                let mut line = String::with_capacity(192);
                point::put_trade(&mut line, instrument, trade);
                lines.push(line);
            }
        }
        self.write(&lines)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_are_asked_for_in_spans_without_long_gaps() {
        let minute = Timeframe::MINUTE;
        let starts = [0, 1, 51, 102, 103, 5_000].map(|minutes: i64| minutes * 60_000);
        let span = |first: i64, last: i64| Span {
            first_ms: first * 60_000,
            last_ms: last * 60_000,
        };
        let found = spans(minute, starts.into_iter());
        assert_eq!(found, [span(0, 51), span(102, 103), span(5_000, 5_000)]);
        let all = spans(minute, (0..2_500).map(|minutes| minutes * 60_000));
        assert_eq!(all, [span(0, 999), span(1_000, 1_999), span(2_000, 2_499)]);
    }

    #[test]
    fn a_server_says_how_many_points_it_dropped() {
        let said = "{\"error\":\"partial write: points beyond retention policy dropped=12\"}";
        assert_eq!(dropped(said), Some(12));
        assert_eq!(dropped("partial write"), None);
    }
}
