//! `history copy`: all rows of one store into another one.

mod days;
mod summary;

use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use market_core::{BarRow, Trade, UnixMillis};

use crate::config::StoreConfig;
use crate::store::{
    self, BarSeries, Instrument, Page, Range, Store, StoreAddress, StoreError, Watermark,
};

use days::{Rows, difference};
pub use summary::CopySummary;

/// How often the progress is told.
const PROGRESS_EVERY: Duration = Duration::from_secs(5);
/// The most differences that are told; the others are counted.
const DIFFERENCES_TOLD_MAX: u64 = 20;

/// Copies all bars with all their revisions, all trades, and the positions of streams from a store into another one, and compares both at the end.
///
/// The same command continues where an earlier one was interrupted: rows that are there already are not written again. No program may be using an embedded store. A server that a program uses can be copied: the positions are those of the beginning.
#[derive(Args, Clone, Debug)]
pub struct CopyArgs {
    /// The store to read: sqlite:DIR, clickhouse://host:port/database or influxdb://host:port/database
    #[arg(
        long,
        env = "KLINECAST_HISTORY_COPY_FROM",
        hide_env_values = true,
        value_name = "ADDRESS"
    )]
    from: StoreAddress,

    /// The store to fill
    #[arg(
        long,
        env = "KLINECAST_HISTORY_COPY_TO",
        hide_env_values = true,
        value_name = "ADDRESS"
    )]
    to: StoreAddress,

    /// Compare the stores, and copy nothing
    #[arg(long)]
    compare_only: bool,

    /// Rows that are read and written at once; memory grows with them
    #[arg(long, default_value_t = 5_000, value_name = "ROWS", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    batch_rows: u32,

    /// How long a request to a store that is a server may take, ms
    #[arg(long, env = "KLINECAST_HISTORY_STORE_TIMEOUT_MS", default_value_t = 30_000, value_parser = clap::value_parser!(u32).range(100..=600_000), value_name = "MS")]
    store_timeout_ms: u32,
}

/// Why a copy ended early. The rows that it wrote stay, and the same command continues.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// Both addresses name one store.
    #[error("--from and --to name the same store")]
    Same,
    /// There is nothing to copy.
    #[error("there is no store in {0}")]
    Missing(Box<str>),
    /// The store to read from has a fault.
    #[error("failed to read {store}: {source}")]
    From {
        /// Its address.
        store: Box<str>,
        /// What happened.
        source: StoreError,
    },
    /// The store to fill has a fault.
    #[error("failed to fill {store}: {source}; then run the same command again: it goes on there")]
    To {
        /// Its address.
        store: Box<str>,
        /// What happened.
        source: StoreError,
    },
}

/// Copies, and compares. Progress and differences go to `tell`, a line each time.
///
/// # Errors
/// See [`CopyError`].
pub fn run(args: &CopyArgs, tell: impl FnMut(&str)) -> Result<CopySummary, CopyError> {
    if args.from == args.to {
        return Err(CopyError::Same);
    }
    if let StoreAddress::Sqlite(directory) = &args.from
        && !directory.is_dir()
    {
        return Err(CopyError::Missing(args.from.to_string().into()));
    }
    let config = StoreConfig {
        store_timeout_ms: args.store_timeout_ms,
        ..StoreConfig::default()
    };
    let open = |address| store::open(address, &config.options(0));
    let copy = Copy {
        args,
        from: open(&args.from).map_err(|source| args.reading(source))?,
        to: open(&args.to).map_err(|source| args.filling(source))?,
        limit: usize::try_from(args.batch_rows).unwrap_or(usize::MAX),
        tell,
        summary: CopySummary::default(),
        began: Instant::now(),
        told: Instant::now(),
    };
    copy.run()
}

impl CopyArgs {
    fn reading(&self, source: StoreError) -> CopyError {
        CopyError::From {
            store: self.from.to_string().into(),
            source,
        }
    }

    fn filling(&self, source: StoreError) -> CopyError {
        CopyError::To {
            store: self.to.to_string().into(),
            source,
        }
    }
}

/// All bars with their revisions of a page.
fn revisions(
    store: &dyn Store,
    series: &BarSeries,
    range: &Range,
) -> Result<Page<BarRow>, StoreError> {
    let page = store.bars(series, range)?;
    let (Some(first), Some(last)) = (page.rows.first(), page.rows.last()) else {
        return Ok(page);
    };
    let end_ms = last.start_ms.saturating_add(1);
    let rows = store.revisions_between(series, first.start_ms, end_ms)?;
    Ok(Page { rows, ..page })
}

/// A copy that runs.
struct Copy<'a, T> {
    args: &'a CopyArgs,
    from: Arc<dyn Store>,
    to: Arc<dyn Store>,
    limit: usize,
    tell: T,
    summary: CopySummary,
    began: Instant,
    told: Instant,
}

impl<T: FnMut(&str)> Copy<'_, T> {
    fn run(mut self) -> Result<CopySummary, CopyError> {
        let args = self.args;
        // Before the rows: they stand for rows that are there by now.
        let reading = |source| args.reading(source);
        let marks = self.from.watermarks("").map_err(reading)?;
        let series: Vec<BarSeries> = {
            let found = self.from.series().map_err(reading)?;
            found.into_iter().map(|info| info.series).collect()
        };
        let traded = self.from.traded().map_err(reading)?;
        if !args.compare_only {
            for series in &series {
                self.copy_bars(series)?;
            }
            for instrument in &traded {
                self.copy_trades(instrument)?;
            }
            self.to.compact().map_err(|source| args.filling(source))?;
        }
        for series in &series {
            self.compare_bars(series)?;
        }
        for instrument in &traded {
            self.compare_trades(instrument)?;
        }
        if !args.compare_only && self.summary.differences == 0 {
            self.put_marks(&marks)?;
        }
        Ok(self.summary)
    }

    fn whole(&self) -> Range {
        Range::new(UnixMillis::MIN, UnixMillis::MAX, self.limit)
    }

    fn copy_bars(&mut self, series: &BarSeries) -> Result<(), CopyError> {
        let args = self.args;
        let mut range = self.whole();
        loop {
            let page = revisions(&*self.from, series, &range);
            let page = page.map_err(|source| args.reading(source))?;
            let filling = |source| args.filling(source);
            if let (Some(first), Some(last)) = (page.rows.first(), page.rows.last()) {
                let end_ms = last.start_ms.saturating_add(1);
                let there = self
                    .to
                    .revisions_between(series, first.start_ms, end_ms)
                    .map_err(filling)?;
                let rows = page.rows.len() as u64;
                if there == page.rows {
                    self.summary.rows_before = self.summary.rows_before.saturating_add(rows);
                } else {
                    self.to
                        .append_bars(&[(series.clone(), page.rows)], None)
                        .map_err(filling)?;
                    self.summary.bars = self.summary.bars.saturating_add(rows);
                }
            }
            self.progress();
            range.cursor = page.next;
            if range.cursor.is_none() {
                return Ok(());
            }
        }
    }

    fn copy_trades(&mut self, instrument: &Instrument) -> Result<(), CopyError> {
        let args = self.args;
        let mut range = self.whole();
        loop {
            let page = self.from.trades(instrument, &range);
            let page = page.map_err(|source| args.reading(source))?;
            let filling = |source| args.filling(source);
            if !page.rows.is_empty() {
                let there = self.to.trades(instrument, &range).map_err(filling)?;
                let rows = page.rows.len() as u64;
                if there.rows == page.rows {
                    self.summary.rows_before = self.summary.rows_before.saturating_add(rows);
                } else {
                    self.to
                        .append_trades(&[(instrument.clone(), page.rows)], None)
                        .map_err(filling)?;
                    self.summary.trades = self.summary.trades.saturating_add(rows);
                }
            }
            self.progress();
            range.cursor = page.next;
            if range.cursor.is_none() {
                return Ok(());
            }
        }
    }

    fn put_marks(&mut self, marks: &[Watermark]) -> Result<(), CopyError> {
        for mark in marks {
            match self.to.append_bars(&[], Some(mark)) {
                // A store without a row has no place for a position.
                Ok(()) => {
                    self.summary.watermarks = self.summary.watermarks.saturating_add(1);
                }
                Err(StoreError::Empty) => {}
                Err(source) => return Err(self.args.filling(source)),
            }
        }
        Ok(())
    }

    fn compare_bars(&mut self, series: &BarSeries) -> Result<(), CopyError> {
        let (from, to, whole) = (Arc::clone(&self.from), Arc::clone(&self.to), self.whole());
        let name = format!(
            "{} {} {}",
            series.instrument.exchange, series.instrument.symbol, series.timeframe
        );
        self.compare::<BarRow>(
            &name,
            Rows::new(whole, |range| revisions(&*from, series, range)),
            Rows::new(whole, |range| revisions(&*to, series, range)),
        )
    }

    fn compare_trades(&mut self, instrument: &Instrument) -> Result<(), CopyError> {
        let (from, to, whole) = (Arc::clone(&self.from), Arc::clone(&self.to), self.whole());
        let name = format!("{} {} trades", instrument.exchange, instrument.symbol);
        self.compare::<Trade>(
            &name,
            Rows::new(whole, |range| from.trades(instrument, range)),
            Rows::new(whole, |range| to.trades(instrument, range)),
        )
    }

    /// Compares day by day.
    fn compare<R: days::Row>(
        &mut self,
        name: &str,
        mut from: Rows<'_, R>,
        mut to: Rows<'_, R>,
    ) -> Result<(), CopyError> {
        let args = self.args;
        let (reading, filling) = (|source| args.reading(source), |source| args.filling(source));
        let mut read = from.day().map_err(reading)?;
        let mut filled = to.day().map_err(filling)?;
        loop {
            let day_ms = match (&read, &filled) {
                (None, None) => return Ok(()),
                (Some(day), None) | (None, Some(day)) => day.day_ms,
                (Some(a), Some(b)) => a.day_ms.min(b.day_ms),
            };
            let of_day = |day: &Option<days::Day>| day.clone().filter(|day| day.day_ms == day_ms);
            let (a, b) = (of_day(&read), of_day(&filled));
            self.summary.days = self.summary.days.saturating_add(1);
            if let Some(what) = difference(a.as_ref(), b.as_ref()) {
                self.summary.differences = self.summary.differences.saturating_add(1);
                if self.summary.differences <= DIFFERENCES_TOLD_MAX {
                    (self.tell)(&format!("{name}: {what}"));
                }
            }
            if a.is_some() {
                read = from.day().map_err(reading)?;
            }
            if b.is_some() {
                filled = to.day().map_err(filling)?;
            }
            self.progress();
        }
    }

    fn progress(&mut self) {
        if self.told.elapsed() >= PROGRESS_EVERY {
            self.told = Instant::now();
            let seconds = self.began.elapsed().as_secs();
            (self.tell)(&format!("{}, after {seconds} s", self.summary));
        }
    }
}
