//! The file and its tables.

use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;

use super::error::StoreError;

/// Raised whenever an older program can no longer read the file.
const VERSION: i64 = 2;
/// How long a call waits for a lock of the file.
const BUSY_MAX: Duration = Duration::from_secs(5);

const TABLES: &str = "
CREATE TABLE place (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    json TEXT NOT NULL
) STRICT;
CREATE TABLE rule (
    name TEXT PRIMARY KEY,
    is_of_file INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    json TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE symbol (
    symbol TEXT PRIMARY KEY,
    json TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE bar (
    symbol TEXT NOT NULL,
    start_ms INTEGER NOT NULL,
    json TEXT NOT NULL,
    PRIMARY KEY (symbol, start_ms)
) STRICT, WITHOUT ROWID;
CREATE TABLE watch (
    rule TEXT NOT NULL,
    symbol TEXT NOT NULL,
    json TEXT NOT NULL,
    PRIMARY KEY (rule, symbol)
) STRICT, WITHOUT ROWID;
CREATE TABLE alert (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    is_published INTEGER NOT NULL,
    json TEXT NOT NULL
) STRICT;
CREATE INDEX alert_unpublished ON alert (id) WHERE is_published = 0;
CREATE TABLE delivery (
    hook TEXT NOT NULL,
    alert INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    PRIMARY KEY (hook, alert)
) STRICT, WITHOUT ROWID;
CREATE INDEX delivery_of_alert ON delivery (alert);
";

/// What version 2 has beside the tables of version 1.
const SETTINGS: &str = "
CREATE TABLE setting (
    name TEXT PRIMARY KEY,
    json TEXT NOT NULL
) STRICT, WITHOUT ROWID;
";

/// Opens the file, and makes it if it is missing.
pub(super) fn open(path: &Path) -> Result<Connection, StoreError> {
    let mut connection = Connection::open(path)?;
    connection.busy_timeout(BUSY_MAX)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // What was committed is on disk.
    connection.pragma_update(None, "synchronous", "FULL")?;
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    match version {
        VERSION => {}
        0 | 1 => {
            let transaction = connection.transaction()?;
            if version == 0 {
                transaction.execute_batch(TABLES)?;
            }
            transaction.execute_batch(SETTINGS)?;
            transaction.pragma_update(None, "user_version", VERSION)?;
            transaction.commit()?;
        }
        other => return Err(StoreError::Version(path.to_owned(), other, VERSION)),
    }
    Ok(connection)
}
