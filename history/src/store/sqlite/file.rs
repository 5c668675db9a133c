//! The files of a store: their names, their schema, and their errors.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::block::BlockError;
use crate::store::{Kind, StoreError};

/// Raised whenever an older program can no longer read the files. This program reads version 1, too, and
/// makes version 2 of it when it writes.
const SCHEMA_VERSION: i64 = 2;
/// Without the times at which the rows of a chunk became known.
const VERSION_WITHOUT_KNOWN: i64 = 1;
/// How long a connection waits for another one of this process.
const BUSY_MAX: Duration = Duration::from_secs(5);
const SUFFIX: &str = ".sqlite";

const SCHEMA: &str = "
CREATE TABLE series (
    id INTEGER PRIMARY KEY,
    exchange TEXT NOT NULL,
    symbol TEXT NOT NULL,
    UNIQUE (exchange, symbol)
) STRICT;
CREATE TABLE chunk (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    series INTEGER NOT NULL,
    state INTEGER NOT NULL,
    first_ms INTEGER NOT NULL,
    last_ms INTEGER NOT NULL,
    row_count INTEGER NOT NULL,
    known_first_ms INTEGER,
    known_last_ms INTEGER,
    bytes BLOB NOT NULL
) STRICT;
CREATE INDEX chunk_by_time
    ON chunk (series, state, last_ms, first_ms, known_first_ms, known_last_ms);
CREATE TABLE watermark (
    stream TEXT PRIMARY KEY,
    position INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
";

/// Makes a file of version 1 one of version 2. The times of its chunks stay unknown until they are
/// written again.
const ADD_KNOWN: &str = "
ALTER TABLE chunk ADD COLUMN known_first_ms INTEGER;
ALTER TABLE chunk ADD COLUMN known_last_ms INTEGER;
DROP INDEX chunk_by_time;
CREATE INDEX chunk_by_time
    ON chunk (series, state, last_ms, first_ms, known_first_ms, known_last_ms);
";

/// The kind of a chunk's rows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    /// Appended, and not sealed yet. They may revise sealed rows.
    Tail = 0,
    /// A block. Sealed blocks of a series do not overlap.
    Sealed = 1,
    /// Older revisions.
    Superseded = 2,
}

/// One kind and month.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct FileKey {
    /// Counted from January 1970. First, so that files are committed by ascending month.
    pub(super) month: i64,
    pub(super) kind: Kind,
}

impl FileKey {
    /// `bars-1m-2026-11.sqlite`. The calendar month is spelled out, because file systems exist that
    /// take `1M` for `1m`.
    pub(super) fn file_name(self) -> String {
        let (year, month) = (
            1970 + self.month.div_euclid(12),
            self.month.rem_euclid(12) + 1,
        );
        let kind = match self.kind {
            Kind::Trades => "trades".to_owned(),
            Kind::Bars(timeframe) => {
                format!("bars-{}", timeframe.to_string().replace('M', "month"))
            }
        };
        format!("{kind}-{year:04}-{month:02}{SUFFIX}")
    }

    pub(super) fn parse(name: &str) -> Option<Self> {
        let mut parts = name.strip_suffix(SUFFIX)?.rsplitn(3, '-');
        let (month, year, kind) = (parts.next()?, parts.next()?, parts.next()?);
        let (year, month): (i64, i64) = (year.parse().ok()?, month.parse().ok()?);
        let kind = match kind.strip_prefix("bars-") {
            Some(timeframe) => Kind::Bars(timeframe.replace("month", "M").parse().ok()?),
            None => Kind::Trades,
        };
        if !(1970..10_000).contains(&year) || !(1..=12).contains(&month) {
            return None;
        }
        let key = Self {
            month: (year - 1970) * 12 + month - 1,
            kind,
        };
        (key.file_name() == name).then_some(key)
    }
}

/// A file, for messages and connections.
#[derive(Clone, Debug)]
pub(super) struct StoreFile {
    pub(super) key: FileKey,
    pub(super) path: PathBuf,
}

impl StoreFile {
    pub(super) fn new(directory: &Path, key: FileKey) -> Self {
        Self {
            key,
            path: directory.join(key.file_name()),
        }
    }

    /// A connection that writes, with the schema in place.
    pub(super) fn open_writer(&self, bytes_max: Option<u64>) -> Result<Connection, StoreError> {
        if !self.path.exists() {
            self.create(bytes_max)?;
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = self
            .wrap(|| {
                let connection = Connection::open_with_flags(&self.path, flags)?;
                connection.busy_timeout(BUSY_MAX)?;
                connection.pragma_update(None, "journal_mode", "WAL")?;
                // A row that was acknowledged is on disk.
                connection.pragma_update(None, "synchronous", "FULL")?;
                set_bound(&connection, bytes_max)?;
                Ok(connection)
            })
            .and_then(|connection| self.check_version(connection))?;
        self.wrap(|| {
            if version_of(&connection)? == VERSION_WITHOUT_KNOWN {
                let transaction = connection.transaction()?;
                transaction.execute_batch(ADD_KNOWN)?;
                transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
                transaction.commit()?;
            }
            Ok(())
        })?;
        Ok(connection)
    }

    /// Makes the file under another name first: a kill or a full disk in between leaves no file that
    /// looks like a damaged one.
    fn create(&self, bytes_max: Option<u64>) -> Result<(), StoreError> {
        let io = |source: std::io::Error| match source.kind() {
            ErrorKind::StorageFull => StoreError::Full {
                file: self.path.clone(),
            },
            _ => StoreError::Io {
                file: self.path.clone(),
                source: Box::new(source),
            },
        };
        let unfinished = self.path.with_extension("unfinished");
        for path in [&self.path.with_extension("unfinished-journal"), &unfinished] {
            match fs::remove_file(path) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(io(error)),
                _ => {}
            }
        }
        self.wrap(|| {
            let mut connection = Connection::open(&unfinished)?;
            set_bound(&connection, bytes_max)?;
            let transaction = connection.transaction()?;
            transaction.execute_batch(SCHEMA)?;
            transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
            transaction.commit()?;
            connection.close().map_err(|(_, error)| error)
        })?;
        fs::rename(&unfinished, &self.path).map_err(io)?;
        // The new name is on disk before any row is acknowledged.
        let directory = self.path.parent().unwrap_or(Path::new("."));
        File::open(directory)
            .and_then(|directory| directory.sync_all())
            .map_err(io)
    }

    /// A connection that only reads.
    pub(super) fn open_reader(&self) -> Result<Connection, StoreError> {
        // A reader of a write-ahead log writes to the index of the log.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        self.wrap(|| {
            let connection = Connection::open_with_flags(&self.path, flags)?;
            connection.busy_timeout(BUSY_MAX)?;
            connection.pragma_update(None, "query_only", true)?;
            Ok(connection)
        })
        .and_then(|connection| self.check_version(connection))
    }

    fn check_version(&self, connection: Connection) -> Result<Connection, StoreError> {
        let version = self.wrap(|| version_of(&connection))?;
        if (VERSION_WITHOUT_KNOWN..=SCHEMA_VERSION).contains(&version) {
            Ok(connection)
        } else if version == 0 {
            Err(self.damaged("it has no schema"))
        } else {
            Err(StoreError::Version {
                file: self.path.clone(),
                version,
                known: SCHEMA_VERSION,
            })
        }
    }

    pub(super) fn damaged(&self, reason: &(impl ToString + ?Sized)) -> StoreError {
        StoreError::Damaged {
            file: self.path.clone(),
            reason: reason.to_string(),
        }
    }

    /// A block of this file that cannot be read.
    pub(super) fn unreadable(&self, error: &BlockError) -> StoreError {
        self.damaged(error)
    }

    /// Runs calls of SQLite, and says of an error what to do about it.
    pub(super) fn wrap<T>(
        &self,
        calls: impl FnOnce() -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        calls().map_err(|error| match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => StoreError::Full {
                file: self.path.clone(),
            },
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => self.damaged(&error),
            // A column with another type than the schema's.
            None => self.damaged(&error),
            Some(_) => StoreError::Io {
                file: self.path.clone(),
                source: Box::new(error),
            },
        })
    }
}

fn version_of(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Whether the table says when the rows of chunks became known.
pub(super) fn has_known(connection: &Connection) -> rusqlite::Result<bool> {
    Ok(version_of(connection)? > VERSION_WITHOUT_KNOWN)
}

/// Lets the file grow to `bytes_max`.
fn set_bound(connection: &Connection, bytes_max: Option<u64>) -> rusqlite::Result<()> {
    let Some(bytes) = bytes_max else {
        return Ok(());
    };
    let page: i64 = connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
    let pages = i64::try_from(bytes).unwrap_or(i64::MAX) / page.max(1);
    connection.pragma_update(None, "max_page_count", pages.max(1))
}
