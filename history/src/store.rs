//! What a store of bars and trades must do. `tests/contract/` checks every implementation.
//!
//! Calls block. A program that runs async code calls a store on a blocking thread.

mod address;
mod clickhouse;
mod error;
mod influx;
mod open;
mod remote;
mod revisions;
pub(crate) mod row_text;
mod sqlite;

use market_core::book::BookLevels;
use market_core::{Symbol, Timeframe, Trade, UnixMillis};

pub use address::{RemoteUrl, StoreAddress};
pub use clickhouse::ClickHouseStore;
pub use error::StoreError;
pub use influx::InfluxStore;
pub use open::{StoreOptions, open};
pub use remote::RemoteOptions;
pub use sqlite::{FileReport, SqliteOptions, SqliteStore};

use market_core::BarRow;

/// One symbol of one venue.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Instrument {
    /// The venue, in lower case: `binance`.
    pub exchange: Box<str>,
    /// The symbol, as topics name it.
    pub symbol: Symbol,
}

/// The bars of one instrument and timeframe.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct BarSeries {
    /// Whose bars.
    pub instrument: Instrument,
    /// How wide they are.
    pub timeframe: Timeframe,
}

/// How far a stream of the bus has been stored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Watermark {
    /// The stream's name.
    pub stream: Box<str>,
    /// The position of the last message whose rows are stored.
    pub position: u64,
}

/// The direction of a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    /// The oldest row first.
    Ascending,
    /// The newest row first.
    Descending,
}

/// A position between two rows of a series.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Cursor {
    /// The time of the row before it: start of a bar, event time of a trade.
    pub at_ms: UnixMillis,
    /// The first trade id of the row before it; 0 for bars.
    pub id: u64,
}

/// Rows of `[from_ms, to_ms)`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Range {
    /// First instant, by start of a bar or event time of a trade.
    pub from_ms: UnixMillis,
    /// First instant after the range.
    pub to_ms: UnixMillis,
    /// The most rows of the page.
    pub limit: usize,
    /// The direction.
    pub order: Order,
    /// Only what was known at this time: bars as they were before later revisions.
    pub as_of_ms: Option<UnixMillis>,
    /// Where the page before ended.
    pub cursor: Option<Cursor>,
}

impl Range {
    /// All rows of a time span by ascending time, at most `limit`.
    #[must_use]
    pub fn new(from_ms: UnixMillis, to_ms: UnixMillis, limit: usize) -> Self {
        Self {
            from_ms,
            to_ms,
            limit,
            order: Order::Ascending,
            as_of_ms: None,
            cursor: None,
        }
    }
}

/// Rows, and where the next page begins.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Page<T> {
    /// In the order that was asked for.
    pub rows: Vec<T>,
    /// `None` if nothing follows in the range.
    pub next: Option<Cursor>,
}

impl<T> Page<T> {
    /// The first `limit` of the rows that were read, of which one more tells that something follows.
    pub(crate) fn of(mut rows: Vec<T>, limit: usize, key: impl Fn(&T) -> Cursor) -> Self {
        let is_more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().map(key).filter(|_| is_more);
        Self { rows, next }
    }
}

/// What a file of the store holds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Kind {
    /// Bars of a timeframe.
    Bars(Timeframe),
    /// Trades.
    Trades,
}

/// Stores closed bars with all their revisions.
pub trait BarStore: Send + Sync {
    /// Stores rows, and how far their stream has come. When the call returns, both are on disk.
    /// After a crash in the middle, the watermark never stands for rows that are missing.
    ///
    /// A row that is stored already has no effect. Of several rows with one start, the one of the
    /// highest [`BarRow::rank`] is current, in whatever order they come.
    ///
    /// # Errors
    /// If it fails, some rows may be stored, and the watermark is not: call again.
    fn append_bars(
        &self,
        batch: &[(BarSeries, Vec<BarRow>)],
        watermark: Option<&Watermark>,
    ) -> Result<(), StoreError>;

    /// One page of a series.
    ///
    /// # Errors
    /// If a file cannot be read or is damaged.
    fn bars(&self, series: &BarSeries, range: &Range) -> Result<Page<BarRow>, StoreError>;

    /// All revisions of one bar, the current one last.
    ///
    /// # Errors
    /// As for [`BarStore::bars`].
    fn bar_revisions(
        &self,
        series: &BarSeries,
        start_ms: UnixMillis,
    ) -> Result<Vec<BarRow>, StoreError> {
        self.revisions_between(series, start_ms, start_ms.saturating_add(1))
    }

    /// All revisions of the bars that start in `[from_ms, to_ms)`, by ascending start; of each bar, the
    /// current one last. All of them are in memory: ask for the span of a page.
    ///
    /// # Errors
    /// As for [`BarStore::bars`].
    fn revisions_between(
        &self,
        series: &BarSeries,
        from_ms: UnixMillis,
        to_ms: UnixMillis,
    ) -> Result<Vec<BarRow>, StoreError>;

    /// An instant at or after the start of the newest bar that starts before `before_ms` and has a
    /// revision that became known after `known_after_ms`; `None` if there is none. A search for such
    /// bars goes on there: the bars behind it are not read one by one.
    ///
    /// # Errors
    /// As for [`BarStore::bars`].
    fn last_known_after(
        &self,
        series: &BarSeries,
        before_ms: UnixMillis,
        known_after_ms: UnixMillis,
    ) -> Result<Option<UnixMillis>, StoreError>;

    /// Whether a row could be stored, without storing it.
    ///
    /// # Errors
    /// `Rows` with what is wrong.
    fn check_bar(&self, series: &BarSeries, row: &BarRow) -> Result<(), StoreError>;

    /// The start of the newest bar. Each page begins with it, so a store that can say it without the bar
    /// does.
    ///
    /// # Errors
    /// As for [`BarStore::bars`].
    fn newest_start(&self, series: &BarSeries) -> Result<Option<UnixMillis>, StoreError> {
        Ok(self.latest_bar(series)?.map(|bar| bar.start_ms))
    }

    /// The newest bar.
    ///
    /// # Errors
    /// As for [`BarStore::bars`].
    fn latest_bar(&self, series: &BarSeries) -> Result<Option<BarRow>, StoreError> {
        let range = Range {
            order: Order::Descending,
            ..Range::new(UnixMillis::MIN, UnixMillis::MAX, 1)
        };
        Ok(self.bars(series, &range)?.rows.pop())
    }
}

/// Stores trades.
pub trait TradeStore: Send + Sync {
    /// Stores rows, and how far their stream has come: as [`BarStore::append_bars`]. A trade of the
    /// same event time and first id is stored once.
    ///
    /// # Errors
    /// As for [`BarStore::append_bars`].
    fn append_trades(
        &self,
        batch: &[(Instrument, Vec<Trade>)],
        watermark: Option<&Watermark>,
    ) -> Result<(), StoreError>;

    /// One page of an instrument. `as_of_ms` has no meaning for trades.
    ///
    /// # Errors
    /// If a file cannot be read or is damaged.
    fn trades(&self, instrument: &Instrument, range: &Range) -> Result<Page<Trade>, StoreError>;

    /// Whether a row could be stored, without storing it.
    ///
    /// # Errors
    /// `Rows` with what is wrong.
    fn check_trade(&self, trade: &Trade) -> Result<(), StoreError>;
}

/// The best levels of an order book, as they were published.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BookSnapshot {
    /// Whose book.
    pub instrument: Instrument,
    /// When it was published.
    pub published_ms: UnixMillis,
    /// The venue's time of its last change.
    pub event_ms: Option<UnixMillis>,
    /// The venue's number of its last change; empty without one.
    pub update_id: Box<str>,
    /// The publisher's session.
    pub epoch: u64,
    /// The number of the message in it.
    pub seq: u64,
    /// The best levels of both sides, the best first.
    pub levels: BookLevels,
}

/// Stores snapshots of order books. A store without a place for them refuses them.
pub trait BookStore: Send + Sync {
    /// Stores snapshots. One that is stored already has no effect.
    ///
    /// # Errors
    /// `NoBooks` for a store that keeps none; else those of the store, and some are stored.
    fn append_books(&self, books: &[BookSnapshot]) -> Result<(), StoreError> {
        let _ = books;
        Err(StoreError::NoBooks)
    }

    /// Whether a snapshot could be stored, without storing it.
    ///
    /// # Errors
    /// `Rows` with what is wrong.
    fn check_book(&self, book: &BookSnapshot) -> Result<(), StoreError> {
        let _ = book;
        Ok(())
    }

    /// The snapshots of an instrument by ascending time, at most [`Range::limit`]. Of the range, only
    /// its span and limit count.
    ///
    /// # Errors
    /// As for [`BookStore::append_books`].
    fn books(
        &self,
        instrument: &Instrument,
        range: &Range,
    ) -> Result<Page<BookSnapshot>, StoreError> {
        let _ = (instrument, range);
        Err(StoreError::NoBooks)
    }
}

/// What every store does beside its rows.
pub trait Retention: Send + Sync {
    /// How far a stream has been stored; `None` if nothing of it is. It may be too low if a file is
    /// damaged: what is stored again changes nothing.
    ///
    /// # Errors
    /// If a file cannot be read.
    fn watermark(&self, stream: &str) -> Result<Option<u64>, StoreError>;

    /// The watermarks of all streams whose names begin like this, in the order of their names.
    ///
    /// # Errors
    /// If a file cannot be read.
    fn watermarks(&self, prefix: &str) -> Result<Vec<Watermark>, StoreError>;

    /// Deletes the rows of a kind in whole months that end at or before `before_ms`. Returns the
    /// number of months. Watermarks stay.
    ///
    /// # Errors
    /// If a file cannot be read or deleted.
    fn drop_before(&self, kind: Kind, before_ms: UnixMillis) -> Result<usize, StoreError>;

    /// Seals all open rows into blocks, and rewrites blocks that have late revisions. Appending
    /// does this by itself from time to time.
    ///
    /// # Errors
    /// As for [`BarStore::append_bars`], the first one of all files. No row is lost.
    fn compact(&self) -> Result<(), StoreError>;
}

/// What is stored of a series of bars.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SeriesInfo {
    /// Which.
    pub series: BarSeries,
    /// The start of its first bar.
    pub first_ms: UnixMillis,
    /// The end of its last bar.
    pub last_end_ms: UnixMillis,
}

/// Says what a store holds. It reads every file: callers remember the answer.
pub trait Catalog: Send + Sync {
    /// Every series that has bars, in order. A damaged file is left out.
    ///
    /// # Errors
    /// If a file cannot be read.
    fn series(&self) -> Result<Vec<SeriesInfo>, StoreError>;

    /// Every instrument that has trades, in order. A damaged file is left out.
    ///
    /// # Errors
    /// If a file cannot be read.
    fn traded(&self) -> Result<Vec<Instrument>, StoreError>;

    /// Whether the lists of this trait have everything.
    ///
    /// # Errors
    /// `Damaged` for the first part that they leave out.
    fn check_lists(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// How many bytes the store takes on its disk.
    ///
    /// # Errors
    /// If its directory cannot be read.
    fn bytes(&self) -> Result<u64, StoreError>;
}

/// All that history needs of a store.
pub trait Store: BarStore + TradeStore + BookStore + Retention + Catalog {}

impl<T: BarStore + TradeStore + BookStore + Retention + Catalog + ?Sized> Store for T {}
