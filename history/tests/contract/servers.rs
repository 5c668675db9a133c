//! Stores that are servers.

use history::store::{
    BarStore as _, BookSnapshot, BookStore as _, ClickHouseStore, Range, RemoteOptions,
    StoreAddress, StoreError,
};
use market_core::book::BookLevels;
use market_core::{Price, PriceLevel, Quantity};
use testkit::clickhouse::{ClickHouseServer, OldClickHouseServer};
use testkit::directory::Directory;

use crate::rows::{START_MS, bar, instrument, minutes};
use crate::{Sqlite, Subject};

pub(crate) struct ClickHouse(ClickHouseServer);

impl ClickHouse {
    /// `None` where there is no engine.
    pub(crate) fn start() -> Option<Self> {
        ClickHouseServer::start().map(Self)
    }

    /// Opens a database, with options.
    fn open(&self, database: &str) -> Result<ClickHouseStore, StoreError> {
        let address = self.0.url(database).parse().expect("never fails");
        let StoreAddress::ClickHouse(url) = address else {
            panic!("{address}");
        };
        ClickHouseStore::open(&url, RemoteOptions::default())
    }

    /// Runs a statement beside the store.
    fn run(&self, sql: &str) -> String {
        let runtime = tokio::runtime::Runtime::new().expect("threads");
        runtime.block_on(self.0.run(sql))
    }
}

impl Subject for ClickHouse {
    type Store = ClickHouseStore;

    fn open(&self) -> ClickHouseStore {
        self.open("contract").expect("it answers")
    }

    fn divisor(&self) -> usize {
        10
    }
}

fn append(store: &ClickHouseStore, start_ms: i64) -> Result<(), StoreError> {
    let rows = vec![bar(start_ms, 0, start_ms)];
    store.append_bars(&[(minutes("BTC-USD"), rows)], None)
}

fn starts(store: &ClickHouseStore) -> Vec<i64> {
    let range = Range::new(0, i64::MAX, 100);
    let page = store.bars(&minutes("BTC-USD"), &range).expect("a page");
    page.rows.iter().map(|row| row.start_ms).collect()
}

#[test]
fn tables_that_another_program_made_or_changed_are_refused_before_a_row_is_lost() {
    let Some(server) = ClickHouse::start() else {
        return;
    };
    let refused = |result: Result<(), StoreError>, text: &str| match result {
        Err(StoreError::Refused { reason, .. }) => assert!(reason.contains(text), "{reason}"),
        other => panic!("{other:?}"),
    };
    server.run("CREATE DATABASE foreign");
    server.run("CREATE TABLE foreign.market_klines (symbol String, price Float64) ENGINE = MergeTree ORDER BY symbol");
    refused(server.open("foreign").map(drop), "market_klines");

    // It would keep one revision of each bar, and forget the others.
    let store = server.open("own").expect("it answers");
    server.run("CREATE DATABASE forgetful");
    server.run("CREATE TABLE forgetful.market_klines AS own.market_klines ENGINE = ReplacingMergeTree(rev) PARTITION BY (timeframe, toYYYYMM(open_time)) ORDER BY (exchange, symbol, timeframe, open_time)");
    refused(server.open("forgetful").map(drop), "is_imported");

    // Of the same length in bytes: each row could be written, and none could be read.
    server.run("CREATE DATABASE similar");
    server.run("CREATE TABLE similar.market_trades AS own.market_trades");
    server.run("ALTER TABLE similar.market_trades MODIFY COLUMN price Decimal(38, 8)");
    refused(server.open("similar").map(drop), "price Decimal(38, 18)");

    // A column more is nobody's harm; one less refuses rows, and no row is taken for the reason.
    server.run("ALTER TABLE own.market_klines ADD COLUMN note String DEFAULT 'x'");
    append(&store, START_MS).expect("appended");
    assert_eq!(starts(&store), [START_MS]);
    server.run("ALTER TABLE own.market_klines DROP COLUMN exact");
    append(&store, START_MS + 60_000).expect_err("refused");
    refused(append(&store, START_MS + 60_000), "exact String");
}

#[test]
fn tables_of_today_let_a_program_of_yesterday_start() {
    let Some(server) = ClickHouse::start() else {
        return;
    };
    server.open("own").expect("it answers");
    // The newest version that a program without order books knows.
    let version = server.run("SELECT max(version) FROM own.klinecast_schema");
    assert_eq!(version.trim(), "1");
    assert_eq!(server.run("EXISTS own.market_orderbooks").trim(), "1");
    let put = |version: u32| {
        let values = format!("VALUES ({version})");
        server.run(&format!(
            "INSERT INTO own.klinecast_schema (version) {values}"
        ));
        server.open("own").map(drop)
    };
    put(2).expect("some programs wrote it");
    let newer = put(3);
    assert!(
        matches!(newer, Err(StoreError::ServerVersion { version: 3, .. })),
        "{newer:?}"
    );
}

#[test]
fn a_time_to_live_is_set_and_changed_by_the_address() {
    let Some(server) = ClickHouse::start() else {
        return;
    };
    for (options, days) in [
        ("", ""),
        ("?ttl_klines_days=400", "toIntervalDay(400)"),
        ("?ttl_klines_days=30", "toIntervalDay(30)"),
        ("?ttl_klines_days=30", "toIntervalDay(30)"),
    ] {
        server.open(&format!("own{options}")).expect("it answers");
        let sql = "SELECT create_table_query FROM system.tables WHERE database = 'own' AND name = 'market_klines'";
        let made = server.run(sql);
        assert!(made.contains(days), "{made}");
        assert_eq!(made.contains("TTL"), !days.is_empty(), "{made}");
    }
    for options in ["?ttl_klines_days=0", "?ttl_klines_days=x", "?ttl=1"] {
        let opened = server.open(&format!("own{options}"));
        assert!(matches!(opened, Err(StoreError::Address(_))), "{opened:?}");
    }
}

#[test]
fn a_page_of_another_server_is_no_success() {
    let Some(server) = ClickHouse::start() else {
        return;
    };
    let store = server.open("own").expect("it answers");
    for fault in ["empty", "page"] {
        server.0.set_fault(fault);
        let appended = append(&store, START_MS);
        assert!(
            appended.as_ref().is_err_and(StoreError::is_retryable),
            "{fault}: {appended:?}"
        );
    }
    // A program that starts now waits, too.
    let early = server.open("early").expect("it is away");
    let appended = append(&early, START_MS);
    assert!(
        appended.as_ref().is_err_and(StoreError::is_retryable),
        "{appended:?}"
    );
    server.0.set_fault("");
    for store in [store, early] {
        append(&store, START_MS).expect("appended");
        assert_eq!(starts(&store), [START_MS]);
    }
}

#[test]
fn a_server_that_is_too_old_is_refused_with_the_oldest_version_that_works() {
    let Some(server) = OldClickHouseServer::start() else {
        return;
    };
    let opened = |password: &str| {
        let address = server.url(password, "own").parse().expect("never fails");
        let StoreAddress::ClickHouse(url) = address else {
            panic!("{address}");
        };
        let opened = ClickHouseStore::open(&url, RemoteOptions::default());
        opened.expect_err("refused").to_string()
    };
    let why = opened("s3cret");
    assert!(
        why.contains("ClickHouse 18.16.1") && why.contains("21.11"),
        "{why}"
    );
    let why = opened("wrong");
    assert!(why.contains("refuses: Code: 193"), "{why}");
}

#[test]
fn order_books_are_read_as_they_were_written_and_other_stores_refuse_them() {
    let level = |price: i128, quantity: i128| PriceLevel {
        price: Price::from_parts(price, 2).expect("above zero"),
        quantity: Quantity::from_parts(quantity, 8).expect("above zero"),
    };
    let book = |seq: u64| BookSnapshot {
        instrument: instrument("BTC-USD"),
        published_ms: START_MS + seq.cast_signed(),
        event_ms: seq.is_multiple_of(2).then_some(START_MS),
        update_id: seq.to_string().into(),
        epoch: 7,
        seq,
        levels: BookLevels {
            bids: (0..seq.cast_signed().into())
                .map(|at| level(6_000_000 - at, 1))
                .collect(),
            asks: vec![level(6_000_100, 12_345_678_901)],
        },
    };
    let books: Vec<BookSnapshot> = (0..300).map(book).collect();
    let sqlite = Sqlite(Directory::new()).open();
    let refused = sqlite.append_books(&books);
    assert!(matches!(refused, Err(StoreError::NoBooks)), "{refused:?}");

    let Some(server) = ClickHouse::start() else {
        return;
    };
    let store = server.open("own?ttl_books_days=9000").expect("it answers");
    for _ in 0..2 {
        store.append_books(&books).expect("stored");
    }
    let early = BookSnapshot {
        published_ms: -1,
        ..book(1)
    };
    let refused = store.check_book(&early);
    assert!(matches!(refused, Err(StoreError::Rows(_))), "{refused:?}");
    let name = instrument("BTC-USD");
    let page = |from_ms, limit| {
        let range = Range::new(from_ms, START_MS + 1_000, limit);
        store.books(&name, &range).expect("a page")
    };
    let first = page(0, 200);
    assert_eq!(first.rows, books[..200]);
    let next = first.next.expect("more follows").at_ms + 1;
    let second = page(next, 200);
    assert_eq!((&second.rows[..], second.next), (&books[200..], None));
    let best = "SELECT toString(bids[1].1) FROM own.market_orderbooks WHERE seq = 5 LIMIT 1";
    assert_eq!(server.run(best).trim_matches(['"', '\n']), "60000");
}
