//! Bars of the venues beside bars that were made here.

use history::BarRow;
use history::store::{BarStore, Range, Retention};
use market_core::{Quality, UnixMillis};

use super::{append, bars};
use crate::Subject;
use crate::rows::{START_MS, bar, minutes};

const MINUTE_MS: UnixMillis = 60_000;

pub(crate) fn an_imported_bar_yields_to_one_made_here(subject: &impl Subject) {
    let (store, series) = (subject.open(), minutes("BTC-USD"));
    let imported = |known_ms: UnixMillis| BarRow {
        is_imported: true,
        ..bar(START_MS, 5, known_ms)
    };
    append(&store, &series, &[imported(START_MS)]);
    assert_eq!(bars(&store, &series), [imported(START_MS)]);
    let own = bar(START_MS, 0, START_MS + 1);
    append(&store, &series, &[own]);
    append(
        &store,
        &series,
        &[BarRow {
            rev: 9,
            ..imported(START_MS + 2)
        }],
    );
    assert_eq!(bars(&store, &series), [own]);
    store.compact().expect("compacted");
    assert_eq!(bars(&store, &series), [own]);
}

pub(crate) fn a_partial_bar_yields_to_the_whole_one_of_the_venue(subject: &impl Subject) {
    let (store, series) = (subject.open(), minutes("BTC-USD"));
    let venue = BarRow {
        is_imported: true,
        ..bar(START_MS, 0, START_MS + 10)
    };
    let partial = |rev, known_ms| BarRow {
        quality: Quality::Partial,
        ..bar(START_MS, rev, known_ms)
    };
    let before = partial(0, START_MS + 5);
    append(&store, &series, &[before]);
    append(&store, &series, &[venue]);
    // After a restart, or when the stream is read again.
    for again in [partial(1, START_MS + 20), before] {
        append(&store, &series, &[again]);
        assert_eq!(bars(&store, &series), [venue]);
        store.compact().expect("compacted");
        assert_eq!(bars(&store, &series), [venue]);
    }
    // Its rank is below the others', and it counts.
    let expected = [before, partial(1, START_MS + 20), venue];
    let revisions = store.bar_revisions(&series, START_MS).expect("revisions");
    assert_eq!(revisions, expected);
    let next = bar(START_MS + MINUTE_MS, 0, START_MS + MINUTE_MS);
    append(&store, &series, &[next]);
    let span = store.revisions_between(&series, START_MS, START_MS + MINUTE_MS + 1);
    let span = span.expect("revisions");
    assert_eq!(span, [&expected[..], &[next]].concat());
    let span = store.revisions_between(&series, START_MS + 1, START_MS + MINUTE_MS);
    assert_eq!(span.expect("revisions"), []);
    // What was told before stays told.
    let range = Range {
        as_of_ms: Some(START_MS + 5),
        ..Range::new(START_MS, START_MS + 1, 10)
    };
    let told = store.bars(&series, &range).expect("a page").rows;
    assert_eq!(told, [before]);
    let whole = bar(START_MS, 2, START_MS + 30);
    append(&store, &series, &[whole]);
    assert_eq!(bars(&store, &series), [whole, next]);
}
