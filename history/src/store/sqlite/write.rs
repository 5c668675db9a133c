//! Appending, sealing and compaction: one writer for the whole directory.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::file::{FileKey, State, StoreFile};
use super::read::series_id;
use super::record::{Record, Wanted, settle};
use crate::block::BLOCK_ROWS_MAX;
use crate::store::{Instrument, StoreError, Watermark};

/// Rows of a new block.
pub(super) const SEAL_ROWS: usize = 4_096;
/// A block that late rows have made longer is divided.
const GROWN_ROWS_MAX: usize = 2 * SEAL_ROWS;
/// The most chunks in the tail of a series: beyond it, a reader would open too many.
const TAIL_CHUNKS_MAX: usize = 64;

/// A file that is open for writing.
pub(super) struct Writer {
    pub(super) file: StoreFile,
    connection: Connection,
    /// The tail of each series, once it was touched.
    tails: HashMap<i64, Tail>,
}

/// How much waits in the tail of a series.
#[derive(Clone, Copy, Default)]
struct Tail {
    chunks: usize,
    rows: usize,
    /// A compaction failed, and the next one is due with this many chunks.
    due_chunks: Option<usize>,
}

impl Tail {
    fn is_due(&self) -> bool {
        match self.due_chunks {
            Some(due_chunks) => self.chunks >= due_chunks,
            None => self.chunks >= TAIL_CHUNKS_MAX || (self.rows >= SEAL_ROWS && self.chunks > 0),
        }
    }
}

impl Writer {
    pub(super) fn open(file: StoreFile, bytes_max: Option<u64>) -> Result<Self, StoreError> {
        let connection = file.open_writer(bytes_max)?;
        Ok(Self {
            file,
            connection,
            tails: HashMap::new(),
        })
    }

    /// Stores rows, each list sorted by position, and the watermark, in one transaction.
    pub(super) fn append<R: Record>(
        &mut self,
        batch: &[(&Instrument, Vec<R>)],
        watermark: Option<&Watermark>,
    ) -> Result<(), StoreError> {
        let file = &self.file;
        let transaction = file.wrap(|| self.connection.transaction())?;
        let mut touched = Vec::new();
        for (instrument, rows) in batch {
            let series = match file.wrap(|| series_id(&transaction, instrument))? {
                Some(series) => series,
                None => file.wrap(|| insert_series(&transaction, instrument))?,
            };
            for rows in rows.chunks(SEAL_ROWS) {
                insert(file, &transaction, series, State::Tail, rows)?;
                touched.push((series, rows.len()));
            }
        }
        if let Some(watermark) = watermark {
            put_watermark(file, &transaction, watermark)?;
        }
        file.wrap(|| transaction.commit())?;
        for (series, rows) in touched {
            match self.tails.get_mut(&series) {
                Some(tail) => {
                    tail.chunks += 1;
                    tail.rows += rows;
                }
                None => {
                    let tail = self.count_tail(series)?;
                    self.tails.insert(series, tail);
                }
            }
        }
        Ok(())
    }

    fn count_tail(&self, series: i64) -> Result<Tail, StoreError> {
        let counts: (i64, i64) = self.file.wrap(|| {
            self.connection.query_row(
                "SELECT count(*), coalesce(sum(row_count), 0) FROM chunk \
                 WHERE series = ?1 AND state = ?2",
                params![series, State::Tail as i64],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
        })?;
        let count = |value| usize::try_from(value).unwrap_or(usize::MAX);
        Ok(Tail {
            chunks: count(counts.0),
            rows: count(counts.1),
            due_chunks: None,
        })
    }

    /// The series whose tail is due for [`Writer::compact`].
    pub(super) fn due(&self) -> Vec<i64> {
        let due = self.tails.iter().filter(|(_, tail)| tail.is_due());
        due.map(|(series, _)| *series).collect()
    }

    /// Puts the next compaction of a series off until its tail is twice as long. Each one reads all
    /// of the tail: at each call, they would cost the square of its length.
    pub(super) fn put_off(&mut self, series: i64) {
        if let Some(tail) = self.tails.get_mut(&series) {
            tail.due_chunks = Some(tail.chunks.saturating_mul(2));
        }
    }

    /// All series with a tail.
    pub(super) fn with_tail(&self) -> Result<Vec<i64>, StoreError> {
        self.file.wrap(|| {
            let mut series = self
                .connection
                .prepare("SELECT DISTINCT series FROM chunk WHERE state = ?1")?;
            let rows = series.query_map([State::Tail as i64], |row| row.get(0))?;
            rows.collect()
        })
    }

    /// Moves the tail of a series into blocks. Rows for the time of a sealed block are merged into
    /// it. The rest is sealed in blocks of [`SEAL_ROWS`]; what remains is one chunk of the tail, or
    /// with `is_all` a block, too.
    ///
    /// Each block is one transaction. Between two of them some rows are stored twice, which readers
    /// do not notice, so a crash in the middle loses nothing.
    pub(super) fn compact<R: Record>(
        &mut self,
        series: i64,
        is_all: bool,
    ) -> Result<(), StoreError> {
        let (tail_ids, mut rows) = self.tail::<R>(series)?;
        rows.sort_by_key(R::key);
        for (id, last_ms) in self.sealed(series)? {
            let end = rows.partition_point(|row| row.key().at_ms <= last_ms);
            let late: Vec<R> = rows.drain(..end).collect();
            if !late.is_empty() {
                self.rewrite(series, id, &late)?;
            }
        }
        let settled = settle(&rows, None);
        let file = &self.file;
        let transaction = file.wrap(|| self.connection.transaction())?;
        file.wrap(|| {
            let mut delete = transaction.prepare("DELETE FROM chunk WHERE id = ?1")?;
            tail_ids
                .iter()
                .try_for_each(|id| delete.execute([id]).map(drop))
        })?;
        put_superseded(file, &transaction, series, &settled.superseded)?;
        let mut rest = settled.current.as_slice();
        let mut tail = Tail::default();
        while !rest.is_empty() {
            let (rows, after) = rest.split_at(block_end(rest, SEAL_ROWS));
            let state = if rows.len() < SEAL_ROWS && !is_all {
                tail.chunks = 1;
                tail.rows = rows.len();
                State::Tail
            } else {
                State::Sealed
            };
            insert(file, &transaction, series, state, rows)?;
            rest = after;
        }
        file.wrap(|| transaction.commit())?;
        self.tails.insert(series, tail);
        Ok(())
    }

    /// Ids and rows of the tail, in the order in which they were stored.
    fn tail<R: Record>(&self, series: i64) -> Result<(Vec<i64>, Vec<R>), StoreError> {
        let file = &self.file;
        let mut chunks = file.wrap(|| {
            self.connection
                .prepare("SELECT id, bytes FROM chunk WHERE series = ?1 AND state = ?2 ORDER BY id")
        })?;
        let mut chunks = file.wrap(|| chunks.query(params![series, State::Tail as i64]))?;
        let (mut ids, mut rows) = (Vec::new(), Vec::new());
        while let Some(chunk) = file.wrap(|| chunks.next())? {
            let (id, bytes) = file.wrap(|| Ok((chunk.get(0)?, chunk.get_ref(1)?.as_blob()?)))?;
            ids.push(id);
            R::decode(file.key.kind, bytes, &Wanted::ALL, &mut rows)
                .map_err(|error| file.unreadable(&error))?;
        }
        Ok((ids, rows))
    }

    /// Ids and last times of the sealed blocks, by ascending time. A last block that is short takes
    /// all later rows.
    fn sealed(&self, series: i64) -> Result<Vec<(i64, i64)>, StoreError> {
        self.file.wrap(|| {
            let mut blocks = self.connection.prepare(
                "SELECT id, last_ms, row_count FROM chunk WHERE series = ?1 AND state = ?2 \
                 ORDER BY last_ms, first_ms",
            )?;
            let blocks = blocks.query_map(params![series, State::Sealed as i64], |row| {
                Ok(((row.get(0)?, row.get(1)?), row.get(2)?))
            })?;
            let blocks: Vec<((i64, i64), i64)> = blocks.collect::<Result<_, _>>()?;
            let is_short = |rows: i64| usize::try_from(rows).is_ok_and(|rows| rows < SEAL_ROWS);
            let last = blocks.last().filter(|(_, rows)| is_short(*rows));
            let last = last.map(|((id, _), _)| (*id, i64::MAX));
            let mut ends: Vec<_> = blocks.into_iter().map(|(end, _)| end).collect();
            if let (Some(end), Some(last)) = (ends.last_mut(), last) {
                *end = last;
            }
            Ok(ends)
        })
    }

    /// Merges late rows into a sealed block, in one transaction.
    fn rewrite<R: Record>(&mut self, series: i64, id: i64, late: &[R]) -> Result<(), StoreError> {
        let file = &self.file;
        let transaction = file.wrap(|| self.connection.transaction())?;
        let bytes: Option<Vec<u8>> = file.wrap(|| {
            transaction
                .query_row("SELECT bytes FROM chunk WHERE id = ?1", [id], |row| {
                    row.get(0)
                })
                .optional()
        })?;
        let bytes = bytes.ok_or_else(|| file.damaged("a block has disappeared"))?;
        let mut rows = Vec::new();
        R::decode(file.key.kind, &bytes, &Wanted::ALL, &mut rows)
            .map_err(|error| file.unreadable(&error))?;
        rows.extend(late);
        rows.sort_by_key(R::key);
        let settled = settle(&rows, None);
        file.wrap(|| transaction.execute("DELETE FROM chunk WHERE id = ?1", [id]))?;
        put_superseded(file, &transaction, series, &settled.superseded)?;
        // A block may grow to twice its size before it is divided into equal parts.
        let count = settled.current.len();
        let size = if count <= GROWN_ROWS_MAX {
            count
        } else {
            count.div_ceil(count.div_ceil(SEAL_ROWS))
        };
        let mut rest = settled.current.as_slice();
        while !rest.is_empty() {
            let (rows, after) = rest.split_at(block_end(rest, size));
            insert(file, &transaction, series, State::Sealed, rows)?;
            rest = after;
        }
        file.wrap(|| transaction.commit())
    }

    pub(super) fn put_watermarks(&mut self, watermarks: &[Watermark]) -> Result<(), StoreError> {
        let transaction = self.file.wrap(|| self.connection.transaction())?;
        for watermark in watermarks {
            put_watermark(&self.file, &transaction, watermark)?;
        }
        self.file.wrap(|| transaction.commit())
    }
}

/// Where a block of about `size` rows ends: rows of one instant stay together, so that the times of
/// blocks do not overlap. No venue comes near [`BLOCK_ROWS_MAX`] trades in a millisecond.
fn block_end<R: Record>(rows: &[R], size: usize) -> usize {
    let mut end = size.clamp(1, rows.len());
    while end < rows.len()
        && end < BLOCK_ROWS_MAX
        && rows[end].key().at_ms == rows[end - 1].key().at_ms
    {
        end += 1;
    }
    end
}

fn insert_series(transaction: &Transaction<'_>, instrument: &Instrument) -> rusqlite::Result<i64> {
    transaction.execute(
        "INSERT INTO series (exchange, symbol) VALUES (?1, ?2)",
        params![instrument.exchange, instrument.symbol.as_str()],
    )?;
    Ok(transaction.last_insert_rowid())
}

/// Inserts a chunk of rows that are sorted by position.
fn insert<R: Record>(
    file: &StoreFile,
    transaction: &Transaction<'_>,
    series: i64,
    state: State,
    rows: &[R],
) -> Result<(), StoreError> {
    let (Some(first), Some(last)) = (rows.first(), rows.last()) else {
        return Ok(());
    };
    let bytes = R::encode(file.key.kind, rows).map_err(StoreError::Rows)?;
    let count = i64::try_from(rows.len()).unwrap_or(i64::MAX);
    let times = (first.key().at_ms, last.key().at_ms);
    let known = || rows.iter().filter_map(R::known_ms);
    let known = (known().min(), known().max());
    file.wrap(|| {
        transaction.execute(
            "INSERT INTO chunk \
             (series, state, first_ms, last_ms, row_count, known_first_ms, known_last_ms, bytes) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            params![
                series,
                state as i64,
                times.0,
                times.1,
                count,
                known.0,
                known.1,
                bytes
            ],
        )
    })?;
    Ok(())
}

fn put_superseded<R: Record>(
    file: &StoreFile,
    transaction: &Transaction<'_>,
    series: i64,
    rows: &[R],
) -> Result<(), StoreError> {
    rows.chunks(BLOCK_ROWS_MAX)
        .try_for_each(|rows| insert(file, transaction, series, State::Superseded, rows))
}

fn put_watermark(
    file: &StoreFile,
    transaction: &Transaction<'_>,
    watermark: &Watermark,
) -> Result<(), StoreError> {
    // SQLite's integers are signed; no stream comes near the difference.
    let position = i64::try_from(watermark.position).unwrap_or(i64::MAX);
    file.wrap(|| {
        transaction.execute(
            "INSERT INTO watermark (stream, position) VALUES (?1, ?2) \
             ON CONFLICT (stream) DO UPDATE SET position = max(position, excluded.position)",
            params![watermark.stream, position],
        )
    })?;
    Ok(())
}

/// All watermarks of a file.
pub(super) fn watermarks(
    file: &StoreFile,
    connection: &Connection,
) -> Result<Vec<Watermark>, StoreError> {
    file.wrap(|| {
        let mut all = connection.prepare("SELECT stream, position FROM watermark")?;
        let all = all.query_map([], |row| {
            let position: i64 = row.get(1)?;
            Ok(Watermark {
                stream: row.get::<_, String>(0)?.into(),
                position: position.cast_unsigned(),
            })
        })?;
        all.collect()
    })
}

/// Groups a batch by file: a list of sorted rows for each instrument.
pub(super) type ByFile<'a, R> = std::collections::BTreeMap<FileKey, Vec<(&'a Instrument, Vec<R>)>>;
