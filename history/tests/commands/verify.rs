//! `history verify`.

use std::fs;

use history::store::{BarSeries, BarStore};
use market_core::{BarRow, Quality, Timeframe};
use rusqlite::{Connection, params};
use testkit::directory::Directory;

use crate::files::{klines, write};
use crate::{bars, command, import, instrument, open, stderr, stdout, succeeded};

/// A store with 30,000 bars of a minute: most of August 2024.
fn filled() -> Directory {
    let (files, store) = (Directory::new(), Directory::new());
    let file = write(files.path(), "rows.csv", klines(30_000, 1).as_bytes());
    succeeded(&import(store.path(), &[], &[&file]));
    store
}

fn verified(store: &Directory) -> (bool, String) {
    let output = command(store.path(), "verify").output().expect("started");
    assert_eq!(stderr(&output), "");
    (output.status.success(), stdout(&output))
}

#[test]
fn a_sound_store_is_said_to_be_sound_with_its_rows() {
    let (is_sound, said) = verified(&filled());
    assert!(is_sound, "{said}");
    assert!(
        said.contains("bars-1m-2024-08.sqlite: sound; 1 series"),
        "{said}"
    );
    assert!(
        said.contains("1 files, 30000 rows; 0 files are damaged"),
        "{said}"
    );
}

#[test]
fn bars_that_are_missing_or_special_are_counted_by_their_cause() {
    let store = filled();
    let series = BarSeries {
        instrument: instrument(),
        timeframe: Timeframe::MINUTE,
    };
    let mut rows = bars(&open(store.path()), "1m");
    for (minute, row) in (0..).zip(&mut rows) {
        row.is_imported = false;
        row.quality = match minute {
            0..3 => Quality::Gap,
            3..5 => Quality::Partial,
            _ => Quality::Complete,
        };
    }
    // The first bar is healed, and what was known before it counts no longer.
    let mut healed = rows[0];
    (healed.rev, healed.quality) = (1, Quality::Backfilled);
    // Ten bars were made here, and the others stay the venue's. It has none of the last two minutes.
    let last_ms = rows.last().map_or(0, |row| row.start_ms);
    let partial = [rows[3], rows[4]];
    rows.truncate(10);
    rows.push(healed);
    for (minute, row) in (1..).zip(partial) {
        rows.push(BarRow {
            start_ms: last_ms + minute * 60_000,
            ..row
        });
    }
    let stored = open(store.path()).append_bars(&[(series, rows)], None);
    stored.expect("stored");
    let (is_sound, said) = verified(&store);
    assert!(is_sound, "{said}");
    assert!(
        said.contains("; bars: 2 gap, 2 partial, 29992 from_venue, 1 backfilled"),
        "{said}"
    );
}

#[test]
fn each_kind_of_damage_is_found_and_its_place_is_named() {
    // A change of the database, and what must be said of it.
    let damages = [
        (
            "UPDATE chunk SET bytes = zeroblob(length(bytes)) WHERE id = ?1",
            "checksum",
        ),
        (
            "UPDATE chunk SET row_count = row_count + 1 WHERE id = ?1",
            "as many rows",
        ),
        (
            "UPDATE chunk SET last_ms = last_ms + 60000 WHERE id = ?1",
            "first and last rows",
        ),
        (
            "UPDATE chunk SET first_ms = first_ms - 60000 WHERE id = ?1",
            "overlaps",
        ),
        (
            "UPDATE chunk SET series = 99 WHERE id = ?1",
            "series is missing",
        ),
        ("UPDATE chunk SET state = 7 WHERE id = ?1", "neither tail"),
        (
            "INSERT INTO watermark SELECT 'x', -1 FROM chunk WHERE id = ?1",
            "below zero",
        ),
    ];
    for (change, expected) in damages {
        let store = filled();
        let file = store.files("sqlite").remove(0);
        let connection = Connection::open(&file).expect("a database");
        let second: i64 = connection
            .query_row(
                "SELECT id FROM chunk ORDER BY first_ms LIMIT 1 OFFSET 2",
                [],
                |row| row.get(0),
            )
            .expect("several blocks");
        assert_eq!(
            connection.execute(change, params![second]),
            Ok(1),
            "{change}"
        );
        drop(connection);
        let (is_sound, said) = verified(&store);
        assert!(!is_sound, "{change}: {said}");
        assert!(
            said.contains("bars-1m-2024-08.sqlite: DAMAGED") && said.contains(expected),
            "{change}: {said}"
        );
        assert!(
            said.contains("What to do") && said.contains("history import --again"),
            "{said}"
        );
    }
}

#[test]
fn a_torn_file_is_damaged_and_the_others_are_checked() {
    let store = filled();
    let (files, august) = (Directory::new(), store.files("sqlite").remove(0));
    let later: String = klines(50_000, 1)
        .lines()
        .skip(45_000)
        .map(|line| format!("{line}\n"))
        .collect();
    let file = write(files.path(), "later.csv", later.as_bytes());
    succeeded(&import(store.path(), &[], &[&file]));
    let whole = fs::read(&august).expect("a file");
    fs::write(&august, &whole[..whole.len() / 2]).expect("written");
    let (is_sound, said) = verified(&store);
    assert!(
        !is_sound && said.contains("2024-08.sqlite: DAMAGED"),
        "{said}"
    );
    assert!(said.contains("2024-09.sqlite: sound"), "{said}");
}

#[test]
fn a_directory_without_a_store_is_an_error_that_names_it() {
    let parent = Directory::new();
    let missing = parent.path().join("none");
    let output = command(&missing, "verify").output().expect("started");
    assert!(!output.status.success());
    let said = stderr(&output);
    assert!(
        said.contains("there is no store in") && said.contains("--data-dir"),
        "{said}"
    );
    assert!(!missing.exists(), "nothing was made");
}
