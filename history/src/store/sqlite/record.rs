//! What bars and trades have in common for the files.

use market_core::{Trade, UnixMillis};

use crate::block::{BlockError, decode_bars, decode_trades, encode_bars, encode_trades};
use crate::store::{Cursor, Kind};
use market_core::BarRow;

pub(super) trait Record: Copy {
    /// The position in the series. Rows of one position are revisions of each other.
    fn key(&self) -> Cursor;

    fn encode(kind: Kind, rows: &[Self]) -> Result<Vec<u8>, BlockError>;

    fn decode(kind: Kind, bytes: &[u8], out: &mut Vec<Self>) -> Result<(), BlockError>;

    /// Drops what is stored twice from the revisions of one position, in the order in which they
    /// were stored. Afterwards the current one is last.
    fn settle(revisions: &mut Vec<Self>);

    /// Whether the row was known at a time.
    fn is_known_at(&self, at_ms: UnixMillis) -> bool;
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

    fn decode(kind: Kind, bytes: &[u8], out: &mut Vec<Self>) -> Result<(), BlockError> {
        match kind {
            Kind::Bars(timeframe) => decode_bars(timeframe, bytes, out),
            Kind::Trades => Err(WRONG_KIND),
        }
    }

    fn settle(revisions: &mut Vec<Self>) {
        // The first report of a revision says when it became known.
        revisions.sort_by_key(Self::rank);
        let mut kept: Vec<Self> = Vec::with_capacity(revisions.len());
        for row in revisions.drain(..) {
            if !kept.iter().any(|before| before.says_the_same(&row)) {
                kept.push(row);
            }
        }
        *revisions = kept;
    }

    fn is_known_at(&self, at_ms: UnixMillis) -> bool {
        self.known_ms <= at_ms
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

    fn decode(kind: Kind, bytes: &[u8], out: &mut Vec<Self>) -> Result<(), BlockError> {
        match kind {
            Kind::Trades => decode_trades(bytes, out),
            Kind::Bars(_) => Err(WRONG_KIND),
        }
    }

    fn settle(revisions: &mut Vec<Self>) {
        revisions.truncate(1);
    }

    fn is_known_at(&self, _: UnixMillis) -> bool {
        true
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
        R::settle(&mut revisions);
        if let Some(at_ms) = as_of_ms {
            revisions.retain(|row| row.is_known_at(at_ms));
        }
        settled.current.extend(revisions.pop());
        settled.superseded.append(&mut revisions);
    }
    settled
}
