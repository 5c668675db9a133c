//! The revisions of one bar, for stores that read all of them: pure.

use market_core::BarRow;

/// The revisions of one bar without those that say the same, of which the one that became known first
/// stays. Rising by rank.
pub(crate) fn distinct(mut revisions: Vec<BarRow>) -> Vec<BarRow> {
    revisions.sort_by_key(BarRow::rank);
    let mut kept: Vec<BarRow> = Vec::with_capacity(revisions.len());
    for row in revisions {
        if !kept.iter().any(|before| before.says_the_same(&row)) {
            kept.push(row);
        }
    }
    kept
}

/// Moves the revision that counts behind the others, which rise by rank.
pub(crate) fn current_last(revisions: &mut [BarRow]) {
    if let Some(current) = BarRow::current(revisions) {
        revisions[current..].rotate_left(1);
    }
}

/// The revisions of several bars, by ascending start, from rows in any order of revisions: of each
/// bar the current one last.
pub(crate) fn settled(rows: &[BarRow]) -> Vec<BarRow> {
    let mut settled = Vec::with_capacity(rows.len());
    for bar in rows.chunk_by(|a, b| a.start_ms == b.start_ms) {
        let mut revisions = distinct(bar.to_vec());
        current_last(&mut revisions);
        settled.append(&mut revisions);
    }
    settled
}
