//! Checks of all that a store holds, without changing it.

use std::collections::{BTreeMap, HashMap};

use market_core::width::month_start;
use market_core::{BarRow, Trade, UnixMillis};
use rusqlite::{Connection, params};

use super::SqliteStore;
use super::file::{State, StoreFile};
use super::record::{Record, Wanted};
use crate::completeness::causes::{Cause, CauseSpan, Causes};
use crate::store::{BarSeries, BarStore, Instrument, Kind, Range, StoreError};

/// Rows that are read at once for their causes.
const PAGE_ROWS: usize = 10_000;

/// What a check of one file found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileReport {
    /// The file's name.
    pub file: String,
    /// How many series it has.
    pub series: usize,
    /// How many chunks of rows.
    pub chunks: usize,
    /// How many rows, with all revisions.
    pub rows: u64,
    /// How many current bars are missing or special, by cause: older revisions do not count.
    pub causes: BTreeMap<Cause, u64>,
    /// What is damaged, and where; empty if nothing is.
    pub damage: Vec<String>,
}

impl SqliteStore {
    /// Reads everything in all files, one after another: SQLite's own structures, the checksum and
    /// the content of every chunk, the order of its rows, whether sealed blocks overlap, and the
    /// positions of streams. Tells each file's report as soon as it is known.
    ///
    /// Memory is that of one chunk, whatever the size of the store.
    pub fn verify(&self, mut tell: impl FnMut(FileReport)) {
        for file in self.all_files() {
            let mut report = FileReport {
                file: file.key.file_name(),
                series: 0,
                chunks: 0,
                rows: 0,
                causes: BTreeMap::new(),
                damage: Vec::new(),
            };
            let checked = self.with_reader(&file, |connection| match file.key.kind {
                Kind::Bars(_) => check::<BarRow>(&file, connection, &mut report),
                Kind::Trades => check::<Trade>(&file, connection, &mut report),
            });
            match checked {
                Ok(Some(())) if report.damage.is_empty() => match self.causes_of(&file) {
                    Ok(causes) => report.causes = causes,
                    Err(error) => report.damage.push(error.to_string()),
                },
                Ok(Some(())) => {}
                Ok(None) => continue,
                Err(StoreError::Damaged { reason, .. }) => report.damage.push(reason),
                Err(error) => report.damage.push(error.to_string()),
            }
            tell(report);
        }
    }

    /// Why bars of a file are not what they should be, of all its series.
    fn causes_of(&self, file: &StoreFile) -> Result<BTreeMap<Cause, u64>, StoreError> {
        let mut counts = BTreeMap::new();
        let Kind::Bars(timeframe) = file.key.kind else {
            return Ok(counts);
        };
        let series = self.with_reader(file, |connection| series(file, connection))?;
        let month = Range::new(
            month_start(file.key.month),
            month_start(file.key.month + 1),
            PAGE_ROWS,
        );
        let mut count = |span: CauseSpan| {
            let bars: &mut u64 = counts.entry(span.cause).or_default();
            *bars = bars.saturating_add(span.bars);
        };
        for instrument in series.unwrap_or_default().into_values() {
            let series = BarSeries {
                instrument,
                timeframe,
            };
            let mut causes = Causes::new(timeframe, UnixMillis::MIN, UnixMillis::MAX);
            let mut range = month;
            loop {
                let page = self.bars(&series, &range)?;
                for row in &page.rows {
                    causes.push(row, &mut count);
                }
                range.cursor = page.next;
                if range.cursor.is_none() {
                    break;
                }
            }
            causes.finish(&mut count);
        }
        Ok(counts)
    }
}

fn check<R: Record>(
    file: &StoreFile,
    connection: &Connection,
    report: &mut FileReport,
) -> Result<(), StoreError> {
    let found: Vec<String> = file.wrap(|| {
        let mut check = connection.prepare("PRAGMA quick_check(10)")?;
        let rows = check.query_map([], |row| row.get(0))?;
        rows.collect()
    })?;
    let found = found.into_iter().filter(|line| line != "ok");
    report
        .damage
        .extend(found.map(|line| format!("SQLite finds: {line}")));
    let below_zero: i64 = file.wrap(|| {
        let count = "SELECT count(*) FROM watermark WHERE position < 0";
        connection.query_row(count, [], |row| row.get(0))
    })?;
    if below_zero > 0 {
        let line = format!("{below_zero} positions of streams are below zero");
        report.damage.push(line);
    }
    let series = series(file, connection)?;
    report.series = series.len();
    check_chunks::<R>(file, connection, &series, report)
}

fn series(
    file: &StoreFile,
    connection: &Connection,
) -> Result<HashMap<i64, Instrument>, StoreError> {
    file.wrap(|| {
        let mut all = connection.prepare("SELECT id, exchange, symbol FROM series")?;
        let mut rows = all.query([])?;
        let mut series = HashMap::new();
        while let Some(row) = rows.next()? {
            let (id, exchange, symbol): (i64, String, String) =
                (row.get(0)?, row.get(1)?, row.get(2)?);
            series.insert(id, (exchange, symbol));
        }
        Ok(series)
    })?
    .into_iter()
    .map(|(id, (exchange, symbol))| {
        let symbol = symbol.parse();
        let symbol = symbol.map_err(|error| file.damaged(&format!("series {id}: {error}")))?;
        let exchange = exchange.into();
        Ok((id, Instrument { exchange, symbol }))
    })
    .collect()
}

/// Series, first instant and last instant of the sealed block before.
type Before = Option<(i64, i64, i64)>;

fn check_chunks<R: Record>(
    file: &StoreFile,
    connection: &Connection,
    series: &HashMap<i64, Instrument>,
    report: &mut FileReport,
) -> Result<(), StoreError> {
    let mut chunks = file.wrap(|| {
        connection.prepare(
            "SELECT id, series, state, first_ms, last_ms, row_count, bytes FROM chunk \
             ORDER BY series, state, last_ms, first_ms",
        )
    })?;
    let mut chunks = file.wrap(|| chunks.query(params![]))?;
    let mut before: Before = None;
    while let Some(chunk) = file.wrap(|| chunks.next())? {
        let (id, of, state): (i64, i64, i64) =
            file.wrap(|| Ok((chunk.get(0)?, chunk.get(1)?, chunk.get(2)?)))?;
        let (first_ms, last_ms, row_count): (i64, i64, i64) =
            file.wrap(|| Ok((chunk.get(3)?, chunk.get(4)?, chunk.get(5)?)))?;
        let bytes = file.wrap(|| Ok(chunk.get_ref(6)?.as_blob()?))?;
        report.chunks += 1;
        let whose = match series.get(&of) {
            Some(of) => format!("{} {}", of.exchange, of.symbol),
            None => "a series without a name".to_owned(),
        };
        let mut wrong = |what: &str| {
            let line = format!("chunk {id} of {whose}, {first_ms} to {last_ms} ms: {what}");
            report.damage.push(line);
        };
        if !series.contains_key(&of) {
            wrong("its series is missing");
        }
        if !(State::Tail as i64..=State::Superseded as i64).contains(&state) {
            wrong("it is neither tail, nor sealed, nor superseded");
        }
        let is_sealed = state == State::Sealed as i64;
        if is_sealed {
            if let Some((series, _, last_before)) = before
                && series == of
                && first_ms <= last_before
            {
                wrong("it overlaps the block before it");
            }
            before = Some((of, first_ms, last_ms));
        }
        let mut rows: Vec<R> = Vec::new();
        if let Err(error) = R::decode(file.key.kind, bytes, &Wanted::ALL, &mut rows) {
            wrong(&error.to_string());
            continue;
        }
        if i64::try_from(rows.len()) != Ok(row_count) {
            wrong("it does not have as many rows as the table says");
        }
        if !rows.is_sorted_by_key(R::key) {
            wrong("its rows are not in order");
        } else if is_sealed && !rows.is_sorted_by(|a, b| a.key() < b.key()) {
            wrong("a sealed block has two rows of one position");
        }
        let at = |row: Option<&R>| row.map(|row| row.key().at_ms);
        if (at(rows.first()), at(rows.last())) != (Some(first_ms), Some(last_ms)) {
            wrong("its first and last rows are not those that the table says");
        }
        let month = month_start(file.key.month)..month_start(file.key.month + 1);
        if rows.iter().any(|row| !month.contains(&row.key().at_ms)) {
            wrong("it has rows of another month");
        }
        report.rows += rows.len() as u64;
    }
    Ok(())
}
