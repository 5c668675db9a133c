//! Pages: sealed blocks in order, with the rows of the tail between them.

use rusqlite::{Connection, OptionalExtension, params};

use super::file::{State, StoreFile, has_known};
use super::record::{Record, Wanted, settle};
use crate::store::{Cursor, Instrument, Order, Range, StoreError};

/// The id of an instrument in a file.
pub(super) fn series_id(
    connection: &Connection,
    instrument: &Instrument,
) -> rusqlite::Result<Option<i64>> {
    connection
        .query_row(
            "SELECT id FROM series WHERE exchange = ?1 AND symbol = ?2",
            params![instrument.exchange, instrument.symbol.as_str()],
            |row| row.get(0),
        )
        .optional()
}

/// The first position behind another.
fn after(cursor: Cursor) -> Cursor {
    match cursor.id.checked_add(1) {
        Some(id) => Cursor { id, ..cursor },
        None => Cursor {
            at_ms: cursor.at_ms.saturating_add(1),
            id: 0,
        },
    }
}

/// Collects one page from one file after another.
pub(super) struct PageReader<'a, R> {
    range: &'a Range,
    /// One row more than the page, to know whether anything follows.
    size: usize,
    pub(super) rows: Vec<R>,
}

impl<'a, R: Record> PageReader<'a, R> {
    pub(super) fn new(range: &'a Range) -> Self {
        Self {
            range,
            size: range.limit.saturating_add(1),
            rows: Vec::new(),
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.rows.len() >= self.size
    }

    /// All rows that the page can still have from one chunk.
    fn wanted(&self) -> Wanted {
        let start_of = |at_ms| Cursor { at_ms, id: 0 };
        let (mut from, mut to) = (start_of(self.range.from_ms), start_of(self.range.to_ms));
        match (self.range.cursor, self.range.order) {
            (None, _) => {}
            (Some(cursor), Order::Ascending) => from = from.max(after(cursor)),
            (Some(cursor), Order::Descending) => to = to.min(cursor),
        }
        // Each position makes a row, unless nothing was known of it then.
        let positions_max = match self.range.as_of_ms {
            None => self.size - self.rows.len(),
            Some(_) => usize::MAX,
        };
        Wanted {
            from,
            to,
            positions_max,
            order: self.range.order,
        }
    }

    /// The times in which rows of the page can lie, both inclusive.
    fn bounds(&self) -> (i64, i64) {
        let (from, to) = (self.range.from_ms, self.range.to_ms.saturating_sub(1));
        match (self.range.cursor, self.range.order) {
            (None, _) => (from, to),
            (Some(cursor), Order::Ascending) => (from.max(cursor.at_ms), to),
            (Some(cursor), Order::Descending) => (from, to.min(cursor.at_ms)),
        }
    }

    /// Adds the rows of one file. Everything is read from one state of the file, whatever is
    /// written meanwhile.
    pub(super) fn read(
        &mut self,
        file: &StoreFile,
        connection: &Connection,
        instrument: &Instrument,
    ) -> Result<(), StoreError> {
        let snapshot = file.wrap(|| connection.unchecked_transaction())?;
        if let Some(series) = file.wrap(|| series_id(&snapshot, instrument))? {
            self.read_series(file, &snapshot, series)?;
        }
        file.wrap(|| snapshot.finish())
    }

    fn read_series(
        &mut self,
        file: &StoreFile,
        connection: &Connection,
        series: i64,
    ) -> Result<(), StoreError> {
        let (from, to) = self.bounds();
        let was_known = self.was_known(file, connection)?;
        let mut loose = Vec::new();
        let states: &[State] = match self.range.as_of_ms {
            None => &[State::Tail],
            Some(_) => &[State::Superseded, State::Tail],
        };
        for state in states {
            let mut chunks = file.wrap(|| {
                connection.prepare(&format!(
                    "SELECT bytes FROM chunk WHERE series = ?1 AND state = ?2 \
                     AND last_ms >= ?3 AND first_ms <= ?4 {was_known} ORDER BY id",
                ))
            })?;
            let mut chunks =
                file.wrap(|| chunks.query(params![series, *state as i64, from, to]))?;
            while let Some(chunk) = file.wrap(|| chunks.next())? {
                self.decode(file, chunk, &self.wanted(), &mut loose)?;
            }
        }
        loose.sort_by_key(R::key);
        self.merge_sealed(file, connection, series, loose)
    }

    /// Walks over the sealed blocks in the order of the page. `loose` are sorted rows that are not
    /// sealed.
    fn merge_sealed(
        &mut self,
        file: &StoreFile,
        connection: &Connection,
        series: i64,
        mut loose: Vec<R>,
    ) -> Result<(), StoreError> {
        let (from, to) = self.bounds();
        let was_known = self.was_known(file, connection)?;
        let order = match self.range.order {
            Order::Ascending => "ASC",
            Order::Descending => "DESC",
        };
        let mut blocks = file.wrap(|| {
            connection.prepare(&format!(
                "SELECT bytes, first_ms, last_ms FROM chunk WHERE series = ?1 AND state = ?2 \
                 AND last_ms >= ?3 AND first_ms <= ?4 {was_known} \
                 ORDER BY last_ms {order}, first_ms {order}"
            ))
        })?;
        let mut blocks =
            file.wrap(|| blocks.query(params![series, State::Sealed as i64, from, to]))?;
        while !self.is_full()
            && let Some(block) = file.wrap(|| blocks.next())?
        {
            let (first_ms, last_ms): (i64, i64) =
                file.wrap(|| Ok((block.get(1)?, block.get(2)?)))?;
            // Loose rows that come before the block may fill the page without it.
            let ahead: Vec<R> = match self.range.order {
                Order::Ascending => {
                    let end = loose.partition_point(|row| row.key().at_ms < first_ms);
                    loose.drain(..end).collect()
                }
                Order::Descending => {
                    let start = loose.partition_point(|row| row.key().at_ms <= last_ms);
                    loose.drain(start..).collect()
                }
            };
            self.take(&ahead);
            if self.is_full() {
                return Ok(());
            }
            let mut rows = Vec::new();
            self.decode(file, block, &self.wanted(), &mut rows)?;
            let within = match self.range.order {
                Order::Ascending => {
                    let end = loose.partition_point(|row| row.key().at_ms <= last_ms);
                    loose.drain(..end)
                }
                Order::Descending => {
                    let start = loose.partition_point(|row| row.key().at_ms < first_ms);
                    loose.drain(start..)
                }
            };
            rows.extend(within);
            // Stable: of one position, sealed rows come before rows of the tail.
            rows.sort_by_key(R::key);
            self.take(&rows);
        }
        if !self.is_full() {
            self.take(&loose);
        }
        Ok(())
    }

    /// The condition on chunks of which nothing was known at the time that is asked about. They may
    /// be years of a series: without it, all of them would be unpacked for a page without a row.
    fn was_known(&self, file: &StoreFile, connection: &Connection) -> Result<String, StoreError> {
        let Some(at_ms) = self.range.as_of_ms else {
            return Ok(String::new());
        };
        Ok(match file.wrap(|| has_known(connection))? {
            true => format!("AND (known_first_ms IS NULL OR known_first_ms <= {at_ms})"),
            false => String::new(),
        })
    }

    fn decode(
        &self,
        file: &StoreFile,
        chunk: &rusqlite::Row<'_>,
        wanted: &Wanted,
        out: &mut Vec<R>,
    ) -> Result<(), StoreError> {
        let bytes = file.wrap(|| Ok(chunk.get_ref(0)?.as_blob()?))?;
        R::decode(file.key.kind, bytes, wanted, out).map_err(|error| file.unreadable(&error))
    }

    /// Adds rows that are sorted by position to the page.
    fn take(&mut self, rows: &[R]) {
        let mut current = settle(rows, self.range.as_of_ms).current;
        if self.range.order == Order::Descending {
            current.reverse();
        }
        let room = self.size - self.rows.len();
        self.rows.extend(current.into_iter().take(room));
    }
}

/// The last time of the chunks that start before `before_ms` and may have a row that became known
/// after `known_after_ms`.
pub(super) fn last_known_after(
    file: &StoreFile,
    connection: &Connection,
    instrument: &Instrument,
    before_ms: i64,
    known_after_ms: i64,
) -> Result<Option<i64>, StoreError> {
    let Some(series) = file.wrap(|| series_id(connection, instrument))? else {
        return Ok(None);
    };
    file.wrap(|| {
        let became_known = match has_known(connection)? {
            true => "AND (known_last_ms IS NULL OR known_last_ms > ?4)",
            false => "AND ?4 = ?4",
        };
        // Superseded rows are in no page.
        connection.query_row(
            &format!(
                "SELECT max(last_ms) FROM chunk WHERE series = ?1 AND state <> ?2 \
                 AND first_ms < ?3 {became_known}"
            ),
            params![series, State::Superseded as i64, before_ms, known_after_ms],
            |row| row.get(0),
        )
    })
}

/// All revisions of the rows of `[from_ms, to_ms)`, by ascending time; the current one of each last.
pub(super) fn revisions<R: Record>(
    file: &StoreFile,
    connection: &Connection,
    instrument: &Instrument,
    from_ms: i64,
    to_ms: i64,
) -> Result<Vec<R>, StoreError> {
    let Some(series) = file.wrap(|| series_id(connection, instrument))? else {
        return Ok(Vec::new());
    };
    // In the order in which they were stored.
    let mut chunks = file.wrap(|| {
        connection.prepare(
            "SELECT bytes FROM chunk WHERE series = ?1 AND last_ms >= ?2 AND first_ms < ?3 \
             ORDER BY state = 0, id",
        )
    })?;
    let mut chunks = file.wrap(|| chunks.query(params![series, from_ms, to_ms]))?;
    let start_of = |at_ms| Cursor { at_ms, id: 0 };
    let wanted = Wanted {
        from: start_of(from_ms),
        to: start_of(to_ms),
        ..Wanted::ALL
    };
    let mut rows: Vec<R> = Vec::new();
    while let Some(chunk) = file.wrap(|| chunks.next())? {
        let bytes = file.wrap(|| Ok(chunk.get_ref(0)?.as_blob()?))?;
        R::decode(file.key.kind, bytes, &wanted, &mut rows)
            .map_err(|error| file.unreadable(&error))?;
    }
    rows.sort_by_key(R::key);
    let mut settled = Vec::with_capacity(rows.len());
    for group in rows.chunk_by(|a, b| a.key() == b.key()) {
        let mut revisions = group.to_vec();
        R::settle(&mut revisions, None);
        settled.append(&mut revisions);
    }
    Ok(settled)
}
