//! Bars and trades on a `ClickHouse` server.
//!
//! Every revision of a bar is a row, and its content is part of the sort key: a row that is written
//! twice is one row, whether the server has merged its parts or not, because a reader takes equal rows
//! for one. So each batch can be written again as a whole after any failure. How far a stream is
//! stored is written after its rows.

mod bars;
mod binary;
mod books;
mod catalog;
mod layout;
mod refusal;
mod schema;
#[cfg(test)]
mod tests;
mod trades;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use market_core::UnixMillis;
use reqwest::Method;

use self::binary::Reader;
use self::schema::quoted;
use super::remote::{Answer, Call, Purpose, RemoteClient};
use super::{Range, RemoteOptions, RemoteUrl, StoreError, Watermark};
use crate::block::BlockError;

/// The ports of HTTP and HTTPS unless the URL has one.
const PORTS: (u16, u16) = (8_123, 8_443);
/// Rows of one request that writes.
const INSERT_ROWS_MAX: usize = 10_000;
/// Rows of one request that reads.
const READ_ROWS_MAX: usize = 10_000;
/// From 1970 to the end of 2299, where `DateTime64` ends.
const TIMES_MS: std::ops::Range<UnixMillis> = 0..10_413_792_000_000;

/// What the server does with a question that finds too much or takes too long: it may end the answer
/// there as if it were whole.
const CUTTING: [&str; 8] = [
    "timeout_overflow_mode",
    "result_overflow_mode",
    "read_overflow_mode",
    "group_by_overflow_mode",
    "sort_overflow_mode",
    "distinct_overflow_mode",
    "set_overflow_mode",
    "join_overflow_mode",
];

/// A database of a `ClickHouse` server. Several histories may write to one.
#[derive(Debug)]
pub struct ClickHouseStore {
    client: RemoteClient,
    is_read_only: bool,
    /// Days after which the server itself deletes rows: of bars and of trades.
    ttl_days: schema::TtlDays,
    /// Whether the tables are there.
    is_prepared: AtomicBool,
    /// Locked while they are made.
    preparing: Mutex<()>,
    /// Whether there is any row: a position needs one.
    has_rows: AtomicBool,
    /// Whether the user may not change the settings of a question.
    has_fixed_settings: AtomicBool,
}

impl ClickHouseStore {
    /// Knows the server, and makes the tables if the server is there; otherwise they are made by the
    /// first call that it answers.
    ///
    /// # Errors
    /// `Address` if the URL has other options than `ttl_klines_days`, `ttl_trades_days` and
    /// `ttl_books_days`; `Refused`
    /// or `ServerVersion` if the server answers so.
    pub fn open(url: &RemoteUrl, options: RemoteOptions) -> Result<Self, StoreError> {
        let store = Self {
            client: RemoteClient::new(url, PORTS, options)?,
            is_read_only: options.is_read_only,
            ttl_days: schema::TtlDays::of(url.options())?,
            is_prepared: AtomicBool::new(false),
            preparing: Mutex::new(()),
            has_rows: AtomicBool::new(false),
            has_fixed_settings: AtomicBool::new(false),
        };
        match store.prepare() {
            Err(error) if !error.is_retryable() => Err(error),
            _ => Ok(store),
        }
    }

    /// A table of the database, as SQL names it.
    fn table(&self, name: &str) -> String {
        format!("`{}`.{name}", self.client.url().database())
    }

    /// Makes the tables unless they are there.
    fn prepare(&self) -> Result<(), StoreError> {
        if self.is_prepared.load(Ordering::Acquire) {
            return Ok(());
        }
        let _one = self
            .preparing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if !self.is_prepared.load(Ordering::Acquire) {
            let run = |sql: &str| self.run(sql, Purpose::Write).map(|answer| answer.body);
            let server = schema::Server {
                name: self.client.name(),
                database: self.client.url().database(),
                run: &run,
            };
            match self.is_read_only {
                true => server.look()?,
                false => server.migrate(self.ttl_days)?,
            }
            self.is_prepared.store(true, Ordering::Release);
        }
        Ok(())
    }

    /// Somebody has deleted the tables: they are made again.
    fn forget_tables(&self) {
        self.is_prepared.store(false, Ordering::Release);
        self.has_rows.store(false, Ordering::Relaxed);
    }

    fn post(
        &self,
        query: &[(&str, &str)],
        body: Bytes,
        purpose: Purpose,
        is_insert: bool,
    ) -> Result<Answer, StoreError> {
        let answer = self.client.send(&Call {
            method: Method::POST,
            path: "/",
            query,
            headers: &[("content-type", "application/octet-stream")],
            body,
            purpose,
        })?;
        let code = answer.header("x-clickhouse-exception-code");
        if answer.is_success() && code.is_none_or(|code| code == "0") {
            // A proxy or a portal says success with a page of its own, which may be empty.
            return match answer.has_header_of("x-clickhouse-") {
                true => Ok(answer),
                false => Err(self.client.away(
                    "it answers, and not as ClickHouse does: a proxy must pass on the headers X-ClickHouse-*",
                )),
            };
        }
        let (error, is_table_gone) = refusal::error_of(&self.client, &answer, is_insert);
        if is_table_gone {
            self.forget_tables();
        } else if is_insert && matches!(error, StoreError::Refused { .. }) {
            // Somebody may have changed them: the next call looks.
            self.is_prepared.store(false, Ordering::Release);
        }
        Err(error)
    }

    /// Runs a statement, before the tables are there, too.
    fn run(&self, sql: &str, purpose: Purpose) -> Result<Answer, StoreError> {
        let query = [("wait_end_of_query", "1")];
        self.post(
            &query,
            Bytes::copy_from_slice(sql.as_bytes()),
            purpose,
            false,
        )
    }

    /// The rows of a question, in the format `RowBinary`. The server ends a question that takes too long
    /// or finds too much by itself, and says so.
    fn ask(&self, sql: &str, purpose: Purpose) -> Result<Bytes, StoreError> {
        self.prepare()?;
        if !self.has_fixed_settings.load(Ordering::Acquire) {
            let seconds = self.client.timeout(purpose).mul_f64(0.9).as_secs().max(1);
            let bytes = self.client.answer_bytes_max();
            let modes = CUTTING.map(|name| format!(", {name} = 'throw'")).concat();
            let sql = format!(
                "{sql} SETTINGS max_execution_time = {seconds}, max_result_bytes = {bytes}{modes} FORMAT RowBinary"
            );
            match self.run(&sql, purpose) {
                Err(StoreError::Refused { reason, .. }) if refusal::is_of_settings(&reason) => {
                    self.check_uncut(purpose)?;
                    self.has_fixed_settings.store(true, Ordering::Release);
                }
                answer => return answer.map(|answer| answer.body),
            }
        }
        let sql = format!("{sql} FORMAT RowBinary");
        self.run(&sql, purpose).map(|answer| answer.body)
    }

    /// Refuses settings of the user with which an answer that is cut counts as a whole one.
    fn check_uncut(&self, purpose: Purpose) -> Result<(), StoreError> {
        let names = CUTTING.map(quoted).join(", ");
        let sql = format!(
            "SELECT name, value FROM system.settings WHERE name IN ({names}) AND value != 'throw' FORMAT TabSeparatedRaw"
        );
        let answer = self.run(&sql, purpose)?;
        let cutting = String::from_utf8_lossy(&answer.body);
        let cutting = cutting.replace('\t', " = ").replace('\n', ", ");
        match cutting.trim_end_matches(", ") {
            "" => Ok(()),
            cutting => Err(StoreError::Refused {
                store: self.client.name().into(),
                reason: format!(
                    "its user may not change settings, and these cut answers without a word: {cutting}"
                ),
            }),
        }
    }

    /// Reads each row of an answer.
    fn rows<T>(
        &self,
        bytes: &[u8],
        mut read: impl FnMut(&mut Reader<'_>) -> Option<T>,
    ) -> Result<Vec<T>, StoreError> {
        let mut reader = Reader::new(bytes);
        let mut rows = Vec::new();
        while !reader.is_empty() {
            let row = read(&mut reader);
            rows.push(row.ok_or_else(|| self.unreadable())?);
        }
        Ok(rows)
    }

    /// The server holds rows that this program did not write.
    fn unreadable(&self) -> StoreError {
        StoreError::Refused {
            store: self.client.name().into(),
            reason: "a row of the tables cannot be read: it was not written by this program"
                .to_owned(),
        }
    }

    /// Writes rows, in the format `RowBinary`.
    fn insert(&self, table: &str, columns: &str, rows: Vec<u8>) -> Result<(), StoreError> {
        self.prepare()?;
        let table = self.table(table);
        // A batch may reach over many months, and is on disk when the server has answered.
        let sql = format!(
            "INSERT INTO {table} ({columns}) SETTINGS max_partitions_per_insert_block = 0, async_insert = 0 FORMAT RowBinary"
        );
        let query = [("query", sql.as_str()), ("wait_end_of_query", "1")];
        let answer = self.post(&query, rows.into(), Purpose::Write, true)?;
        match answer.body.is_empty() {
            true => Ok(()),
            // A proxy says success with a page of its own.
            false => Err(self.client.away("it answers, and not as ClickHouse does")),
        }
    }

    /// Writes how far a stream is stored, after its rows.
    fn put_watermark(&self, watermark: Option<&Watermark>, rows: usize) -> Result<(), StoreError> {
        if rows > 0 {
            self.has_rows.store(true, Ordering::Relaxed);
        }
        let Some(watermark) = watermark else {
            return Ok(());
        };
        if !self.has_rows.load(Ordering::Relaxed) {
            if !self.has_any_row()? {
                return Err(StoreError::Empty);
            }
            self.has_rows.store(true, Ordering::Relaxed);
        }
        let mut row = Vec::new();
        binary::put_text(&mut row, &watermark.stream);
        row.extend(watermark.position.to_le_bytes());
        self.insert(schema::WATERMARKS, "stream, position", row)
    }
}

/// An instant as SQL writes it.
fn instant(at_ms: UnixMillis) -> String {
    format!("fromUnixTimestamp64Milli({at_ms}, 'UTC')")
}

/// Refuses the time of a row that the tables cannot hold.
fn check_time(at_ms: UnixMillis) -> Result<(), StoreError> {
    let reason = "the time of a row is not in the years 1970 to 2299";
    match TIMES_MS.contains(&at_ms) {
        true => Ok(()),
        false => Err(StoreError::Rows(BlockError::Unstorable(reason))),
    }
}

/// The span of a range within the times that the tables can hold.
fn span_of(range: &Range) -> (UnixMillis, UnixMillis) {
    (
        range.from_ms.max(TIMES_MS.start),
        range.to_ms.min(TIMES_MS.end),
    )
}
