//! The embedded store: SQLite files with columnar blocks.
//!
//! One file for each kind and month holds the series of all instruments. So retention deletes
//! files, and a damaged file costs one month of one kind. A batch that touches several files is
//! committed month by month, and its watermark in the last of these transactions.

mod catalog;
mod file;
mod read;
mod record;
mod retention;
#[cfg(test)]
mod tests;
mod verify;
mod write;

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use market_core::{Trade, UnixMillis};
use rusqlite::Connection;

use self::file::{FileKey, StoreFile};
use self::read::{PageReader, last_known_after, revisions};
use self::record::Record;
pub use self::verify::FileReport;
use self::write::{ByFile, Writer, watermarks};
use super::{
    BarSeries, BarStore, BookStore, Instrument, Kind, Order, Page, Range, StoreError, TradeStore,
    Watermark,
};
use crate::block::{BlockError, encode_bars, encode_trades};
use market_core::BarRow;
use market_core::width::{month_of, month_start};

/// The most files that are open for writing at once.
const WRITERS_MAX: usize = 16;
/// The most idle connections for reading.
const READERS_MAX: usize = 64;

/// How a store is opened.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct SqliteOptions {
    /// The most bytes of one file; `None` for no bound but the disk.
    pub file_bytes_max: Option<u64>,
}

/// A directory of SQLite files. One process at a time has it.
///
/// There is one writer: calls that append wait for each other. Calls that read never wait.
#[derive(Debug)]
pub struct SqliteStore {
    directory: PathBuf,
    options: SqliteOptions,
    files: Mutex<BTreeMap<FileKey, StoreFile>>,
    writers: Mutex<HashMap<FileKey, Writer>>,
    readers: Mutex<Readers>,
    /// Locked as long as the store is open. Last, so that connections close before it.
    _lock: File,
}

/// Idle connections for reading.
#[derive(Debug, Default)]
struct Readers {
    idle: Vec<(FileKey, Connection)>,
    /// Changes when files were deleted: a connection from before may be one of a deleted file,
    /// also where a new file has its name.
    deletions: u64,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Writer").field(&self.file.path).finish()
    }
}

/// A panic of another caller leaves whole values: each change is one assignment.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SqliteStore {
    /// Opens a directory, and makes it if it is missing.
    ///
    /// # Errors
    /// `InUse` if another process has it, `Io` if it cannot be read.
    pub fn open(directory: &Path, options: SqliteOptions) -> Result<Self, StoreError> {
        let io = |error: std::io::Error| StoreError::Io {
            file: directory.to_owned(),
            source: Box::new(error),
        };
        fs::create_dir_all(directory).map_err(io)?;
        let lock = File::create(directory.join("lock")).map_err(io)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => {
                return Err(StoreError::InUse {
                    directory: directory.to_owned(),
                });
            }
            Err(fs::TryLockError::Error(error)) => return Err(io(error)),
        }
        let mut files = BTreeMap::new();
        for entry in fs::read_dir(directory).map_err(io)? {
            let name = entry.map_err(io)?.file_name();
            if let Some(key) = name.to_str().and_then(FileKey::parse) {
                files.insert(key, StoreFile::new(directory, key));
            }
        }
        Ok(Self {
            directory: directory.to_owned(),
            options,
            files: Mutex::new(files),
            writers: Mutex::new(HashMap::new()),
            readers: Mutex::default(),
            _lock: lock,
        })
    }

    /// The files of a kind that can hold rows of a span, by ascending month.
    fn files(&self, kind: Option<Kind>, from_ms: UnixMillis, to_ms: UnixMillis) -> Vec<StoreFile> {
        let files = lock(&self.files);
        let files = files.values().filter(|file| {
            kind.is_none_or(|kind| kind == file.key.kind)
                && month_start(file.key.month) < to_ms
                && from_ms < month_start(file.key.month + 1)
        });
        files.cloned().collect()
    }

    fn all_files(&self) -> Vec<StoreFile> {
        self.files(None, UnixMillis::MIN, UnixMillis::MAX)
    }

    /// Runs a call with a connection for reading; `None` if the file was dropped before.
    fn with_reader<T>(
        &self,
        file: &StoreFile,
        call: impl FnOnce(&Connection) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        let mut readers = lock(&self.readers);
        let deletions = readers.deletions;
        let idle = readers.idle.iter().position(|(key, _)| *key == file.key);
        let idle = idle.map(|index| readers.idle.swap_remove(index).1);
        drop(readers);
        let connection = match idle {
            Some(connection) => connection,
            None => match file.open_reader() {
                Err(_) if !lock(&self.files).contains_key(&file.key) => return Ok(None),
                opened => opened?,
            },
        };
        let result = call(&connection)?;
        let mut readers = lock(&self.readers);
        if readers.deletions == deletions {
            if readers.idle.len() >= READERS_MAX {
                readers.idle.remove(0);
            }
            readers.idle.push((file.key, connection));
        }
        Ok(Some(result))
    }

    fn writer<'a>(
        &self,
        writers: &'a mut HashMap<FileKey, Writer>,
        key: FileKey,
    ) -> Result<&'a mut Writer, StoreError> {
        if !writers.contains_key(&key) {
            if writers.len() >= WRITERS_MAX {
                writers.clear();
            }
            let file = StoreFile::new(&self.directory, key);
            let writer = Writer::open(file.clone(), self.options.file_bytes_max)?;
            lock(&self.files).insert(key, file);
            writers.insert(key, writer);
        }
        Ok(writers.get_mut(&key).expect("inserted above"))
    }

    /// The watermarks of a file. A damaged file has none: others may have lower ones, and what was
    /// stored after these is stored again, which changes nothing.
    fn watermarks_of(&self, file: &StoreFile) -> Result<Vec<Watermark>, StoreError> {
        match self.with_reader(file, |connection| watermarks(file, connection)) {
            Err(error @ StoreError::Damaged { .. }) => {
                tracing::error!(%error, "the watermarks of a file are left out");
                Ok(Vec::new())
            }
            read => Ok(read?.unwrap_or_default()),
        }
    }

    fn compact_file(
        &self,
        writers: &mut HashMap<FileKey, Writer>,
        file: &StoreFile,
    ) -> Result<(), StoreError> {
        let writer = self.writer(writers, file.key)?;
        for series in writer.with_tail()? {
            match file.key.kind {
                Kind::Bars(_) => writer.compact::<BarRow>(series, true)?,
                Kind::Trades => writer.compact::<Trade>(series, true)?,
            }
        }
        Ok(())
    }

    fn append<R: Record>(
        &self,
        by_file: &ByFile<'_, R>,
        watermark: Option<&Watermark>,
    ) -> Result<(), StoreError> {
        let mut writers = lock(&self.writers);
        let Some(last_key) = by_file.keys().next_back() else {
            let Some(watermark) = watermark else {
                return Ok(());
            };
            let newest = self.all_files().pop().ok_or(StoreError::Empty)?;
            let writer = self.writer(&mut writers, newest.key)?;
            return writer.put_watermarks(std::slice::from_ref(watermark));
        };
        for (key, batch) in by_file {
            let watermark = watermark.filter(|_| key == last_key);
            let writer = self.writer(&mut writers, *key)?;
            writer.append(batch, watermark)?;
        }
        // The rows are stored. A block that is damaged, or a file that cannot grow, keeps them from
        // being sealed, and they can still be read.
        for key in by_file.keys() {
            let writer = self.writer(&mut writers, *key)?;
            for series in writer.due() {
                if let Err(error) = writer.compact::<R>(series, false) {
                    writer.put_off(series);
                    tracing::warn!(%error, "rows are stored but not sealed");
                }
            }
        }
        Ok(())
    }

    fn page<R: Record>(
        &self,
        kind: Kind,
        instrument: &Instrument,
        range: &Range,
    ) -> Result<Page<R>, StoreError> {
        let mut files = self.files(Some(kind), range.from_ms, range.to_ms);
        if range.order == Order::Descending {
            files.reverse();
        }
        let mut reader = PageReader::new(range);
        for file in files {
            if reader.is_full() {
                break;
            }
            self.with_reader(&file, |connection| {
                reader.read(&file, connection, instrument)
            })?;
        }
        Ok(Page::of(reader.rows, range.limit, Record::key))
    }
}

/// The years 1970 to 9999: a file has four digits for its year.
const TIMES_MS: std::ops::Range<UnixMillis> = 0..253_402_300_800_000;

/// Sorts rows by position, and divides them by month.
fn by_month<R: Record>(rows: &[R]) -> Result<BTreeMap<i64, Vec<R>>, StoreError> {
    if rows.iter().any(|row| !TIMES_MS.contains(&row.key().at_ms)) {
        let reason = "the time of a row is not in the years 1970 to 9999";
        return Err(StoreError::Rows(BlockError::Unstorable(reason)));
    }
    let mut months: BTreeMap<i64, Vec<R>> = BTreeMap::new();
    for row in rows {
        months
            .entry(month_of(row.key().at_ms))
            .or_default()
            .push(*row);
    }
    for rows in months.values_mut() {
        rows.sort_by_key(R::key);
    }
    Ok(months)
}

/// The files hold bars and trades alone.
impl BookStore for SqliteStore {}

impl BarStore for SqliteStore {
    fn append_bars(
        &self,
        batch: &[(BarSeries, Vec<BarRow>)],
        watermark: Option<&Watermark>,
    ) -> Result<(), StoreError> {
        let mut by_file: ByFile<'_, BarRow> = BTreeMap::new();
        for (series, rows) in batch {
            let kind = Kind::Bars(series.timeframe);
            for (month, rows) in by_month(rows)? {
                let file = by_file.entry(FileKey { month, kind }).or_default();
                file.push((&series.instrument, rows));
            }
        }
        self.append(&by_file, watermark)
    }

    fn bars(&self, series: &BarSeries, range: &Range) -> Result<Page<BarRow>, StoreError> {
        self.page(Kind::Bars(series.timeframe), &series.instrument, range)
    }

    fn revisions_between(
        &self,
        series: &BarSeries,
        from_ms: UnixMillis,
        to_ms: UnixMillis,
    ) -> Result<Vec<BarRow>, StoreError> {
        let kind = Kind::Bars(series.timeframe);
        let mut rows = Vec::new();
        for file in self.files(Some(kind), from_ms, to_ms) {
            let read = self.with_reader(&file, |connection| {
                revisions::<BarRow>(&file, connection, &series.instrument, from_ms, to_ms)
            })?;
            rows.extend(read.unwrap_or_default());
        }
        Ok(rows)
    }

    fn last_known_after(
        &self,
        series: &BarSeries,
        before_ms: UnixMillis,
        known_after_ms: UnixMillis,
    ) -> Result<Option<UnixMillis>, StoreError> {
        let kind = Kind::Bars(series.timeframe);
        let files = self.files(Some(kind), UnixMillis::MIN, before_ms);
        for file in files.iter().rev() {
            let found = self.with_reader(file, |connection| {
                let instrument = &series.instrument;
                last_known_after(file, connection, instrument, before_ms, known_after_ms)
            })?;
            if let Some(last_ms) = found.flatten() {
                return Ok(Some(last_ms.min(before_ms.saturating_sub(1))));
            }
        }
        Ok(None)
    }

    fn newest_start(&self, series: &BarSeries) -> Result<Option<UnixMillis>, StoreError> {
        // A chunk says where its last bar starts, and every bar became known.
        let (before_ms, known_after_ms) = (UnixMillis::MAX, UnixMillis::MIN);
        self.last_known_after(series, before_ms, known_after_ms)
    }

    fn check_bar(&self, series: &BarSeries, row: &BarRow) -> Result<(), StoreError> {
        by_month(&[*row])?;
        let encoded = encode_bars(series.timeframe, &[*row]);
        encoded.map(drop).map_err(StoreError::Rows)
    }
}

impl TradeStore for SqliteStore {
    fn append_trades(
        &self,
        batch: &[(Instrument, Vec<Trade>)],
        watermark: Option<&Watermark>,
    ) -> Result<(), StoreError> {
        let mut by_file: ByFile<'_, Trade> = BTreeMap::new();
        for (instrument, rows) in batch {
            for (month, rows) in by_month(rows)? {
                let kind = Kind::Trades;
                let file = by_file.entry(FileKey { month, kind }).or_default();
                file.push((instrument, rows));
            }
        }
        self.append(&by_file, watermark)
    }

    fn trades(&self, instrument: &Instrument, range: &Range) -> Result<Page<Trade>, StoreError> {
        self.page(Kind::Trades, instrument, range)
    }

    fn check_trade(&self, trade: &Trade) -> Result<(), StoreError> {
        by_month(&[*trade])?;
        let encoded = encode_trades(&[*trade]);
        encoded.map(drop).map_err(StoreError::Rows)
    }
}
