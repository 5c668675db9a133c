//! Readers that are under way while a file is dropped, and blocks that a question need not read.

use market_core::{Price, Timeframe};
use testkit::directory::Directory;

use super::*;
use crate::store::Retention;

const DAY_MS: i64 = 86_400_000;
/// 2024-02-28T00:00Z.
const FEBRUARY_MS: i64 = 1_709_078_400_000;
const MARCH_MS: i64 = FEBRUARY_MS + 10 * DAY_MS;

fn series() -> BarSeries {
    BarSeries {
        instrument: Instrument {
            exchange: "binance".into(),
            symbol: "BTC-USD".parse().expect("a symbol"),
        },
        timeframe: Timeframe::MINUTE,
    }
}

fn row(start_ms: i64) -> BarRow {
    let price = Price::from_parts(100, 0).expect("above zero");
    BarRow::flat(start_ms, price, start_ms)
}

fn append(store: &SqliteStore, start_ms: i64) {
    let batch = [(series(), vec![row(start_ms)])];
    store.append_bars(&batch, None).expect("appended");
}

fn starts(store: &SqliteStore) -> Vec<i64> {
    let range = Range::new(0, MARCH_MS, 10);
    let page = store.bars(&series(), &range).expect("a page");
    page.rows.iter().map(|row| row.start_ms).collect()
}

/// A store with a bar in February and one in March, and the file of February.
fn two_months(directory: &Directory) -> (SqliteStore, StoreFile) {
    let store = SqliteStore::open(directory.path(), SqliteOptions::default()).expect("new");
    append(&store, FEBRUARY_MS);
    append(&store, MARCH_MS);
    let february = store.all_files().swap_remove(0);
    (store, february)
}

fn drop_february(store: &SqliteStore) {
    let dropped = store.drop_before(Kind::Bars(Timeframe::MINUTE), MARCH_MS);
    assert_eq!(dropped.expect("dropped"), 1);
}

#[test]
fn a_reader_under_way_while_its_file_is_dropped_is_not_used_for_the_next_file_of_its_name() {
    let directory = Directory::named("reader-of-a-dropped-file");
    let (store, february) = two_months(&directory);
    let read = store.with_reader(&february, |_| {
        drop_february(&store);
        Ok(())
    });
    read.expect("it has what it had");
    // An import brings the month back.
    append(&store, FEBRUARY_MS + 60_000);
    assert_eq!(starts(&store), [FEBRUARY_MS + 60_000]);
}

#[test]
fn a_file_that_is_dropped_before_a_reader_opens_it_has_no_rows_and_is_no_error() {
    let directory = Directory::named("file-dropped-before-it-is-read");
    let (store, february) = two_months(&directory);
    drop_february(&store);
    let read = store.with_reader(&february, |_| Ok(()));
    assert!(matches!(read, Ok(None)), "{read:?}");
    assert_eq!(starts(&store), [0_i64; 0]);
}

/// Makes the blocks of all files unreadable, as a sign for who reads them.
fn tear_blocks(store: &SqliteStore) {
    for file in store.all_files() {
        let connection = Connection::open(&file.path).expect("a file");
        let torn = "UPDATE chunk SET bytes = x'00'";
        connection.execute(torn, []).expect("torn");
    }
}

fn newest(store: &SqliteStore, as_of_ms: Option<i64>) -> Result<Page<BarRow>, StoreError> {
    let range = Range {
        as_of_ms,
        order: Order::Descending,
        ..Range::new(0, i64::MAX, 1)
    };
    store.bars(&series(), &range)
}

#[test]
fn blocks_of_which_nothing_was_known_then_are_not_read_for_a_question_as_of_that_time() {
    let directory = Directory::named("as-of-before-all");
    let store = SqliteStore::open(directory.path(), SqliteOptions::default()).expect("new");
    let rows: Vec<BarRow> = (0..9_000)
        .map(|at| row(FEBRUARY_MS + at * 60_000))
        .collect();
    let (sealed, tail) = rows.split_at(8_500);
    for rows in [sealed, tail] {
        let batch = [(series(), rows.to_vec())];
        store.append_bars(&batch, None).expect("appended");
    }
    let before = newest(&store, Some(FEBRUARY_MS + 60_000)).expect("a page");
    assert_eq!(before.rows, rows[1..2]);
    tear_blocks(&store);
    let nothing = newest(&store, Some(FEBRUARY_MS - 1)).expect("no block is read");
    assert_eq!(nothing.rows, []);
    assert!(newest(&store, Some(FEBRUARY_MS)).is_err());
    assert!(newest(&store, None).is_err());
}

#[test]
fn a_search_for_late_revisions_goes_on_at_the_block_that_has_one() {
    let directory = Directory::named("late-revisions");
    let store = SqliteStore::open(directory.path(), SqliteOptions::default()).expect("new");
    let rows: Vec<BarRow> = (0..20_000)
        .map(|at| row(FEBRUARY_MS + at * 60_000))
        .collect();
    let batch = [(series(), rows.clone())];
    store.append_bars(&batch, None).expect("appended");
    let end_ms = FEBRUARY_MS + 20_000 * 60_000;
    let last = |before_ms, known_after_ms| {
        let last = store.last_known_after(&series(), before_ms, known_after_ms);
        last.expect("read")
    };
    assert_eq!(last(end_ms, end_ms), None);
    let revised = BarRow {
        rev: 1,
        known_ms: end_ms + 5,
        ..rows[100]
    };
    store
        .append_bars(&[(series(), vec![revised])], None)
        .expect("appended");
    assert_eq!(last(end_ms, end_ms), Some(revised.start_ms));
    store.compact().expect("compacted");
    // It is somewhere in the first block.
    let found = last(end_ms, end_ms).expect("a block");
    assert!(
        (revised.start_ms..rows[8_192].start_ms).contains(&found),
        "{found}"
    );
    assert_eq!(last(revised.start_ms + 1, end_ms), Some(revised.start_ms));
    assert_eq!(last(end_ms, end_ms + 5), None);
}

/// What version 1 of the schema was.
const VERSION_1: &str = "
DROP INDEX chunk_by_time;
ALTER TABLE chunk DROP COLUMN known_first_ms;
ALTER TABLE chunk DROP COLUMN known_last_ms;
CREATE INDEX chunk_by_time ON chunk (series, state, last_ms, first_ms);
PRAGMA user_version = 1;
";

#[test]
fn files_of_the_version_before_are_read_and_take_new_rows() {
    let directory = Directory::named("schema-version-1");
    let (store, february) = two_months(&directory);
    store.compact().expect("sealed");
    drop(store);
    for month in fs::read_dir(directory.path()).expect("a directory") {
        let path = month.expect("a file").path();
        if path.extension().is_some_and(|name| name == "sqlite") {
            let connection = Connection::open(&path).expect("a file");
            connection.execute_batch(VERSION_1).expect("version 1");
        }
    }
    let store = SqliteStore::open(directory.path(), SqliteOptions::default()).expect("open");
    let as_of = |at_ms| newest(&store, Some(at_ms)).expect("a page").rows;
    let check = |newest_ms: i64| {
        assert_eq!(as_of(FEBRUARY_MS), [row(FEBRUARY_MS)]);
        assert_eq!(as_of(FEBRUARY_MS - 1), []);
        let last = store.last_known_after(&series(), i64::MAX, MARCH_MS + 60_000);
        assert_eq!(last.expect("read"), Some(newest_ms));
        store.verify(|report| assert_eq!(report.damage, [""; 0]));
    };
    // Nothing is known of its blocks, so all of them are read.
    check(MARCH_MS);
    append(&store, MARCH_MS + 60_000);
    append(&store, FEBRUARY_MS + 60_000);
    check(MARCH_MS);
    let connection = Connection::open(&february.path).expect("a file");
    assert!(file::has_known(&connection).expect("a version"));
}
