//! `history import`: bars and trades from files.

mod line;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use market_core::{BarRow, Symbol, Timeframe, Trade};
use service::wall_clock_ms;
use venue_files::Lines;

use crate::offline::{OpenError, StoreArgs};
use crate::store::{BarSeries, Instrument, Store, StoreError, Watermark};

use line::{Reader, Row};

/// How often the progress is told.
const PROGRESS_EVERY: Duration = Duration::from_secs(5);
/// The most bad lines that are printed; the others are counted.
const BAD_LINES_TOLD_MAX: u64 = 20;
/// Bytes at each end of a file that tell it from another one of its name and length.
const FINGERPRINT_BYTES: u64 = 64 * 1024;

/// Reads bars and trades from files into the store.
///
/// It takes klines (CSV with or without a header), trades and aggregate trades as Binance publishes them, plain, gzip or zip; bars as the REST APIs of Binance, Coinbase and OKX give them, a row or a page on a line; captures of Binance's trade frames with receive times; and bars as JSON lines, which `marketdata replay` makes of the captures of any venue. The same command continues where an earlier one was interrupted. Rows that are stored already change nothing.
#[derive(Args, Clone, Debug)]
pub struct ImportArgs {
    #[command(flatten)]
    store: StoreArgs,

    /// Venue of the rows, such as binance
    #[arg(long, value_name = "NAME", value_parser = exchange_name)]
    exchange: String,

    /// Symbol of the rows, such as BTC-USDT
    #[arg(long, value_name = "SYMBOL")]
    symbol: Symbol,

    /// Timeframe of bars, such as 1m; only needed where a file does not tell it
    #[arg(long, value_name = "TIMEFRAME")]
    width: Option<Timeframe>,

    /// Count lines that cannot be read, and go on; otherwise the first one ends the import
    #[arg(long)]
    skip_bad_lines: bool,

    /// Read files from their beginning, also where they were imported before: to fill what was deleted
    #[arg(long)]
    again: bool,

    /// Rows that are stored in one transaction; memory grows with them
    #[arg(long, default_value_t = 50_000, value_name = "ROWS", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    batch_rows: u32,

    /// Files to read, in this order; - is standard input, which cannot be continued
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

fn exchange_name(text: &str) -> Result<String, &'static str> {
    let is_name = !text.is_empty()
        && text.len() <= 32
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    if is_name {
        Ok(text.to_owned())
    } else {
        Err("write a venue in lower case, such as binance")
    }
}

/// Why an import ended early. The rows that it stored stay, and the same command continues.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// There is no store.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A file cannot be read.
    #[error("failed to read {}: {source}", file.display())]
    Read {
        /// Its name.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A line that cannot be read.
    #[error(
        "line {line} of {} {why}: {text:?}; correct the line, or leave it out with --skip-bad-lines",
        file.display()
    )]
    Line {
        /// The file.
        file: PathBuf,
        /// Counted from 1.
        line: u64,
        /// What is wrong.
        why: String,
        /// Its beginning.
        text: String,
    },
    /// The store did not take rows.
    #[error("{source}; then run the same command again: it goes on at line {line} of {}", file.display())]
    Store {
        /// What happened, and what to do.
        source: StoreError,
        /// The file.
        file: PathBuf,
        /// The first line that is not stored.
        line: u64,
    },
}

/// What an import did.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct ImportSummary {
    /// Bars that were handed to the store.
    pub bars: u64,
    /// Trades that were handed to the store.
    pub trades: u64,
    /// Lines that an earlier import had stored.
    pub lines_before: u64,
    /// Lines of other symbols and of other kinds, headers, and bars that are not closed yet.
    pub lines_left_out: u64,
    /// Lines that could not be read.
    pub bad_lines: u64,
}

impl std::fmt::Display for ImportSummary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} bars, {} trades; {} lines were stored before, {} left out, {} bad",
            self.bars, self.trades, self.lines_before, self.lines_left_out, self.bad_lines
        )
    }
}

/// Imports the files one after another. Progress goes to `progress`, a line each time.
///
/// # Errors
/// See [`ImportError`].
pub fn run(
    args: &ImportArgs,
    mut progress: impl FnMut(&str),
) -> Result<ImportSummary, ImportError> {
    let store = args.store.open()?;
    let mut summary = ImportSummary::default();
    for file in &args.files {
        import_file(args, &*store, file, &mut summary, &mut progress)?;
    }
    store.compact().map_err(|source| ImportError::Store {
        source,
        file: args.files.last().cloned().unwrap_or_default(),
        line: 1,
    })?;
    Ok(summary)
}

/// Rows that wait for their transaction.
#[derive(Default)]
struct Batch {
    bars: BTreeMap<Timeframe, Vec<BarRow>>,
    trades: Vec<Trade>,
    rows: usize,
}

impl Batch {
    fn store(
        &mut self,
        args: &ImportArgs,
        store: &dyn Store,
        watermark: Option<&Watermark>,
    ) -> Result<(), StoreError> {
        let instrument = Instrument {
            exchange: args.exchange.as_str().into(),
            symbol: args.symbol.clone(),
        };
        let batch = std::mem::take(self);
        let bars: Vec<_> = batch
            .bars
            .into_iter()
            .map(|(timeframe, rows)| {
                let instrument = instrument.clone();
                let series = BarSeries {
                    instrument,
                    timeframe,
                };
                (series, rows)
            })
            .collect();
        // The watermark stands for all rows, so it comes with the last ones.
        let with_trades = watermark.filter(|_| bars.is_empty());
        if !batch.trades.is_empty() {
            store.append_trades(&[(instrument, batch.trades)], with_trades)?;
        }
        if !bars.is_empty() {
            store.append_bars(&bars, watermark)?;
        }
        Ok(())
    }
}

/// A file, and how far it is stored.
struct Import<'a> {
    args: &'a ImportArgs,
    store: &'a dyn Store,
    file: &'a Path,
    /// Under which name the store keeps the position.
    stream: Option<String>,
    /// The last line whose rows are stored.
    stored: u64,
    batch: Batch,
    rows: u64,
    began: Instant,
}

impl Import<'_> {
    fn failed(&self, source: StoreError) -> ImportError {
        ImportError::Store {
            source,
            file: self.file.to_owned(),
            line: self.stored.saturating_add(1),
        }
    }

    /// Stores what waits: all rows up to a line.
    fn flush(&mut self, line: u64) -> Result<(), ImportError> {
        if self.batch.rows == 0 {
            return Ok(());
        }
        self.rows = self.rows.saturating_add(self.batch.rows as u64);
        let watermark = self.stream.as_deref().map(|stream| Watermark {
            stream: stream.into(),
            position: line,
        });
        let stored = self.batch.store(self.args, self.store, watermark.as_ref());
        stored.map_err(|error| self.failed(error))?;
        self.stored = line;
        Ok(())
    }

    fn progress(&self, done: &AtomicU64, bytes: Option<u64>) -> String {
        let rate = self.rows as f64 / self.began.elapsed().as_secs_f64().max(1e-3);
        let done = done.load(Ordering::Relaxed);
        let part = match bytes {
            Some(bytes) if bytes > 0 => {
                let percent = done.min(bytes).saturating_mul(100) / bytes;
                format!("{percent}% of {bytes} bytes")
            }
            _ => format!("{done} bytes"),
        };
        let (file, rows) = (self.file.display(), self.rows);
        format!("{file}: {rows} rows, {rate:.0} rows/s, {part}")
    }
}

fn import_file(
    args: &ImportArgs,
    store: &dyn Store,
    file: &Path,
    summary: &mut ImportSummary,
    progress: &mut impl FnMut(&str),
) -> Result<(), ImportError> {
    let read = |source| ImportError::Read {
        file: file.to_owned(),
        source,
    };
    let mut import = Import {
        args,
        store,
        file,
        stream: stream_of(args, file).map_err(read)?,
        stored: 0,
        batch: Batch::default(),
        rows: 0,
        began: Instant::now(),
    };
    if let Some(stream) = import.stream.as_ref().filter(|_| !args.again) {
        let stored = store.watermark(stream);
        import.stored = stored.map_err(|error| import.failed(error))?.unwrap_or(0);
    }
    let before = import.stored;
    let opened = venue_files::open(file).map_err(read)?;
    let mut lines = Lines::new(opened.reader);
    let mut reader = Reader::new(&args.exchange, &args.symbol, args.width, wall_clock_ms());
    let batch_rows = usize::try_from(args.batch_rows).unwrap_or(usize::MAX);
    let mut told = Instant::now();
    while lines.advance().map_err(read)? {
        if lines.number() <= before {
            // The first line may name the columns.
            if lines.number() == 1 {
                reader.see_header(lines.line());
            }
            summary.lines_before += 1;
            continue;
        }
        match reader.read(lines.line()) {
            Ok(Row::Bar(timeframe, bar)) => {
                import.batch.bars.entry(timeframe).or_default().push(bar);
                import.batch.rows += 1;
                summary.bars += 1;
            }
            Ok(Row::Page(page)) => {
                summary.lines_left_out += u64::from(page.is_empty());
                summary.bars += page.len() as u64;
                import.batch.rows += page.len();
                for (timeframe, bar) in page {
                    import.batch.bars.entry(timeframe).or_default().push(bar);
                }
            }
            Ok(Row::Trade(trade)) => {
                import.batch.trades.push(trade);
                import.batch.rows += 1;
                summary.trades += 1;
            }
            Ok(Row::LeftOut) => summary.lines_left_out += 1,
            Err(why) => {
                let bad = ImportError::Line {
                    file: file.to_owned(),
                    line: lines.number(),
                    why,
                    text: lines.line().chars().take(80).collect(),
                };
                if !args.skip_bad_lines {
                    import.flush(lines.number() - 1)?;
                    return Err(bad);
                }
                summary.bad_lines += 1;
                if summary.bad_lines <= BAD_LINES_TOLD_MAX {
                    progress(&bad.to_string());
                }
            }
        }
        if import.batch.rows >= batch_rows {
            import.flush(lines.number())?;
            if told.elapsed() >= PROGRESS_EVERY {
                told = Instant::now();
                progress(&import.progress(&opened.done, opened.bytes));
            }
        }
    }
    import.flush(lines.number())?;
    progress(&import.progress(&opened.done, opened.bytes));
    Ok(())
}

/// The name under which the store keeps how far a file was read: a file that has changed is read
/// again. `None` for standard input.
fn stream_of(args: &ImportArgs, file: &Path) -> io::Result<Option<String>> {
    if file.as_os_str() == "-" {
        return Ok(None);
    }
    let mut content = File::open(file)?;
    let bytes = content.metadata()?.len();
    let mut hash = crc32fast::Hasher::new();
    for from in [0, bytes.saturating_sub(FINGERPRINT_BYTES)] {
        content.seek(SeekFrom::Start(from))?;
        let mut part = Vec::new();
        Read::by_ref(&mut content)
            .take(FINGERPRINT_BYTES)
            .read_to_end(&mut part)?;
        hash.update(&part);
    }
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let width = args.width.map(|width| width.to_string());
    Ok(Some(format!(
        "import:{}:{}:{}:{name}:{bytes}:{:08x}",
        args.exchange,
        args.symbol,
        width.unwrap_or_default(),
        hash.finalize()
    )))
}
