//! The rows of a day as a checksum.

use market_core::{BarRow, Trade, UnixMillis};

use crate::completeness::DAY_MS;
use crate::store::row_text::{bar_text, trade_text};
use crate::store::{Page, Range, StoreError};

/// A row that has a time and a text.
pub(super) trait Row {
    fn at_ms(&self) -> UnixMillis;

    /// Everything that it says, in one spelling.
    fn text(&self) -> String;
}

impl Row for BarRow {
    fn at_ms(&self) -> UnixMillis {
        self.start_ms
    }

    fn text(&self) -> String {
        bar_text(self)
    }
}

impl Row for Trade {
    fn at_ms(&self) -> UnixMillis {
        self.event_ms
    }

    fn text(&self) -> String {
        trade_text(self)
    }
}

/// What one side has of a UTC day of a series.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Day {
    /// Its first instant.
    pub(super) day_ms: UnixMillis,
    rows: u64,
    first_ms: UnixMillis,
    last_ms: UnixMillis,
    /// CRC-32 of all rows with all their fields.
    checksum: u32,
}

/// How a day differs, if it does.
pub(super) fn difference(from: Option<&Day>, to: Option<&Day>) -> Option<String> {
    let day_ms = from.or(to)?.day_ms;
    let side = |day: Option<&Day>| match day {
        None => "no rows".to_owned(),
        Some(day) => format!(
            "{} rows from {} to {}, checksum {:08x}",
            day.rows, day.first_ms, day.last_ms, day.checksum
        ),
    };
    (from != to).then(|| {
        let (from, to) = (side(from), side(to));
        format!("the day from {day_ms} differs: {from}; and there {to}")
    })
}

type Read<'a, R> = Box<dyn FnMut(&Range) -> Result<Page<R>, StoreError> + 'a>;

/// The rows of a series, day by day. One page is in memory.
pub(super) struct Rows<'a, R> {
    read: Read<'a, R>,
    range: Range,
    page: std::vec::IntoIter<R>,
    is_end: bool,
    /// The first row of the next day.
    next: Option<R>,
}

impl<'a, R: Row> Rows<'a, R> {
    pub(super) fn new(
        range: Range,
        read: impl FnMut(&Range) -> Result<Page<R>, StoreError> + 'a,
    ) -> Self {
        Self {
            read: Box::new(read),
            range,
            page: Vec::new().into_iter(),
            is_end: false,
            next: None,
        }
    }

    fn row(&mut self) -> Result<Option<R>, StoreError> {
        loop {
            if let Some(row) = self.next.take().or_else(|| self.page.next()) {
                return Ok(Some(row));
            }
            if self.is_end {
                return Ok(None);
            }
            let page = (self.read)(&self.range)?;
            self.page = page.rows.into_iter();
            self.range.cursor = page.next;
            self.is_end = page.next.is_none();
        }
    }

    /// The next day that has rows.
    pub(super) fn day(&mut self) -> Result<Option<Day>, StoreError> {
        let Some(first) = self.row()? else {
            return Ok(None);
        };
        let first_ms = first.at_ms();
        let day_ms = first_ms.saturating_sub(first_ms.rem_euclid(DAY_MS));
        let (mut rows, mut last_ms) = (0_u64, first_ms);
        let mut hasher = crc32fast::Hasher::new();
        let mut row = Some(first);
        while let Some(held) = row {
            if held.at_ms() >= day_ms.saturating_add(DAY_MS) {
                self.next = Some(held);
                break;
            }
            rows = rows.saturating_add(1);
            last_ms = held.at_ms();
            hasher.update(&last_ms.to_le_bytes());
            hasher.update(held.text().as_bytes());
            row = self.row()?;
        }
        Ok(Some(Day {
            day_ms,
            rows,
            first_ms,
            last_ms,
            checksum: hasher.finalize(),
        }))
    }
}
