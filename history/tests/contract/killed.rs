//! A writer that is killed at any moment.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use history::store::{
    BarStore, Range, Retention, SqliteOptions, SqliteStore, TradeStore, Watermark,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::rows::{START_MS, bar, instrument, minutes, trade};
use testkit::directory::Directory;

const DIRECTORY: &str = "KLINECAST_HISTORY_KILLED_DIRECTORY";
const STREAM: &str = "closed";
const NAMES: [&str; 3] = ["BTC-USD", "ETH-USD", "SOL-USD"];
/// Bars are six hours apart: a month has 120.
const STEP_MS: i64 = 6 * 3_600_000;
/// Each seventh message revises the bar of so many messages before.
const LATE: i64 = 50;

fn open(directory: &Path) -> SqliteStore {
    SqliteStore::open(directory, SqliteOptions::default()).expect("free after the kill")
}

fn start_ms(position: u64) -> i64 {
    START_MS + i64::try_from(position).expect("small") * STEP_MS
}

fn rev_at(position: u64, newest: u64) -> u32 {
    let reviser = position + LATE.unsigned_abs();
    u32::from(reviser.is_multiple_of(7) && reviser <= newest)
}

fn append(store: &SqliteStore, position: u64) {
    let batch: Vec<_> = NAMES
        .iter()
        .map(|name| {
            let mut rows = vec![bar(start_ms(position), 0, 0)];
            if position.is_multiple_of(7)
                && let Some(revised) = position.checked_sub(LATE.unsigned_abs())
            {
                rows.push(bar(start_ms(revised), 1, 1));
            }
            (minutes(name), rows)
        })
        .collect();
    let trades: Vec<_> = (0..20)
        .map(|index| trade(position * 20 + index, start_ms(position)))
        .collect();
    let batch_of_trades = [(instrument(NAMES[0]), trades)];
    // The trades first: the watermark stands for both.
    store
        .append_trades(&batch_of_trades, None)
        .expect("appended");
    let watermark = Watermark {
        stream: STREAM.into(),
        position,
    };
    store
        .append_bars(&batch, Some(&watermark))
        .expect("appended");
}

/// The process that is killed. The test below starts it.
#[test]
#[ignore = "started by the test that kills it"]
fn writer_until_it_is_killed() {
    let Some(directory) = std::env::var_os(DIRECTORY) else {
        return;
    };
    let store = open(Path::new(&directory));
    let next = store
        .watermark(STREAM)
        .expect("read")
        .map_or(0, |at| at + 1);
    let mut out = std::io::stdout();
    for position in next.. {
        append(&store, position);
        writeln!(out, "acknowledged {position}").expect("the parent reads");
        out.flush().expect("the parent reads");
    }
}

#[test]
fn a_writer_killed_at_any_moment_loses_nothing_that_it_acknowledged() {
    let directory = Directory::new();
    let mut random = StdRng::seed_from_u64(7);
    let mut acknowledged = None;
    for round in 0..12 {
        let mut writer = Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", "killed::writer_until_it_is_killed"])
            .args(["--ignored", "--nocapture"])
            .env(DIRECTORY, directory.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("started");
        let lines = BufReader::new(writer.stdout.take().expect("piped")).lines();
        let positions = lines.filter_map(|line| {
            let line = line.expect("text");
            let position = line.split_once("acknowledged ")?.1;
            Some(position.parse::<u64>().expect("a position"))
        });
        let wanted = random.random_range(1..120);
        acknowledged = positions.take(wanted).last().or(acknowledged);
        writer.kill().expect("killed");
        writer.wait().expect("ended");
        check(directory.path(), acknowledged.expect("some"), round);
    }
}

fn check(directory: &Path, acknowledged: u64, round: u32) {
    let store = open(directory);
    let newest = store.watermark(STREAM).expect("read").expect("some");
    assert!(
        newest >= acknowledged,
        "round {round}: {newest} {acknowledged}"
    );
    let everything = Range::new(0, start_ms(newest) + 1, usize::MAX);
    for name in NAMES {
        let rows = store
            .bars(&minutes(name), &everything)
            .expect("a page")
            .rows;
        let expected: Vec<_> = (0..=newest)
            .map(|position| {
                // Rows of the message in flight may be there before their watermark.
                let rev = rev_at(position, newest);
                (start_ms(position), rev)
            })
            .collect();
        let got: Vec<_> = rows.iter().map(|row| (row.start_ms, row.rev)).collect();
        let ahead = (0..=newest).map(|position| (start_ms(position), rev_at(position, newest + 1)));
        let is_right = got == expected || got == ahead.collect::<Vec<_>>();
        assert!(is_right, "round {round}: {name} up to {newest}");
        assert!(
            rows.iter()
                .all(|row| *row == bar(row.start_ms, row.rev, row.rev.into()))
        );
    }
    let trades = store.trades(&instrument(NAMES[0]), &everything);
    let ids: Vec<u64> = trades
        .expect("a page")
        .rows
        .iter()
        .map(|row| row.first_id)
        .collect();
    assert_eq!(
        ids,
        (0..(newest + 1) * 20).collect::<Vec<_>>(),
        "round {round}"
    );
}
