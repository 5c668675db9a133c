//! The tables, and how they came about.

use bytes::Bytes;

use super::layout;
pub(super) use super::layout::{KLINES, ORDERBOOKS, TRADES, WATERMARKS, quoted};
use crate::store::{Kind, StoreError};

const VERSIONS: &str = "klinecast_schema";

/// The version that is written: an older program refuses a newer one. A table that it can do without
/// is no new version.
const VERSION: i64 = 1;
/// The newest version that is known. Its tables are those of the first one, with all additions.
const KNOWN: i64 = 2;

/// The oldest server that can have the tables and answer the questions.
const OLDEST: (u32, u32) = (21, 11);

/// What is on disk when the server says that it is. Whoever replicates the tables may change it.
const DURABLE: &str = "fsync_after_insert = 1, fsync_part_directory = 1";

/// The statements of each version. The server may have run some of them before.
fn statements(version: i64, database: &str) -> Vec<String> {
    let of = |name: &str| format!("`{database}`.{name}");
    let price = "Decimal(38, 18) CODEC(ZSTD(1))";
    let sum = "Nullable(Decimal(38, 18)) CODEC(ZSTD(1))";
    match version {
        1 => vec![
            // The partition follows from the sort key: rows that are equal meet in one.
            format!(
                "CREATE TABLE IF NOT EXISTS {} (
                    exchange LowCardinality(String), symbol LowCardinality(String), timeframe LowCardinality(String),
                    open_time DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
                    open {price}, high {price}, low {price}, close {price}, volume {price},
                    quote_volume {sum}, taker_buy_volume {sum}, taker_buy_quote_volume {sum},
                    trades Nullable(UInt64) CODEC(ZSTD(1)),
                    first_id Nullable(UInt64) CODEC(ZSTD(1)), last_id Nullable(UInt64) CODEC(ZSTD(1)),
                    event_ms Nullable(Int64) CODEC(ZSTD(1)), received_us Nullable(Int64) CODEC(ZSTD(1)),
                    rev UInt32, quality Enum8('complete' = 0, 'gap' = 1, 'backfilled' = 2, 'partial' = 3, 'filled' = 4),
                    is_imported UInt8, known_ms Int64 CODEC(DoubleDelta, ZSTD(1)),
                    content UInt64, exact String CODEC(ZSTD(1)),
                    earliest UInt64 MATERIALIZED toUInt64(9223372036854775807 - greatest(known_ms, 0))
                ) ENGINE = ReplacingMergeTree(earliest)
                PARTITION BY (timeframe, toYYYYMM(open_time))
                ORDER BY (exchange, symbol, timeframe, open_time, is_imported, rev, content)
                SETTINGS {DURABLE}",
                of(KLINES)
            ),
            format!(
                "CREATE TABLE IF NOT EXISTS {} (
                    exchange LowCardinality(String), symbol LowCardinality(String),
                    event_time DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
                    first_id UInt64 CODEC(DoubleDelta, ZSTD(1)), last_id UInt64 CODEC(DoubleDelta, ZSTD(1)),
                    price {price}, quantity {price}, aggressor_side Enum8('buy' = 1, 'sell' = 2),
                    received_us Int64 CODEC(DoubleDelta, ZSTD(1)), exact String CODEC(ZSTD(1))
                ) ENGINE = ReplacingMergeTree
                PARTITION BY toYYYYMM(event_time)
                ORDER BY (exchange, symbol, event_time, first_id)
                SETTINGS {DURABLE}",
                of(TRADES)
            ),
            format!(
                "CREATE TABLE IF NOT EXISTS {} (stream String, position UInt64)
                ENGINE = ReplacingMergeTree(position) ORDER BY stream SETTINGS {DURABLE}",
                of(WATERMARKS)
            ),
            // Each trade is a tick.
            format!(
                "CREATE VIEW IF NOT EXISTS {} AS SELECT exchange, symbol, event_time, first_id, price, quantity, aggressor_side FROM {} FINAL",
                of("market_ticks"),
                of(TRADES)
            ),
            // The revision that counts: of a bar that was joined in the middle, the venue's own whole one.
            format!(
                "CREATE VIEW IF NOT EXISTS {} AS
                SELECT exchange, symbol, timeframe, open_time,
                    bar.1 AS open, bar.2 AS high, bar.3 AS low, bar.4 AS close, bar.5 AS volume,
                    bar.6 AS quote_volume, bar.7 AS trades, bar.8 AS rev, bar.9 AS quality
                FROM (SELECT exchange, symbol, timeframe, open_time,
                        if(tupleElement(newest, 9) = 'partial' AND has_venue, venue, newest) AS bar
                    FROM (SELECT exchange, symbol, timeframe, open_time,
                            argMax(tuple(open, high, low, close, volume, quote_volume, trades, rev, quality), tuple(is_imported = 0, rev, known_ms)) AS newest,
                            argMaxIf(tuple(open, high, low, close, volume, quote_volume, trades, rev, quality), tuple(rev, known_ms), is_imported = 1 AND quality = 'complete') AS venue,
                            countIf(is_imported = 1 AND quality = 'complete') > 0 AS has_venue
                        FROM {} GROUP BY exchange, symbol, timeframe, open_time))",
                of("market_klines_current"),
                of(KLINES)
            ),
        ],
        _ => Vec::new(),
    }
}

/// The statements of tables that older programs do not know, and do not miss.
fn additions(database: &str) -> [String; 1] {
    [format!(
        "CREATE TABLE IF NOT EXISTS `{database}`.{ORDERBOOKS} (
            exchange LowCardinality(String), symbol LowCardinality(String),
            time DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1)), event_ms Nullable(Int64) CODEC(ZSTD(1)),
            update_id String CODEC(ZSTD(1)), epoch UInt64 CODEC(ZSTD(1)), seq UInt64 CODEC(DoubleDelta, ZSTD(1)),
            bids Array(Tuple(Decimal(38, 18), Decimal(38, 18))) CODEC(ZSTD(1)),
            asks Array(Tuple(Decimal(38, 18), Decimal(38, 18))) CODEC(ZSTD(1)),
            is_exact UInt8
        ) ENGINE = ReplacingMergeTree
        PARTITION BY toYYYYMM(time)
        ORDER BY (exchange, symbol, time, epoch, seq)"
    )]
}

/// After how many days the server deletes rows by itself.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct TtlDays {
    klines: Option<u32>,
    trades: Option<u32>,
    books: Option<u32>,
}

impl TtlDays {
    pub(super) fn of(options: &[(String, String)]) -> Result<Self, StoreError> {
        const WRONG: &str = "the address of ClickHouse has an option that is none: ttl_klines_days=DAYS, ttl_trades_days=DAYS and ttl_books_days=DAYS, from 1 to 100000, are";
        let mut days = Self::default();
        for (name, value) in options {
            let of = match name.as_str() {
                "ttl_klines_days" => &mut days.klines,
                "ttl_trades_days" => &mut days.trades,
                "ttl_books_days" => &mut days.books,
                _ => return Err(StoreError::Address(WRONG)),
            };
            let value = value
                .parse()
                .ok()
                .filter(|days| (1..=100_000).contains(days));
            *of = Some(value.ok_or(StoreError::Address(WRONG))?);
        }
        Ok(days)
    }

    fn each(self) -> [(Option<u32>, &'static str, &'static str); 3] {
        [
            (self.klines, KLINES, "open_time"),
            (self.trades, TRADES, "event_time"),
            (self.books, ORDERBOOKS, "time"),
        ]
    }
}

/// A server, and how statements are run on it.
pub(super) struct Server<'a> {
    /// Its address, for errors.
    pub(super) name: &'a str,
    pub(super) database: &'a str,
    pub(super) run: &'a dyn Fn(&str) -> Result<Bytes, StoreError>,
}

impl Server<'_> {
    fn text(&self, sql: &str) -> Result<String, StoreError> {
        let answer = (self.run)(&format!("{sql} FORMAT TabSeparatedRaw"))?;
        Ok(String::from_utf8_lossy(&answer).trim().to_owned())
    }

    fn number(&self, sql: &str) -> Result<i64, StoreError> {
        // A proxy or another server may answer anything with success.
        self.text(sql)?.parse().map_err(|_| StoreError::Away {
            store: self.name.into(),
            reason: "it answers, and not as ClickHouse does".to_owned(),
        })
    }

    fn refused(&self, reason: String) -> StoreError {
        let store = self.name.into();
        StoreError::Refused { store, reason }
    }

    /// Refuses a server without the types of the tables.
    fn check_version(&self) -> Result<(), StoreError> {
        let version = self.text("SELECT version()")?;
        let mut parts = version.split('.').map(|part| part.parse::<u32>().ok());
        let parts = (parts.next().flatten(), parts.next().flatten());
        let (Some(major), Some(minor)) = parts else {
            return Err(StoreError::Away {
                store: self.name.into(),
                reason: "it answers, and not as ClickHouse does".to_owned(),
            });
        };
        match (major, minor) >= OLDEST {
            true => Ok(()),
            false => Err(self.refused(format!(
                "it is ClickHouse {version}, and the oldest one that works is {}.{}",
                OLDEST.0, OLDEST.1
            ))),
        }
    }

    /// Looks at the tables that are there, and makes nothing.
    ///
    /// # Errors
    /// `Refused` if they are not there, or are not those of this program; `ServerVersion` if a newer one
    /// made them; `Away` if the answers are not those of `ClickHouse`.
    pub(super) fn look(&self) -> Result<(), StoreError> {
        self.check_version()?;
        let found = self.number(&format!(
            "SELECT count() FROM system.tables WHERE database = {} AND name IN ({}, {}, {}, {})",
            quoted(self.database),
            quoted(KLINES),
            quoted(TRADES),
            quoted(WATERMARKS),
            quoted(VERSIONS)
        ))?;
        if found < 4 {
            let database = self.database;
            return Err(self.refused(format!(
                "the database {database} has no tables of Klinecast's, and they are not made to be read"
            )));
        }
        self.tables_version().map(drop)
    }

    /// The version of the tables that are there.
    fn tables_version(&self) -> Result<i64, StoreError> {
        let database = self.database;
        let version = self.number(&format!("SELECT max(version) FROM `{database}`.{VERSIONS}"))?;
        if version > KNOWN {
            return Err(StoreError::ServerVersion {
                store: self.name.into(),
                version,
                known: KNOWN,
            });
        }
        match layout::fault(database, &|sql| self.text(sql))? {
            Some(reason) => Err(self.refused(reason)),
            None => Ok(version),
        }
    }

    /// Makes the database and the tables, or brings older ones up to date.
    ///
    /// # Errors
    /// As for [`Server::look`], but for tables that are not there.
    pub(super) fn migrate(&self, ttl_days: TtlDays) -> Result<(), StoreError> {
        self.check_version()?;
        let (database, run) = (self.database, self.run);
        let is_there = format!(
            "SELECT count() FROM system.databases WHERE name = {}",
            quoted(database)
        );
        if self.number(&is_there)? == 0 {
            run(&format!("CREATE DATABASE IF NOT EXISTS `{database}`"))?;
        }
        let versions = format!("`{database}`.{VERSIONS}");
        run(&format!(
            "CREATE TABLE IF NOT EXISTS {versions} (version UInt32, made_at DateTime DEFAULT now()) ENGINE = ReplacingMergeTree ORDER BY version"
        ))?;
        let version = self.tables_version()?;
        // Statements of the present version, too: a table may have been deleted.
        for next in 1..=VERSION {
            for statement in statements(next, database) {
                run(&statement)?;
            }
            if next > version {
                run(&format!("INSERT INTO {versions} (version) VALUES ({next})"))?;
            }
        }
        for statement in additions(database) {
            run(&statement)?;
        }
        for (days, table, column) in ttl_days.each() {
            let Some(days) = days else { continue };
            let ttl = format!("toDateTime({column}) + toIntervalDay({days})");
            let made = self.text(&format!(
                "SELECT position(create_table_query, {}) > 0 FROM system.tables WHERE database = {} AND name = {}",
                quoted(&ttl),
                quoted(database),
                quoted(table)
            ))?;
            if made != "1" {
                let table = format!("`{database}`.{table}");
                // Only rows that are written or merged from now on: a rewrite of all would take hours.
                run(&format!(
                    "ALTER TABLE {table} MODIFY TTL {ttl} SETTINGS materialize_ttl_after_modify = 0"
                ))?;
            }
        }
        Ok(())
    }
}

/// The table of a kind of rows.
pub(super) fn table_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Bars(_) => KLINES,
        Kind::Trades => TRADES,
    }
}
