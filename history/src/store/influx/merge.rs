//! What an append changes of one bar: pure.

use std::collections::BTreeMap;

use market_core::BarRow;
use twox_hash::XxHash64;

use super::point::PLACES;
use crate::store::revisions::{current_last, distinct};
use crate::store::row_text::bar_text;

/// What is stored of one bar.
#[derive(Clone, Debug, Default)]
pub(super) struct Stored {
    /// The revision in `market_klines`.
    pub(super) current: Option<BarRow>,
    /// The points in `market_kline_revisions`, by their place in the millisecond of the start.
    pub(super) places: BTreeMap<i64, BarRow>,
}

/// Points to write, of which the superseded ones go first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    /// Points of `market_kline_revisions`, with their places.
    pub(super) superseded: Vec<(i64, BarRow)>,
    /// The point of `market_klines`.
    pub(super) current: Option<BarRow>,
}

/// Where a superseded revision begins to look for its place: it follows from the content.
fn first_place(row: &BarRow) -> i64 {
    let text = bar_text(&BarRow {
        known_ms: 0,
        ..*row
    });
    let hash = XxHash64::oneshot(0, text.as_bytes()) % PLACES.unsigned_abs();
    hash.cast_signed()
}

impl Stored {
    /// What more revisions of the bar change.
    pub(super) fn with(&self, rows: &[BarRow]) -> Changes {
        let mut revisions: Vec<BarRow> = self.places.values().copied().collect();
        revisions.extend(self.current);
        revisions.extend_from_slice(rows);
        let mut revisions = distinct(revisions);
        current_last(&mut revisions);
        let current = revisions.pop();
        let mut places = self.places.clone();
        let mut superseded = Vec::new();
        for row in revisions {
            if places.values().any(|stored| *stored == row) {
                continue;
            }
            let mut place = first_place(&row);
            // The same revision, known since an earlier time, takes the place of the later one.
            while places
                .get(&place)
                .is_some_and(|stored| !stored.says_the_same(&row))
            {
                place = (place + 1) % PLACES;
            }
            places.insert(place, row);
            superseded.push((place, row));
        }
        Changes {
            superseded,
            current: current.filter(|row| self.current != Some(*row)),
        }
    }
}
