//! What the files hold: their series, and their size.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use market_core::UnixMillis;
use rusqlite::{Connection, params};

use super::SqliteStore;
use super::file::{State, StoreFile};
use crate::store::{BarSeries, Catalog, Instrument, Kind, SeriesInfo, StoreError};

/// An instrument of a file, with the first and the last time of its rows.
type Times = (Instrument, UnixMillis, UnixMillis);

fn times(file: &StoreFile, connection: &Connection) -> Result<Vec<Times>, StoreError> {
    let rows: Vec<(String, String, i64, i64)> = file.wrap(|| {
        let mut rows = connection.prepare(
            "SELECT exchange, symbol, min(first_ms), max(last_ms) \
             FROM series JOIN chunk ON chunk.series = series.id \
             WHERE state <> ?1 GROUP BY series.id",
        )?;
        let rows = rows.query_map(params![State::Superseded as i64], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        })?;
        rows.collect()
    })?;
    let rows = rows.into_iter().map(|(exchange, symbol, first, last)| {
        let instrument = Instrument {
            exchange: exchange.into(),
            symbol: symbol.parse().map_err(|error| file.damaged(&error))?,
        };
        Ok((instrument, first, last))
    });
    rows.collect()
}

impl SqliteStore {
    /// The series of a file; none of a damaged one.
    fn times_of(&self, file: &StoreFile) -> Result<Vec<Times>, StoreError> {
        match self.with_reader(file, |connection| times(file, connection)) {
            Err(error @ StoreError::Damaged { .. }) => {
                tracing::error!(%error, "the series of a file are left out");
                Ok(Vec::new())
            }
            read => Ok(read?.unwrap_or_default()),
        }
    }
}

impl Catalog for SqliteStore {
    fn series(&self) -> Result<Vec<SeriesInfo>, StoreError> {
        let mut spans: BTreeMap<BarSeries, (UnixMillis, UnixMillis)> = BTreeMap::new();
        for file in self.all_files() {
            let Kind::Bars(timeframe) = file.key.kind else {
                continue;
            };
            for (instrument, first, last) in self.times_of(&file)? {
                let series = BarSeries {
                    instrument,
                    timeframe,
                };
                let span = spans.entry(series).or_insert((first, last));
                *span = (span.0.min(first), span.1.max(last));
            }
        }
        let infos = spans
            .into_iter()
            .map(|(series, (first_ms, last_ms))| SeriesInfo {
                last_end_ms: series.timeframe.end_of(last_ms),
                series,
                first_ms,
            });
        Ok(infos.collect())
    }

    fn traded(&self) -> Result<Vec<Instrument>, StoreError> {
        let mut traded = BTreeSet::new();
        for file in self.files(Some(Kind::Trades), UnixMillis::MIN, UnixMillis::MAX) {
            let times = self.times_of(&file)?;
            traded.extend(times.into_iter().map(|(instrument, ..)| instrument));
        }
        Ok(traded.into_iter().collect())
    }

    fn check_lists(&self) -> Result<(), StoreError> {
        for file in self.all_files() {
            self.with_reader(&file, |connection| times(&file, connection))?;
        }
        Ok(())
    }

    fn bytes(&self) -> Result<u64, StoreError> {
        let io = |error: std::io::Error| StoreError::Io {
            file: self.directory.clone(),
            source: Box::new(error),
        };
        let mut bytes = 0u64;
        for entry in fs::read_dir(&self.directory).map_err(io)? {
            match entry.and_then(|entry| entry.metadata()) {
                Ok(metadata) if metadata.is_file() => bytes = bytes.saturating_add(metadata.len()),
                Ok(_) => {}
                // SQLite and retention delete files meanwhile.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(io(error)),
            }
        }
        Ok(bytes)
    }
}
