//! Which rows of a batch a server refuses.
//!
//! A row is left out only if the server accepts another one of the same batch, which is of the same
//! time. A server that refuses them all has a fault of its own, such as a view of the table that cannot
//! work: then no row is left out, and the batch waits.

use crate::store::StoreError;

/// Single rows that are tried before the server is believed to refuse all of them.
const SAMPLE_ROWS: usize = 16;

/// Rows of one instrument or series.
type Group<K, R> = (K, Vec<R>);

/// Stores rows.
type Put<'a, K, R> = dyn Fn(&[Group<K, R>]) -> Result<(), StoreError> + 'a;

/// Rows that a server refused, and were left out.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    pub(crate) count: u64,
    /// Of the last one.
    pub(crate) why: Option<String>,
}

impl Refusals {
    /// Stores rows of which the server refuses some, without these, and returns what is stored.
    ///
    /// # Errors
    /// `Refused` if it refuses all that are tried; else those of `put`, and some rows are stored.
    pub(crate) fn leave_out<K: Clone, R: Copy>(
        &mut self,
        groups: Vec<Group<K, R>>,
        put: &Put<'_, K, R>,
    ) -> Result<Vec<Group<K, R>>, StoreError> {
        if groups.is_empty() {
            return Ok(groups);
        }
        accept_any(&groups, put)?;
        self.halve(groups, put)
    }

    /// Stores the rows in halves until each one that is refused is alone.
    fn halve<K: Clone, R: Copy>(
        &mut self,
        mut groups: Vec<Group<K, R>>,
        put: &Put<'_, K, R>,
    ) -> Result<Vec<Group<K, R>>, StoreError> {
        let rows = rows_of(&groups);
        if rows == 0 {
            return Ok(Vec::new());
        }
        let why = match put(&groups) {
            Ok(()) => return Ok(groups),
            Err(StoreError::RowRefused { reason, .. }) => reason,
            Err(error) => return Err(error),
        };
        if rows == 1 {
            self.count = self.count.saturating_add(1);
            self.why = Some(why);
            return Ok(Vec::new());
        }
        let second = match groups.len() {
            1 => {
                let (key, rows) = &mut groups[0];
                let rest = rows.split_off(rows.len() / 2);
                vec![(key.clone(), rest)]
            }
            count => groups.split_off(count / 2),
        };
        let mut stored = self.halve(groups, put)?;
        stored.extend(self.halve(second, put)?);
        Ok(stored)
    }
}

fn rows_of<K, R>(groups: &[Group<K, R>]) -> usize {
    groups.iter().map(|(_, rows)| rows.len()).sum()
}

/// Stores one of the rows, whichever the server accepts. Others are tried each time.
///
/// # Errors
/// `Refused` if it accepts none of them.
fn accept_any<K: Clone, R: Copy>(
    groups: &[Group<K, R>],
    put: &Put<'_, K, R>,
) -> Result<(), StoreError> {
    let rows = rows_of(groups);
    let mut random = rand::rng();
    let sample = rand::seq::index::sample(&mut random, rows, rows.min(SAMPLE_ROWS));
    let mut refused = None;
    for at in sample {
        let mut each = groups
            .iter()
            .flat_map(|(key, rows)| rows.iter().map(move |row| (key, *row)));
        let Some((key, row)) = each.nth(at) else {
            continue;
        };
        match put(&[(key.clone(), vec![row])]) {
            Err(StoreError::RowRefused { store, reason }) => refused = Some((store, reason)),
            put => return put,
        }
    }
    match refused {
        Some((store, reason)) => Err(StoreError::Refused {
            store,
            reason: format!("every row that was tried, so no row is left out: {reason}"),
        }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::collections::BTreeSet;

    use super::*;

    /// Rows of three groups, numbered.
    fn groups(rows: u32) -> Vec<Group<u8, u32>> {
        let of = |group: u32| (0..rows).filter(move |row| row % 3 == group).collect();
        (0..3).map(|group| (group as u8, of(group))).collect()
    }

    /// How many rows are stored and left out, and how many requests it took; `None` where the server
    /// refuses.
    #[track_caller]
    fn check(rows: u32, refuses: impl Fn(u32) -> bool, expected: Option<(usize, u64)>) -> usize {
        let (stored, calls) = (RefCell::new(BTreeSet::new()), Cell::new(0));
        let put = |groups: &[Group<u8, u32>]| {
            calls.set(calls.get() + 1);
            let rows = || groups.iter().flat_map(|(_, rows)| rows.iter().copied());
            if rows().any(&refuses) {
                return Err(StoreError::RowRefused {
                    store: "clickhouse://host/db".into(),
                    reason: "Cannot parse".to_owned(),
                });
            }
            stored.borrow_mut().extend(rows());
            Ok(())
        };
        let mut refusals = Refusals::default();
        let left = refusals.leave_out(groups(rows), &put);
        match (left, expected) {
            (Ok(left), Some(expected)) => {
                assert_eq!((rows_of(&left), refusals.count), expected);
                assert_eq!(stored.into_inner().len(), expected.0);
            }
            (Err(error @ StoreError::Refused { .. }), None) => {
                assert!(error.to_string().contains("Cannot parse"), "{error}");
                assert!(stored.into_inner().is_empty());
            }
            (left, expected) => panic!("{left:?}, not {expected:?}"),
        }
        calls.get()
    }

    #[test]
    fn rows_are_left_out_only_if_the_server_accepts_others_of_the_batch() {
        check(1_000, |row| row == 77, Some((999, 1)));
        check(16, |row| row != 3, Some((1, 15)));
        // More than any fixed number.
        check(1_000, |row| row % 3 == 1, Some((667, 333)));
        for rows in [1, 2, 64, 1_000] {
            let calls = check(rows, |_| true, None);
            assert!(calls <= SAMPLE_ROWS, "{calls}");
        }
    }
}
