//! An `InfluxDB` server as the store.
//!
//! It speaks line protocol over `/write` and `InfluxQL` over `/query`.
//!
//! | measurement | has |
//! |---|---|
//! | `market_klines` | the current revision of each bar, at its start |
//! | `market_kline_revisions` | the other revisions, in the millisecond of its start |
//! | `market_trades` | trades, at `ms * 1,000,000 + first id mod 1,000,000` nanoseconds |
//! | `klinecast_watermarks` | how far streams are stored, a point for each stream and day |
//!
//! Tags are the venue, the symbol and the timeframe, and nothing else: a revision, a trade and a
//! stream make no series of their own. The field `row` has the whole row as exact text; the doubles
//! beside it are for charts, and are never read here.
//!
//! A point of the same series and time replaces the one before. So an append reads what is stored of
//! its bars first, and writes what is new: the superseded revision before the current one, and the
//! watermark last. One program writes to a database.

mod answer;
mod catalog;
mod marks;
mod merge;
mod point;
mod policy;
mod question;
mod read;
#[cfg(test)]
mod tests;
mod write;
mod writer;

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use market_core::{Trade, UnixMillis};
use metrics::{Counter, counter};
use reqwest::Method;

use super::remote::{Answer, Call, Purpose, RemoteClient};
use super::{
    BarSeries, BarStore, BookStore, Instrument, Page, Range, RemoteOptions, RemoteUrl, StoreError,
    TradeStore, Watermark,
};
use crate::block::BlockError;
use answer::Statement;
use market_core::BarRow;
use writer::Mark;

/// The port of `InfluxDB`, with and without TLS.
const PORT: u16 = 8_086;

/// What a server without room says.
const FULL: [&str; 4] = [
    "no space left",
    "max-series-per-database",
    "max-values-per-tag",
    "cache-max-memory-size exceeded",
];

/// A database of an `InfluxDB` server.
///
/// There is one writer: calls that append wait for each other. Calls that read never wait.
#[derive(Debug)]
pub struct InfluxStore {
    client: RemoteClient,
    /// The retention policy of all measurements; the database's default one without.
    retention_policy: Option<String>,
    /// Held by a call that appends. Positions that were stored or read.
    writer: Mutex<BTreeMap<Box<str>, Mark>>,
    /// Some row was stored, or found.
    has_rows: AtomicBool,
    collided: Counter,
    expired: Counter,
}

impl InfluxStore {
    /// Makes a store. Nothing is sent yet: a server that is away is no error.
    ///
    /// # Errors
    /// `Address` for an option in the URL that there is none of.
    pub fn new(url: &RemoteUrl, options: RemoteOptions) -> Result<Self, StoreError> {
        let mut retention_policy = None;
        for (name, value) in url.options() {
            match name.as_str() {
                "rp" if !value.is_empty() => retention_policy = Some(value.clone()),
                _ => {
                    return Err(StoreError::Address(
                        "the one option of an influxdb:// URL is rp, the name of a retention policy",
                    ));
                }
            }
        }
        Ok(Self {
            client: RemoteClient::new(url, (PORT, PORT), options)?,
            retention_policy,
            writer: Mutex::default(),
            has_rows: AtomicBool::new(false),
            collided: counter!("history_store_trades_collided_total"),
            expired: counter!("history_store_rows_expired_total"),
        })
    }

    fn writer(&self) -> MutexGuard<'_, BTreeMap<Box<str>, Mark>> {
        // Each change leaves a whole value.
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refused(&self, reason: impl Into<String>) -> StoreError {
        StoreError::Refused {
            store: self.client.name().into(),
            reason: reason.into(),
        }
    }

    /// An answer that is no success as an error.
    fn fault(&self, answer: &Answer) -> StoreError {
        let reason = answer.reason();
        if FULL.iter().any(|text| reason.contains(text)) {
            return StoreError::ServerFull {
                store: self.client.name().into(),
                reason,
            };
        }
        match answer.status {
            429 | 500.. => self.client.away(reason),
            _ => self.refused(format!("status {}: {reason}", answer.status)),
        }
    }

    /// The parameters of every request.
    fn parameters<'a>(&'a self, more: [(&'a str, &'a str); 1]) -> Vec<(&'a str, &'a str)> {
        let mut parameters = vec![("db", self.client.url().database())];
        parameters.extend(more);
        parameters.extend(self.retention_policy.as_deref().map(|name| ("rp", name)));
        parameters
    }

    /// Asks statements, and returns an answer for each. Times are in nanoseconds. Nothing is stored
    /// in a database that does not exist.
    fn ask(&self, statements: &[String], purpose: Purpose) -> Result<Vec<Statement>, StoreError> {
        let asked = statements.len();
        let answer = self.client.send(&Call {
            method: Method::POST,
            path: "/query",
            query: &self.parameters([("epoch", "ns")]),
            headers: &[("content-type", "application/x-www-form-urlencoded")],
            body: question::form(&statements.join("; ")),
            purpose,
        })?;
        if !answer.is_success() {
            return Err(self.fault(&answer));
        }
        let statements = answer::statements(&answer.body);
        let mut statements = statements.map_err(|why| self.client.away(why))?;
        // An answer without results, as of a proxy, must not pass for an empty database.
        let is_fault = statements.iter().any(|statement| statement.error.is_some());
        if !is_fault && statements.len() != asked {
            let answers = statements.len();
            let why = format!("it answered {answers} of {asked} questions");
            return Err(self.client.away(why));
        }
        for statement in &mut statements {
            match statement.error.take() {
                Some(error) if error.contains("database not found") => {}
                // InfluxDB 1.6 says this alone of several statements about such a database.
                Some(error) if error.contains("not executed") => {
                    self.ask(&["SHOW MEASUREMENTS LIMIT 1".to_owned()], purpose)
                        .and_then(|probe| {
                            match probe.iter().all(|probe| probe.series.is_empty()) {
                                true => Ok(()),
                                false => Err(self.refused(error)),
                            }
                        })?;
                }
                Some(error) if error.contains("timeout") || error.contains("timed out") => {
                    return Err(self.client.away(error));
                }
                Some(error) => return Err(self.refused(error)),
                None => {}
            }
        }
        Ok(statements)
    }

    /// Refuses answers of which the server left out rows.
    fn whole(&self, statements: Vec<Statement>) -> Result<Vec<Statement>, StoreError> {
        match statements.iter().any(Statement::is_cut) {
            true => Err(self.refused("max-row-limit is too low: set it to 0")),
            false => Ok(statements),
        }
    }

    /// Sends lines, of which there are some.
    fn send_lines(&self, lines: Bytes) -> Result<Answer, StoreError> {
        self.client.send(&Call {
            method: Method::POST,
            path: "/write",
            query: &self.parameters([("precision", "ns")]),
            headers: &[("content-type", "text/plain; charset=utf-8")],
            body: lines,
            purpose: Purpose::Write,
        })
    }
}

/// A point has no lists of levels.
impl BookStore for InfluxStore {}

impl BarStore for InfluxStore {
    fn append_bars(
        &self,
        batch: &[(BarSeries, Vec<BarRow>)],
        watermark: Option<&Watermark>,
    ) -> Result<(), StoreError> {
        for (series, rows) in batch {
            for row in rows {
                point::check_bar(series, row).map_err(unstorable)?;
            }
        }
        let mut marks = self.writer();
        self.check_writer(&mut marks, watermark)?;
        self.write_bars(batch)?;
        self.put_watermark(&mut marks, watermark)
    }

    fn bars(&self, series: &BarSeries, range: &Range) -> Result<Page<BarRow>, StoreError> {
        self.read_bars(series, range)
    }

    fn revisions_between(
        &self,
        series: &BarSeries,
        from_ms: UnixMillis,
        to_ms: UnixMillis,
    ) -> Result<Vec<BarRow>, StoreError> {
        self.read_revisions(series, from_ms, to_ms)
    }

    fn last_known_after(
        &self,
        series: &BarSeries,
        before_ms: UnixMillis,
        known_after_ms: UnixMillis,
    ) -> Result<Option<UnixMillis>, StoreError> {
        self.find_known_after(series, before_ms, known_after_ms)
    }

    fn newest_start(&self, series: &BarSeries) -> Result<Option<UnixMillis>, StoreError> {
        self.find_newest_start(series)
    }

    fn check_bar(&self, series: &BarSeries, row: &BarRow) -> Result<(), StoreError> {
        point::check_bar(series, row).map_err(unstorable)
    }
}

impl TradeStore for InfluxStore {
    fn append_trades(
        &self,
        batch: &[(Instrument, Vec<Trade>)],
        watermark: Option<&Watermark>,
    ) -> Result<(), StoreError> {
        for (instrument, rows) in batch {
            point::check_names(instrument).map_err(unstorable)?;
            for row in rows {
                point::check_trade(row).map_err(unstorable)?;
            }
        }
        let mut marks = self.writer();
        self.check_writer(&mut marks, watermark)?;
        self.write_trades(batch)?;
        self.put_watermark(&mut marks, watermark)
    }

    fn trades(&self, instrument: &Instrument, range: &Range) -> Result<Page<Trade>, StoreError> {
        self.read_trades(instrument, range)
    }

    fn check_trade(&self, trade: &Trade) -> Result<(), StoreError> {
        point::check_trade(trade).map_err(unstorable)
    }
}

fn unstorable(why: &'static str) -> StoreError {
    StoreError::Rows(BlockError::Unstorable(why))
}
