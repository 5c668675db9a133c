//! What bars and trades have in common for the files.

use std::ops::Range;

use market_core::{BarRow, Trade, UnixMillis};

use crate::block::{BlockError, decode_some_bars, decode_some_trades, encode_bars, encode_trades};
use crate::store::{Cursor, Kind, Order};

/// Which rows of a chunk are wanted: those of `[from, to)`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) from: Cursor,
    pub(super) to: Cursor,
    /// The most positions; all revisions of one position come together.
    pub(super) positions_max: usize,
    /// The end from which positions are counted.
    pub(super) order: Order,
}

impl Wanted {
    pub(super) const ALL: Self = Self {
        from: Cursor {
            at_ms: UnixMillis::MIN,
            id: 0,
        },
        to: Cursor {
            at_ms: UnixMillis::MAX,
            id: u64::MAX,
        },
        positions_max: usize::MAX,
        order: Order::Ascending,
    };

    /// The places of the wanted rows among rows that are sorted by position.
    fn places(&self, rows: usize, key: impl Fn(usize) -> Cursor) -> Range<usize> {
        let first_at = |at: Cursor| {
            let (mut low, mut high) = (0, rows);
            while low < high {
                let middle = low.midpoint(high);
                if key(middle) < at {
                    low = middle + 1;
                } else {
                    high = middle;
                }
            }
            low
        };
        let (from, to) = (first_at(self.from), first_at(self.to));
        let to = to.max(from);
        if to - from <= self.positions_max {
            return from..to;
        }
        let begins_position = |row: usize| row == from || key(row) != key(row - 1);
        match self.order {
            Order::Ascending => {
                let mut begins = (from..to).filter(|row| begins_position(*row));
                from..begins.nth(self.positions_max).unwrap_or(to)
            }
            Order::Descending => {
                let begins = (from..to).rev().filter(|row| begins_position(*row));
                begins.take(self.positions_max).last().unwrap_or(to)..to
            }
        }
    }
}

pub(super) trait Record: Copy {
    /// The position in the series. Rows of one position are revisions of each other.
    fn key(&self) -> Cursor;

    fn encode(kind: Kind, rows: &[Self]) -> Result<Vec<u8>, BlockError>;

    /// Appends the wanted rows to `out`.
    fn decode(
        kind: Kind,
        bytes: &[u8],
        wanted: &Wanted,
        out: &mut Vec<Self>,
    ) -> Result<(), BlockError>;

    /// Drops what is stored twice from the revisions of one position, in the order in which they
    /// were stored, and what was not known at a time. Afterwards the current one is last.
    fn settle(revisions: &mut Vec<Self>, as_of_ms: Option<UnixMillis>);

    /// When the row became known, if that counts.
    fn known_ms(&self) -> Option<UnixMillis>;

    /// Whether the row was known at a time.
    fn is_known_at(&self, at_ms: UnixMillis) -> bool {
        self.known_ms().is_none_or(|known_ms| known_ms <= at_ms)
    }
}

const WRONG_KIND: BlockError = BlockError::Impossible("rows of another kind");

impl Record for BarRow {
    fn key(&self) -> Cursor {
        Cursor {
            at_ms: self.start_ms,
            id: 0,
        }
    }

    fn encode(kind: Kind, rows: &[Self]) -> Result<Vec<u8>, BlockError> {
        match kind {
            Kind::Bars(timeframe) => encode_bars(timeframe, rows),
            Kind::Trades => Err(WRONG_KIND),
        }
    }

    fn decode(
        kind: Kind,
        bytes: &[u8],
        wanted: &Wanted,
        out: &mut Vec<Self>,
    ) -> Result<(), BlockError> {
        let places = |starts: &[i64]| {
            wanted.places(starts.len(), |row| Cursor {
                at_ms: starts[row],
                id: 0,
            })
        };
        match kind {
            Kind::Bars(timeframe) => decode_some_bars(timeframe, bytes, places, out),
            Kind::Trades => Err(WRONG_KIND),
        }
    }

    fn settle(revisions: &mut Vec<Self>, as_of_ms: Option<UnixMillis>) {
        // The first report of a revision says when it became known.
        revisions.sort_by_key(Self::rank);
        let mut kept: Vec<Self> = Vec::with_capacity(revisions.len());
        for row in revisions.drain(..) {
            if !kept.iter().any(|before| before.says_the_same(&row)) {
                kept.push(row);
            }
        }
        kept.retain(|row| as_of_ms.is_none_or(|at_ms| row.is_known_at(at_ms)));
        if let Some(current) = Self::current(&kept) {
            kept[current..].rotate_left(1);
        }
        *revisions = kept;
    }

    fn known_ms(&self) -> Option<UnixMillis> {
        Some(self.known_ms)
    }
}

impl Record for Trade {
    fn key(&self) -> Cursor {
        Cursor {
            at_ms: self.event_ms,
            id: self.first_id,
        }
    }

    fn encode(kind: Kind, rows: &[Self]) -> Result<Vec<u8>, BlockError> {
        match kind {
            Kind::Trades => encode_trades(rows),
            Kind::Bars(_) => Err(WRONG_KIND),
        }
    }

    fn decode(
        kind: Kind,
        bytes: &[u8],
        wanted: &Wanted,
        out: &mut Vec<Self>,
    ) -> Result<(), BlockError> {
        let places = |event_ms: &[i64], first_ids: &[i64]| {
            wanted.places(event_ms.len(), |row| Cursor {
                at_ms: event_ms[row],
                id: first_ids[row].cast_unsigned(),
            })
        };
        match kind {
            Kind::Trades => decode_some_trades(bytes, places, out),
            Kind::Bars(_) => Err(WRONG_KIND),
        }
    }

    fn settle(revisions: &mut Vec<Self>, _: Option<UnixMillis>) {
        revisions.truncate(1);
    }

    fn known_ms(&self) -> Option<UnixMillis> {
        None
    }
}

/// Rows with one row for each position, and the revisions that they replace.
pub(super) struct Settled<R> {
    pub(super) current: Vec<R>,
    pub(super) superseded: Vec<R>,
}

/// Settles rows that are sorted by position and, within it, by when they were stored.
pub(super) fn settle<R: Record>(rows: &[R], as_of_ms: Option<UnixMillis>) -> Settled<R> {
    let mut settled = Settled {
        current: Vec::with_capacity(rows.len()),
        superseded: Vec::new(),
    };
    for group in rows.chunk_by(|a, b| a.key() == b.key()) {
        if let [row] = group {
            settled
                .current
                .extend(Some(*row).filter(|row| as_of_ms.is_none_or(|at| row.is_known_at(at))));
            continue;
        }
        let mut revisions = group.to_vec();
        R::settle(&mut revisions, as_of_ms);
        settled.current.extend(revisions.pop());
        settled.superseded.append(&mut revisions);
    }
    settled
}
