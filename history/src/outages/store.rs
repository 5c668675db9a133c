//! The outages on disk: a small file beside the bars, whichever store keeps those.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use market_core::UnixMillis;
use metrics::{Counter, counter};
use rusqlite::{Connection, Row, params};
use tracing::warn;

use super::{Outage, OutageReason};
use crate::store::StoreError;

/// Raised whenever an older program can no longer read the file.
const SCHEMA_VERSION: i64 = 1;
const FILE_NAME: &str = "outages.sqlite";
const BUSY_MAX: Duration = Duration::from_secs(5);
/// Outages of one exchange that are kept: one each hour for two years.
const OUTAGES_MAX: usize = 20_000;

const SCHEMA: &str = "
BEGIN;
CREATE TABLE IF NOT EXISTS outage (
    exchange TEXT NOT NULL,
    from_ms INTEGER NOT NULL,
    to_ms INTEGER NOT NULL,
    reason TEXT NOT NULL,
    PRIMARY KEY (exchange, from_ms, reason)
) STRICT, WITHOUT ROWID;
PRAGMA user_version = 1;
COMMIT;
";

/// Stored outages. Its calls block. Bars do not need it: where it fails, history runs without it, and each
/// call tries to open it again.
pub(crate) struct OutageStore {
    path: PathBuf,
    /// None after an error.
    connection: Mutex<Option<Connection>>,
    outages_max: usize,
    deleted: Counter,
}

impl OutageStore {
    /// Opens the file in a store's directory, and makes it if it is missing.
    ///
    /// # Errors
    /// `Version` if a newer program made it. Any other error is one of the calls.
    pub(crate) fn open(directory: &Path) -> Result<Self, StoreError> {
        Self::with_max(directory, OUTAGES_MAX)
    }

    fn with_max(directory: &Path, outages_max: usize) -> Result<Self, StoreError> {
        let path = directory.join(FILE_NAME);
        let connection = match connect(&path) {
            Ok(connection) => Some(connection),
            Err(error @ StoreError::Version { .. }) => return Err(error),
            Err(error) => {
                counter!("history_store_errors_total", "kind" => "outages").increment(1);
                warn!(%error, "history runs without the outages of feeds until their file can be used");
                None
            }
        };
        Ok(Self {
            path,
            connection: Mutex::new(connection),
            outages_max,
            deleted: counter!("history_outages_deleted_total"),
        })
    }

    fn connection(&self) -> MutexGuard<'_, Option<Connection>> {
        // A transaction that was not committed is none.
        self.connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a call on the file, which is opened again after an error.
    fn run<T>(
        &self,
        call: impl FnOnce(&mut Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let mut held = self.connection();
        let mut connection = match held.take() {
            Some(connection) => connection,
            None => connect(&self.path)?,
        };
        let result = call(&mut connection).map_err(|error| io(&self.path, error))?;
        *held = Some(connection);
        Ok(result)
    }

    /// Stores outages. One that is stored already grows or ends.
    ///
    /// # Errors
    /// If the file cannot be written: call again.
    pub(crate) fn put(&self, outages: &[Outage]) -> Result<(), StoreError> {
        let outages_max = i64::try_from(self.outages_max).unwrap_or(i64::MAX);
        let deleted = self.run(|connection| {
            let transaction = connection.transaction()?;
            let mut deleted = 0;
            for outage in outages {
                transaction.execute(
                    "INSERT INTO outage VALUES (?1, ?2, ?3, ?4) \
                     ON CONFLICT DO UPDATE SET to_ms = excluded.to_ms",
                    params![
                        outage.exchange,
                        outage.from_ms,
                        outage.to_ms,
                        outage.reason.as_str()
                    ],
                )?;
                // One exchange that comes and goes all the time costs no other one its outages.
                deleted += transaction.execute(
                    "DELETE FROM outage WHERE exchange = ?1 AND from_ms <= \
                     (SELECT from_ms FROM outage WHERE exchange = ?1 \
                      ORDER BY from_ms DESC LIMIT 1 OFFSET ?2)",
                    params![outage.exchange, outages_max],
                )?;
            }
            transaction.commit()?;
            Ok(deleted)
        })?;
        self.deleted.increment(deleted as u64);
        Ok(())
    }

    /// The outages of an exchange that have a part in `[from_ms, to_ms)`, by ascending time.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub(crate) fn of(
        &self,
        exchange: &str,
        from_ms: UnixMillis,
        to_ms: UnixMillis,
    ) -> Result<Vec<Outage>, StoreError> {
        let rows = self.run(|connection| {
            let mut rows = connection.prepare(
                "SELECT exchange, from_ms, to_ms, reason FROM outage \
                 WHERE exchange = ?1 AND from_ms < ?3 AND to_ms > ?2 AND to_ms > from_ms ORDER BY from_ms, to_ms",
            )?;
            let rows = rows.query_map(params![exchange, from_ms, to_ms], outage)?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        })?;
        Ok(rows.into_iter().flatten().collect())
    }

    /// The newest outage of each exchange.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub(crate) fn newest(&self) -> Result<Vec<Outage>, StoreError> {
        let rows = self.run(|connection| {
            // The other columns are those of the row with the maximum.
            let mut rows = connection.prepare(
                "SELECT exchange, MAX(from_ms), to_ms, reason FROM outage GROUP BY exchange",
            )?;
            let rows = rows.query_map([], outage)?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        })?;
        Ok(rows.into_iter().flatten().collect())
    }
}

/// A row of `exchange, from_ms, to_ms, reason`. None if its reason is of another version.
fn outage(row: &Row<'_>) -> rusqlite::Result<Option<Outage>> {
    let (exchange, reason): (String, String) = (row.get(0)?, row.get(3)?);
    let (from_ms, to_ms) = (row.get(1)?, row.get(2)?);
    Ok(OutageReason::parse(&reason).map(|reason| Outage {
        exchange: exchange.into(),
        from_ms,
        to_ms,
        reason,
    }))
}

fn connect(path: &Path) -> Result<Connection, StoreError> {
    let open = || {
        let connection = Connection::open(path)?;
        connection.busy_timeout(BUSY_MAX)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        if version == 0 {
            connection.execute_batch(SCHEMA)?;
        }
        Ok((connection, version))
    };
    let (connection, version) = open().map_err(|error| io(path, error))?;
    if version > SCHEMA_VERSION {
        let (file, known) = (path.to_owned(), SCHEMA_VERSION);
        return Err(StoreError::Version {
            file,
            version,
            known,
        });
    }
    Ok(connection)
}

fn io(path: &Path, error: rusqlite::Error) -> StoreError {
    StoreError::Io {
        file: path.to_owned(),
        source: Box::new(error),
    }
}

#[cfg(test)]
mod tests {
    use testkit::directory::Directory;

    use super::*;

    fn outage(exchange: &str, from_ms: i64, to_ms: i64) -> Outage {
        Outage {
            exchange: exchange.into(),
            from_ms,
            to_ms,
            reason: OutageReason::Stale,
        }
    }

    #[test]
    fn outages_grow_are_found_by_time_and_survive_a_restart() {
        let directory = Directory::new();
        let store = OutageStore::open(directory.path()).expect("a file");
        store
            .put(&[outage("okx", 10, 20), outage("binance", 15, 16)])
            .expect("room");
        store.put(&[outage("okx", 10, 30)]).expect("room");
        store.put(&[outage("okx", 50, 60)]).expect("room");
        drop(store);
        let store = OutageStore::open(directory.path()).expect("the file");
        for (from_ms, to_ms, expected) in [
            (0, 100, vec![outage("okx", 10, 30), outage("okx", 50, 60)]),
            (29, 50, vec![outage("okx", 10, 30)]),
            (30, 50, vec![]),
            (0, 10, vec![]),
        ] {
            let found = store.of("okx", from_ms, to_ms).expect("readable");
            assert_eq!(found, expected, "{from_ms} to {to_ms}");
        }
    }

    #[test]
    fn the_oldest_outages_make_room_for_new_ones() {
        let directory = Directory::new();
        let store = OutageStore::with_max(directory.path(), 3).expect("a file");
        store.put(&[outage("binance", 0, 2)]).expect("room");
        for at_ms in 0..10 {
            store.put(&[outage("okx", at_ms, at_ms + 1)]).expect("room");
        }
        assert_eq!(store.of("binance", 0, 100).expect("readable").len(), 1);
        let found = store.of("okx", 0, 100).expect("readable");
        let starts: Vec<i64> = found.iter().map(|outage| outage.from_ms).collect();
        assert_eq!(starts, [7, 8, 9]);
    }

    #[test]
    fn a_file_of_a_newer_program_is_refused() {
        let directory = Directory::new();
        let store = OutageStore::open(directory.path()).expect("a file");
        let raised = store.run(|connection| connection.pragma_update(None, "user_version", 99));
        raised.expect("writable");
        drop(store);
        let refused = OutageStore::open(directory.path()).map(drop);
        assert!(
            matches!(refused, Err(StoreError::Version { version: 99, .. })),
            "{refused:?}"
        );
    }

    #[test]
    fn a_damaged_file_is_an_error_of_its_calls_until_it_is_moved_away() {
        let directory = Directory::new();
        let path = directory.path().join(FILE_NAME);
        std::fs::write(
            &path,
            "this is no database, and it is longer than a header".repeat(9),
        )
        .expect("writable");
        let store = OutageStore::open(directory.path()).expect("history runs without it");
        assert!(store.put(&[outage("okx", 10, 20)]).is_err());
        assert!(store.of("okx", 0, 100).is_err() && store.newest().is_err());
        std::fs::remove_file(&path).expect("ours");
        store.put(&[outage("okx", 10, 20)]).expect("a new file");
        assert_eq!(store.newest().expect("readable"), [outage("okx", 10, 20)]);
    }

    #[test]
    fn the_newest_outage_of_each_exchange_is_found() {
        let directory = Directory::new();
        let store = OutageStore::open(directory.path()).expect("a file");
        let all = [
            outage("okx", 10, 20),
            outage("okx", 30, 40),
            outage("binance", 15, 16),
        ];
        store.put(&all).expect("room");
        let newest = store.newest().expect("readable");
        assert_eq!(newest, [outage("binance", 15, 16), outage("okx", 30, 40)]);
    }
}
