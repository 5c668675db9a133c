//! What the tables must look like, whoever made them.
//!
//! Rows are written without the names of their types: into other columns they would be other rows. With
//! another sort key, revisions would be forgotten.

pub(super) const KLINES: &str = "market_klines";
pub(super) const TRADES: &str = "market_trades";
pub(super) const ORDERBOOKS: &str = "market_orderbooks";
pub(super) const WATERMARKS: &str = "klinecast_watermarks";

const TEXT: &str = "LowCardinality(String)";
const TIME: &str = "DateTime64(3, 'UTC')";
const PRICE: &str = "Decimal(38, 18)";
const SUM: &str = "Nullable(Decimal(38, 18))";
const COUNT: &str = "Nullable(UInt64)";
const SIDE: &str = "Array(Tuple(Decimal(38, 18), Decimal(38, 18)))";
const INSTANT: &str = "Nullable(Int64)";

/// A text as SQL writes it.
pub(super) fn quoted(text: &str) -> String {
    let mut sql = String::with_capacity(text.len() + 2);
    sql.push('\'');
    for char in text.chars() {
        if matches!(char, '\'' | '\\') {
            sql.push('\\');
        }
        sql.push(char);
    }
    sql.push('\'');
    sql
}

/// A table.
struct Layout {
    table: &'static str,
    sort_key: &'static str,
    partition: &'static str,
    /// Names and types. A table may have more.
    columns: &'static [(&'static str, &'static str)],
}

const LAYOUTS: [Layout; 4] = [
    Layout {
        table: KLINES,
        sort_key: "exchange, symbol, timeframe, open_time, is_imported, rev, content",
        partition: "(timeframe, toYYYYMM(open_time))",
        columns: &[
            ("exchange", TEXT),
            ("symbol", TEXT),
            ("timeframe", TEXT),
            ("open_time", TIME),
            ("open", PRICE),
            ("high", PRICE),
            ("low", PRICE),
            ("close", PRICE),
            ("volume", PRICE),
            ("quote_volume", SUM),
            ("taker_buy_volume", SUM),
            ("taker_buy_quote_volume", SUM),
            ("trades", COUNT),
            ("first_id", COUNT),
            ("last_id", COUNT),
            ("event_ms", INSTANT),
            ("received_us", INSTANT),
            ("rev", "UInt32"),
            (
                "quality",
                "Enum8('complete' = 0, 'gap' = 1, 'backfilled' = 2, 'partial' = 3, 'filled' = 4)",
            ),
            ("is_imported", "UInt8"),
            ("known_ms", "Int64"),
            ("content", "UInt64"),
            ("exact", "String"),
            ("earliest", "UInt64"),
        ],
    },
    Layout {
        table: TRADES,
        sort_key: "exchange, symbol, event_time, first_id",
        partition: "toYYYYMM(event_time)",
        columns: &[
            ("exchange", TEXT),
            ("symbol", TEXT),
            ("event_time", TIME),
            ("first_id", "UInt64"),
            ("last_id", "UInt64"),
            ("price", PRICE),
            ("quantity", PRICE),
            ("aggressor_side", "Enum8('buy' = 1, 'sell' = 2)"),
            ("received_us", "Int64"),
            ("exact", "String"),
        ],
    },
    Layout {
        table: ORDERBOOKS,
        sort_key: "exchange, symbol, time, epoch, seq",
        partition: "toYYYYMM(time)",
        columns: &[
            ("exchange", TEXT),
            ("symbol", TEXT),
            ("time", TIME),
            ("event_ms", INSTANT),
            ("update_id", "String"),
            ("epoch", "UInt64"),
            ("seq", "UInt64"),
            ("bids", SIDE),
            ("asks", SIDE),
            ("is_exact", "UInt8"),
        ],
    },
    Layout {
        table: WATERMARKS,
        sort_key: "stream",
        partition: "",
        columns: &[("stream", "String"), ("position", "UInt64")],
    },
];

/// Compares the tables that are there with what is written to them. `ask` gives the text of an answer.
///
/// The answer is what is wrong.
pub(super) fn fault<E>(
    database: &str,
    ask: &dyn Fn(&str) -> Result<String, E>,
) -> Result<Option<String>, E> {
    for layout in &LAYOUTS {
        let table = layout.table;
        let of = format!("database = {}", quoted(database));
        let engine = ask(&format!(
            "SELECT concat(engine, ' PARTITION BY ', partition_key, ' ORDER BY ', sorting_key) FROM system.tables WHERE {of} AND name = {}",
            quoted(table)
        ))?;
        if engine.is_empty() {
            continue;
        }
        let wanted = format!(
            "ReplacingMergeTree PARTITION BY {} ORDER BY {}",
            layout.partition, layout.sort_key
        );
        // Replicated ones are as good.
        if !engine.ends_with(&wanted) {
            return Ok(Some(format!(
                "its table {table} is {engine}, and must be {wanted}: use another database"
            )));
        }
        let columns = ask(&format!(
            "SELECT concat(name, ' ', type) FROM system.columns WHERE {of} AND table = {}",
            quoted(table)
        ))?;
        for (name, kind) in layout.columns {
            let column = format!("{name} {kind}");
            if !columns.lines().any(|line| line == column) {
                return Ok(Some(format!(
                    "its table {table} must have the column {column}: use another database"
                )));
            }
        }
    }
    Ok(None)
}
