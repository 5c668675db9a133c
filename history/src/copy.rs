//! `history copy`: all rows of one store into another one.

mod content;
mod days;
mod summary;

use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use market_core::{BarRow, Timeframe, Trade, UnixMillis};

use crate::completeness;
use crate::config::StoreConfig;
use crate::store::{
    self, BarSeries, Instrument, Page, Range, Store, StoreAddress, StoreError, Watermark,
};

use content::{Content, Part};
use days::{Rows, difference};
pub use summary::CopySummary;

/// How often the progress is told.
const PROGRESS_EVERY: Duration = Duration::from_secs(5);
/// How often a part that differs is copied again: the source may have got rows meanwhile.
const AGAIN_MAX: usize = 3;
/// The most differences that are told; the others are counted.
const DIFFERENCES_TOLD_MAX: u64 = 20;

/// Copies all bars with all their revisions, all trades, and the positions of streams from a store into another one, and compares both at the end.
///
/// The same command continues where an earlier one was interrupted: rows that are there already are not written again. No program may be using an embedded store. A server that a program uses can be copied: the positions are those of the beginning, and so is the end up to which both are compared. Nothing else may write to the store that is filled.
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
    // Neither is made to be read.
    let read = [Some(&args.from), args.compare_only.then_some(&args.to)];
    for address in read.into_iter().flatten() {
        if let StoreAddress::Sqlite(directory) = address
            && !directory.is_dir()
        {
            return Err(CopyError::Missing(address.to_string().into()));
        }
    }
    let config = StoreConfig {
        store_timeout_ms: args.store_timeout_ms,
        ..StoreConfig::default()
    };
    let open = |address, is_read_only| {
        let mut options = config.options(0);
        options.remote.is_read_only = is_read_only;
        store::open(address, &options)
    };
    let copy = Copy {
        args,
        from: open(&args.from, true).map_err(|source| args.reading(source))?,
        to: open(&args.to, args.compare_only).map_err(|source| args.filling(source))?,
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

/// What a comparison of one part found.
#[derive(Default)]
struct Comparison {
    days: u64,
    records: u64,
    differences: u64,
    /// The first ones.
    told: Vec<String>,
}

impl Comparison {
    fn add(&mut self, difference: Option<String>) {
        self.days = self.days.saturating_add(1);
        if let Some(difference) = difference {
            if self.differences < DIFFERENCES_TOLD_MAX {
                self.told.push(difference);
            }
            self.differences = self.differences.saturating_add(1);
        }
    }
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
        // What a position stands for is before the ends, so a store that is being filled can be compared.
        let mut content = Content::of(&*self.from).map_err(reading)?;
        let there = Content::of(&*self.to).map_err(|source| args.filling(source))?;
        for part in content.until_later_of(&there) {
            self.differs(&format!("{part}: only {} has rows of it", args.to));
        }
        let Content { bars, trades } = content;
        if !args.compare_only {
            for series in bars.keys() {
                self.copy(Part::Bars(series))?;
            }
            for instrument in trades.keys() {
                self.copy(Part::Trades(instrument))?;
            }
            self.to.compact().map_err(|source| args.filling(source))?;
        }
        for (series, end_ms) in &bars {
            let is_recorded = !trades.contains_key(&series.instrument);
            let recorded = is_recorded.then_some(series.timeframe);
            self.verify(Part::Bars(series), *end_ms, recorded)?;
        }
        for (instrument, end_ms) in &trades {
            let own = bars.keys().filter(|own| own.instrument == *instrument);
            let finest = own.map(|own| own.timeframe).min_by_key(|own| own.end_of(0));
            let recorded = Some(finest.unwrap_or(Timeframe::MINUTE));
            self.verify(Part::Trades(instrument), *end_ms, recorded)?;
        }
        if !args.compare_only && self.summary.differences == 0 {
            self.put_marks(&marks)?;
        }
        Ok(self.summary)
    }

    /// All rows before an instant.
    fn until(&self, end_ms: UnixMillis) -> Range {
        Range::new(UnixMillis::MIN, end_ms, self.limit)
    }

    /// Tells a difference, and counts it.
    fn differs(&mut self, difference: &str) {
        if self.summary.differences < DIFFERENCES_TOLD_MAX {
            (self.tell)(difference);
        }
        self.summary.differences = self.summary.differences.saturating_add(1);
    }

    fn copy_bars(&mut self, series: &BarSeries) -> Result<(), CopyError> {
        let args = self.args;
        let mut range = self.until(UnixMillis::MAX);
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
        let mut range = self.until(UnixMillis::MAX);
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

    fn copy(&mut self, part: Part<'_>) -> Result<(), CopyError> {
        match part {
            Part::Bars(series) => self.copy_bars(series),
            Part::Trades(instrument) => self.copy_trades(instrument),
        }
    }

    /// Compares, and copies again what came while the copy was made.
    fn verify(
        &mut self,
        part: Part<'_>,
        end_ms: UnixMillis,
        recorded: Option<Timeframe>,
    ) -> Result<(), CopyError> {
        let mut found = self.compare(part, end_ms, recorded)?;
        for _ in 0..AGAIN_MAX {
            if found.differences == 0 || self.args.compare_only {
                break;
            }
            let rows_before = self.summary.rows_before;
            self.copy(part)?;
            self.summary.rows_before = rows_before;
            found = self.compare(part, end_ms, recorded)?;
        }
        let told = self.summary.differences;
        let left = DIFFERENCES_TOLD_MAX.saturating_sub(told);
        for difference in found.told.iter().take(usize::try_from(left).unwrap_or(0)) {
            (self.tell)(&format!("{part}: {difference}"));
        }
        self.summary.days = self.summary.days.saturating_add(found.days);
        self.summary.records = self.summary.records.saturating_add(found.records);
        self.summary.differences = told.saturating_add(found.differences);
        Ok(())
    }

    fn compare(
        &mut self,
        part: Part<'_>,
        end_ms: UnixMillis,
        recorded: Option<Timeframe>,
    ) -> Result<Comparison, CopyError> {
        let (from, to) = (Arc::clone(&self.from), Arc::clone(&self.to));
        let whole = self.until(end_ms);
        match part {
            Part::Bars(series) => self.compare_rows::<BarRow>(
                &series.instrument,
                end_ms,
                recorded,
                Rows::new(whole, |range| revisions(&*from, series, range)),
                Rows::new(whole, |range| revisions(&*to, series, range)),
            ),
            Part::Trades(instrument) => self.compare_rows::<Trade>(
                instrument,
                end_ms,
                recorded,
                Rows::new(whole, |range| from.trades(instrument, range)),
                Rows::new(whole, |range| to.trades(instrument, range)),
            ),
        }
    }

    /// Compares day by day: all rows, and the completeness records if there is a timeframe for them.
    fn compare_rows<R: days::Row>(
        &mut self,
        instrument: &Instrument,
        end_ms: UnixMillis,
        recorded: Option<Timeframe>,
        mut from: Rows<'_, R>,
        mut to: Rows<'_, R>,
    ) -> Result<Comparison, CopyError> {
        let args = self.args;
        let (reading, filling) = (|source| args.reading(source), |source| args.filling(source));
        let mut found = Comparison::default();
        let mut read = from.day().map_err(reading)?;
        let mut filled = to.day().map_err(filling)?;
        loop {
            let day_ms = match (&read, &filled) {
                (None, None) => return Ok(found),
                (Some(day), None) | (None, Some(day)) => day.day_ms,
                (Some(a), Some(b)) => a.day_ms.min(b.day_ms),
            };
            let of_day = |day: &Option<days::Day>| day.clone().filter(|day| day.day_ms == day_ms);
            let (a, b) = (of_day(&read), of_day(&filled));
            let mut what = difference(a.as_ref(), b.as_ref());
            // A record is of the whole day, and rows behind the end may come at any time.
            let is_whole = day_ms.saturating_add(completeness::DAY_MS) <= end_ms;
            if let (None, Some(timeframe), true) = (&what, recorded, is_whole) {
                let record = |store: &dyn Store| {
                    completeness::of_day(store, instrument, timeframe, day_ms, None)
                };
                let records = (
                    record(&*self.from).map_err(reading)?,
                    record(&*self.to).map_err(filling)?,
                );
                found.records = found.records.saturating_add(1);
                if records.0 != records.1 {
                    what = Some(format!(
                        "the completeness records of the day from {day_ms} and timeframe {timeframe} differ"
                    ));
                }
            }
            found.add(what);
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
