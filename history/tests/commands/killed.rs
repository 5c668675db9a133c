//! An import that is killed at any moment.

use std::process::Stdio;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use testkit::directory::Directory;

use crate::files::{trade_lines, write};
use crate::{command, import, open, stdout, succeeded, trades};

const TRADES: i64 = 40_000;

#[test]
fn an_import_killed_at_any_moment_goes_on_where_it_was_and_stores_each_row_once() {
    let (files, store) = (Directory::new(), Directory::new());
    let file = write(files.path(), "trades.csv", trade_lines(TRADES).as_bytes());
    let mut random = StdRng::seed_from_u64(11);
    let mut before = 0;
    for _ in 0..8 {
        let mut running = command(store.path(), "import");
        running.args(["--exchange", "binance", "--symbol", "BTC-USDT"]);
        running.args(["--batch-rows", "100"]).arg(&file);
        let mut running = running
            .stderr(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("started");
        // It is killed once it has stored a random number of rows more, or has just begun.
        let wanted = random.random_range(0..4_000);
        while running.try_wait().expect("a child").is_none()
            && rows_on_disk(&store) < before + wanted
        {
            std::thread::yield_now();
        }
        running.kill().expect("killed");
        running.wait().expect("ended");
        let held = trades(&open(store.path()));
        assert!(held.len() >= before, "{} of {before}", held.len());
        let ids: Vec<_> = held.iter().map(|row| row.first_id).collect();
        assert!(
            ids.into_iter().eq((900..).take(held.len())),
            "a beginning of the file"
        );
        before = held.len();
    }
    let output = import(store.path(), &[], &[&file]);
    let said = succeeded(&output);
    let mut numbers = said
        .split(|letter: char| !letter.is_ascii_digit())
        .filter_map(|text| text.parse::<i64>().ok());
    let (_, new, stored) = (numbers.next(), numbers.next(), numbers.next());
    assert_eq!(
        new.zip(stored).map(|(new, stored)| new + stored),
        Some(TRADES),
        "{}",
        stdout(&output)
    );
    assert!(stored > Some(0), "the position came with the rows");
    let ids: Vec<_> = trades(&open(store.path()))
        .iter()
        .map(|row| row.first_id)
        .collect();
    assert!(
        ids.into_iter().eq(900..900 + TRADES.unsigned_abs()),
        "each trade once"
    );
}

/// Rows that another process has stored, read from its file; 0 while there is none.
pub(crate) fn rows_on_disk(store: &Directory) -> usize {
    let Some(file) = store.files("sqlite").pop() else {
        return 0;
    };
    let count = rusqlite::Connection::open(file).and_then(|connection| {
        connection.query_row("SELECT coalesce(sum(row_count), 0) FROM chunk", [], |row| {
            row.get::<_, i64>(0)
        })
    });
    usize::try_from(count.unwrap_or(0)).unwrap_or(0)
}
