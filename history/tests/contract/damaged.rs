//! Files that are full, torn, foreign or in use.

use std::fs::{self, OpenOptions};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use history::BarRow;
use history::store::{
    BarStore, Range, Retention, SqliteOptions, SqliteStore, StoreError, Watermark,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rusqlite::Connection;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::rows::{START_MS, bar, minutes};
use testkit::directory::Directory;

const MINUTE_MS: i64 = 60_000;
const DAY_MS: i64 = 86_400_000;

fn open(directory: &Directory) -> Result<SqliteStore, StoreError> {
    SqliteStore::open(directory.path(), SqliteOptions::default())
}

fn read(store: &SqliteStore, from_ms: i64, to_ms: i64) -> Result<Vec<BarRow>, StoreError> {
    let range = Range::new(from_ms, to_ms, 100_000);
    store
        .bars(&minutes("BTC-USD"), &range)
        .map(|page| page.rows)
}

fn append(store: &SqliteStore, rows: &[BarRow], position: u64) -> Result<(), StoreError> {
    let mark = Watermark {
        stream: "closed".into(),
        position,
    };
    store.append_bars(&[(minutes("BTC-USD"), rows.to_vec())], Some(&mark))
}

#[test]
fn a_full_disk_refuses_rows_and_keeps_all_that_were_acknowledged() {
    let directory = Directory::new();
    let options = SqliteOptions {
        file_bytes_max: Some(256 * 1_024),
    };
    let store = SqliteStore::open(directory.path(), options).expect("a new directory");
    let mut acknowledged = Vec::new();
    let error = loop {
        let step = i64::try_from(acknowledged.len()).expect("small");
        let rows: Vec<_> = (0..50)
            .map(|index| {
                bar(
                    START_MS + (step + index) * 1_000 * 60,
                    0,
                    step * index * 7_919,
                )
            })
            .collect();
        match append(&store, &rows, acknowledged.len() as u64 + 50) {
            Ok(()) => acknowledged.extend(rows),
            Err(error) => break error,
        }
        assert!(acknowledged.len() < 1_000_000, "the file has a bound");
    };
    assert!(matches!(error, StoreError::Full { .. }), "{error:?}");
    assert!(error.is_retryable() && error.to_string().contains("free disk space"));
    let check = |store: &SqliteStore| {
        let position = store.watermark("closed").expect("read");
        assert_eq!(position, Some(acknowledged.len() as u64));
        let rows = read(store, 0, i64::MAX).expect("a page");
        let starts = |rows: &[BarRow]| rows.iter().map(|row| row.start_ms).collect::<Vec<_>>();
        assert_eq!(starts(&rows), starts(&acknowledged));
    };
    check(&store);
    drop(store);
    // With space again, it goes on.
    let store = open(&directory).expect("opened");
    check(&store);
    append(&store, &[bar(START_MS + 40 * DAY_MS, 0, 0)], 1_000_000).expect("appended");
    assert_eq!(store.watermark("closed").expect("read"), Some(1_000_000));
}

/// February and March, closed.
fn two_months(directory: &Directory) -> Vec<BarRow> {
    let store = open(directory).expect("a new directory");
    let rows: Vec<_> = (0..5_000)
        .map(|index| bar(START_MS + index * MINUTE_MS, 0, index * 7_919 % 1_013))
        .collect();
    append(&store, &rows, 1).expect("appended");
    store.compact().expect("compacted");
    rows
}

/// The first instant of March.
const MARCH_MS: i64 = 1_709_251_200_000;

#[test]
fn a_torn_file_is_an_error_that_names_it_and_other_months_are_read() {
    let directory = Directory::new();
    let rows = two_months(&directory);
    let file = directory.files("sqlite")[0].clone();
    let whole = fs::read(&file).expect("a file");
    let torn = [
        whole[..whole.len() / 2].to_vec(),
        b"this is no database, whatever its name says".repeat(99),
        Vec::new(),
    ];
    for bytes in torn {
        fs::write(&file, bytes).expect("written");
        let store = open(&directory).expect("opened");
        let error = read(&store, 0, MARCH_MS).expect_err("a torn file");
        assert!(matches!(error, StoreError::Damaged { .. }), "{error:?}");
        let text = error.to_string();
        assert!(
            text.contains("2024-02") && text.contains("import"),
            "{text}"
        );
        let march = read(&store, MARCH_MS, i64::MAX).expect("another file");
        let expected = rows.iter().filter(|row| row.start_ms >= MARCH_MS);
        assert!(march.iter().eq(expected));
    }
}

#[test]
fn bytes_that_change_on_disk_never_change_a_row() {
    let directory = Directory::new();
    let rows = two_months(&directory);
    let file = directory.files("sqlite")[1].clone();
    let whole = fs::read(&file).expect("a file");
    let mut errors = 0;
    for seed in 0..60 {
        let mut random = StdRng::seed_from_u64(seed);
        fs::write(&file, &whole).expect("written");
        let mut changed = OpenOptions::new().write(true).open(&file).expect("a file");
        let at = random.random_range(0..whole.len());
        let noise: Vec<u8> = (0..random.random_range(1..600))
            .map(|_| random.random())
            .collect();
        changed.seek(SeekFrom::Start(at as u64)).expect("within");
        changed.write_all(&noise).expect("written");
        drop(changed);
        let store = open(&directory).expect("opened");
        match read(&store, MARCH_MS, i64::MAX) {
            Ok(read) => assert!(read.iter().all(|row| rows.contains(row)), "seed {seed}"),
            Err(_) => errors += 1,
        }
    }
    assert!(errors > 0, "no damage was found");
}

#[test]
fn a_directory_in_use_is_refused_and_free_after_its_store_is_closed() {
    let directory = Directory::new();
    let store = open(&directory).expect("a new directory");
    let error = open(&directory).expect_err("in use");
    assert!(matches!(error, StoreError::InUse { .. }), "{error:?}");
    drop(store);
    open(&directory).expect("free again");
}

#[test]
fn a_file_of_a_newer_program_is_left_alone() {
    let directory = Directory::new();
    two_months(&directory);
    let file = directory.files("sqlite")[0].clone();
    let mut bytes = fs::read(&file).expect("a file");
    // The user version in SQLite's header.
    bytes[60..64].copy_from_slice(&9u32.to_be_bytes());
    fs::write(&file, &bytes).expect("written");
    let store = open(&directory).expect("opened");
    for error in [
        read(&store, 0, MARCH_MS).expect_err("a newer file"),
        append(&store, &[bar(START_MS, 1, 0)], 2).expect_err("a newer file"),
    ] {
        assert!(
            matches!(
                error,
                StoreError::Version {
                    version: 9,
                    known: 2,
                    ..
                }
            ),
            "{error:?}"
        );
    }
}

#[test]
fn retention_and_the_watermark_go_on_past_a_damaged_file() {
    let directory = Directory::new();
    two_months(&directory);
    let store = open(&directory).expect("opened");
    let later = MARCH_MS + 60 * DAY_MS;
    append(&store, &[bar(later, 0, 0)], 2).expect("appended");
    drop(store);
    let files = directory.files("sqlite");
    fs::write(
        &files[0],
        b"this is no database, whatever its name says".repeat(99),
    )
    .expect("written");
    let store = open(&directory).expect("opened");
    assert_eq!(store.watermark("closed").expect("of the others"), Some(2));
    let kind = history::store::Kind::Bars("1m".parse().expect("a timeframe"));
    // February, damaged, and March.
    let error = store.compact().expect_err("it is said");
    assert!(matches!(error, StoreError::Damaged { .. }), "{error:?}");
    let dropped = store.drop_before(kind, later - DAY_MS).expect("dropped");
    assert_eq!(dropped, 2);
    assert_eq!(directory.files("sqlite").len(), 1);
    assert_eq!(store.watermark("closed").expect("kept"), Some(2));
}

#[test]
fn a_file_whose_creation_was_cut_off_is_completed_after_a_restart() {
    let directory = Directory::new();
    let options = SqliteOptions {
        file_bytes_max: Some(4_096),
    };
    let store = SqliteStore::open(directory.path(), options).expect("a new directory");
    let error = append(&store, &[bar(START_MS, 0, 0)], 1).expect_err("no room for the schema");
    assert!(matches!(error, StoreError::Full { .. }), "{error:?}");
    drop(store);
    let store = open(&directory).expect("opened");
    assert_eq!(store.watermark("closed").expect("nothing is stored"), None);
    assert!(
        read(&store, 0, MARCH_MS)
            .expect("nothing is stored")
            .is_empty()
    );
    append(&store, &[bar(START_MS, 0, 0)], 1).expect("there is room now");
    assert_eq!(read(&store, 0, MARCH_MS).expect("a page").len(), 1);
}

/// Counts warnings.
#[derive(Clone, Default)]
struct Warnings(Arc<AtomicUsize>);

impl Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::WARN
    }

    fn event(&self, _: &Event<'_>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

#[test]
fn rows_that_a_damaged_block_keeps_from_being_sealed_are_read_again_ever_more_rarely() {
    let directory = Directory::new();
    let store = open(&directory).expect("a new directory");
    append(&store, &[bar(START_MS, 0, 0)], 1).expect("appended");
    store.compact().expect("a block, which later rows extend");
    drop(store);
    let file = directory.files("sqlite")[0].clone();
    let connection = Connection::open(&file).expect("a database");
    let damage = |bytes: &str| {
        connection
            .execute(
                &format!("UPDATE chunk SET bytes = {bytes} WHERE state = 1"),
                [],
            )
            .expect("updated")
    };
    connection
        .execute("CREATE TEMP TABLE whole AS SELECT bytes FROM chunk", [])
        .expect("copied");
    assert_eq!(damage("x'00'"), 1);
    let store = open(&directory).expect("opened");
    let warnings = Warnings::default();
    let appends = 1_000;
    tracing::subscriber::with_default(warnings.clone(), || {
        for index in 1..=appends {
            let row = bar(START_MS + index * MINUTE_MS, 0, 0);
            append(&store, &[row], 1).expect("stored all the same");
        }
    });
    // With 64 pieces, and each time that they are twice as many.
    assert_eq!(warnings.0.load(Ordering::Relaxed), 4);
    assert_eq!(damage("(SELECT bytes FROM whole)"), 1);
    store.compact().expect("whole again");
    let rows = read(&store, 0, MARCH_MS).expect("a page");
    assert_eq!(rows.len(), usize::try_from(appends + 1).expect("small"));
}
