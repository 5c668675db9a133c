//! Readers that are under way while a file is dropped.

use market_core::{Amount, Price, Quality, Timeframe};
use testkit::directory::Directory;

use super::*;

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
    let amount = Amount::from_parts(0, 0);
    BarRow {
        start_ms,
        open: price,
        high: price,
        low: price,
        close: price,
        volume: amount,
        quote_volume: amount,
        taker_buy_volume: amount,
        taker_buy_quote_volume: amount,
        count: 0,
        ids: None,
        event_ms: None,
        received_us: None,
        rev: 0,
        quality: Quality::Filled,
        is_imported: false,
        known_ms: start_ms,
    }
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
