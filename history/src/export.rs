//! `history export`: bars and trades into files.

mod format;
mod output;
mod parquet;
mod sink;

use std::io;
use std::path::PathBuf;

use clap::Args;
use market_core::{BarState, Symbol, UnixMillis};

use crate::Width;
use crate::api::arrow::Column;
use crate::api::format::{Bars, Format, Trades};
use crate::api::time;
use crate::catalog::SeriesIndex;
use crate::offline::{OpenError, StoreArgs};
use crate::range::{self, BarQuery, RangeError};
use crate::store::{Instrument, Order, Range, Store, StoreError};

pub use format::ExportFormat;

use output::Output;
use sink::Sink;

/// Rows that are read and written at once.
const PAGE_ROWS: usize = 10_000;
/// Where a range without an end ends: the first instant of the year 10000.
const TIME_MAX_MS: UnixMillis = 253_402_300_800_000;

/// Writes stored bars of any width, or trades, into a file.
///
/// Memory does not depend on the number of rows. A file has its name only when it is complete.
#[derive(Args, Clone, Debug)]
pub struct ExportArgs {
    #[command(flatten)]
    store: StoreArgs,

    /// Venue of the rows, such as binance
    #[arg(long, value_name = "NAME")]
    exchange: String,

    /// Symbol of the rows, such as BTC-USDT
    #[arg(long, value_name = "SYMBOL")]
    symbol: Symbol,

    /// Width of the bars: 1s, 1m, 7m, 4h, 1d, 2w, 3M and any other that stored ones make
    #[arg(long, default_value = "1m", value_name = "WIDTH")]
    width: Width,

    /// Trades instead of bars
    #[arg(long, conflicts_with_all = ["width", "flat", "as_of"])]
    trades: bool,

    /// First instant of the range: unix milliseconds, 2026-03-01, or 2026-03-01T12:00:00Z [default: the first row]
    #[arg(long, value_name = "TIME", value_parser = time::parse)]
    from: Option<UnixMillis>,

    /// First instant after the range [default: now]
    #[arg(long, value_name = "TIME", value_parser = time::parse)]
    to: Option<UnixMillis>,

    /// Bars as they were known at this time, without later revisions
    #[arg(long, value_name = "TIME", value_parser = time::parse)]
    as_of: Option<UnixMillis>,

    /// Also the flat bars of intervals without trades
    #[arg(long)]
    flat: bool,

    /// How rows are written: arrow is the IPC stream; decimals are exact text in csv, ndjson and arrow, and DECIMAL(38, 18) in parquet
    #[arg(long, value_enum, default_value = "csv")]
    format: ExportFormat,

    /// The file; - is standard output
    #[arg(long, default_value = "-", value_name = "FILE")]
    output: PathBuf,
}

/// Why an export failed.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// There is no store.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No such bars.
    #[error(transparent)]
    Range(#[from] RangeError),
    /// Nothing can be written.
    #[error("failed to write {}: {source}", file.display())]
    Write {
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl ExportError {
    /// Whether the reader of our output has gone, as `head` does.
    #[must_use]
    pub fn is_reader_gone(&self) -> bool {
        matches!(self, Self::Write { source, .. } if source.kind() == io::ErrorKind::BrokenPipe)
    }
}

/// Writes the rows, and returns their number.
///
/// # Errors
/// See [`ExportError`]. No file is left behind then.
pub fn run(args: &ExportArgs) -> Result<u64, ExportError> {
    let store = args.store.open_existing()?;
    let failed = |source| ExportError::Write {
        file: args.output.clone(),
        source,
    };
    let output = Output::create(&args.output).map_err(failed)?;
    let mut sink = Sink::new(args.format, output);
    let rows = if args.trades {
        write_trades(args, &*store, &mut sink)?
    } else {
        write_bars(args, &*store, &mut sink)?
    };
    sink.finish().map_err(failed)?;
    Ok(rows)
}

fn instrument(args: &ExportArgs) -> Instrument {
    Instrument {
        exchange: args.exchange.as_str().into(),
        symbol: args.symbol.clone(),
    }
}

/// How the rows of a page are written: as text, or as columns.
fn put(
    args: &ExportArgs,
    sink: &mut Sink,
    text: impl Fn(Format) -> Vec<u8>,
    columns: impl Fn() -> Vec<Column>,
    rows: usize,
) -> Result<(), ExportError> {
    let put = match args.format {
        ExportFormat::Csv => sink.csv(&text(Format::Csv)),
        ExportFormat::Ndjson => sink.text(&text(Format::Ndjson)),
        ExportFormat::Parquet | ExportFormat::Arrow => sink.columns(&columns(), rows),
    };
    put.map_err(|source| ExportError::Write {
        file: args.output.clone(),
        source,
    })
}

fn write_bars(args: &ExportArgs, store: &dyn Store, sink: &mut Sink) -> Result<u64, ExportError> {
    let instrument = instrument(args);
    let index = SeriesIndex::of(store)?;
    let stored = index.stored_bars(&instrument);
    let mut query = BarQuery {
        instrument,
        width: args.width,
        from_ms: args.from,
        to_ms: args.to,
        limit: PAGE_ROWS,
        order: Order::Ascending,
        has_flat_bars: args.flat,
        as_of_ms: args.as_of,
        known_after_ms: None,
        cursor: None,
    };
    let mut count = 0u64;
    loop {
        let page = range::bars(store, &stored, &query)?;
        count = count.saturating_add(page.bars.len() as u64);
        let bars = Bars {
            instrument: &query.instrument,
            width: args.width,
            rows: page
                .bars
                .iter()
                .map(|row| (row, BarState::Closed))
                .collect(),
            next: None,
            token: None,
            is_venue_lacking: false,
        };
        put(
            args,
            sink,
            |format| bars.write(format),
            || bars.columns(),
            page.bars.len(),
        )?;
        let Some(next) = page.next else {
            return Ok(count);
        };
        query.cursor = Some(next);
    }
}

fn write_trades(args: &ExportArgs, store: &dyn Store, sink: &mut Sink) -> Result<u64, ExportError> {
    let instrument = instrument(args);
    let (from, to) = (args.from.unwrap_or(0), args.to.unwrap_or(TIME_MAX_MS));
    let mut range = Range::new(from, to, PAGE_ROWS);
    let mut count = 0u64;
    loop {
        let page = store.trades(&instrument, &range)?;
        count = count.saturating_add(page.rows.len() as u64);
        let trades = Trades {
            instrument: &instrument,
            rows: &page.rows,
            next: None,
        };
        put(
            args,
            sink,
            |format| trades.write(format),
            || trades.columns(),
            page.rows.len(),
        )?;
        let Some(next) = page.next else {
            return Ok(count);
        };
        range.cursor = Some(next);
    }
}
