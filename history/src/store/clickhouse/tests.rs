//! What a real HTTP server of `ClickHouse` answers, of an old version.

use std::time::{Duration, Instant};

use testkit::clickhouse::OldClickHouseServer;

use super::*;
use crate::store::StoreAddress;

#[test]
fn a_text_in_sql_cannot_end_itself() {
    assert_eq!(quoted(r"a' OR 1 --\"), r"'a\' OR 1 --\\'");
}

/// A store that takes the tables for made.
fn store(server: &OldClickHouseServer, timeout: Duration) -> ClickHouseStore {
    store_of("default", server, timeout)
}

/// The same for a user.
fn store_of(user: &str, server: &OldClickHouseServer, timeout: Duration) -> ClickHouseStore {
    let url = server.url_of(user, "s3cret", "own");
    let address = url.parse().expect("never fails");
    let StoreAddress::ClickHouse(url) = address else {
        panic!("{address}");
    };
    let options = RemoteOptions {
        timeout,
        ..RemoteOptions::default()
    };
    ClickHouseStore {
        client: RemoteClient::new(&url, PORTS, options).expect("a client"),
        is_read_only: false,
        ttl_days: schema::TtlDays::default(),
        is_prepared: AtomicBool::new(true),
        preparing: Mutex::new(()),
        has_rows: AtomicBool::new(false),
        has_fixed_settings: AtomicBool::new(false),
    }
}

#[test]
fn a_user_who_may_change_no_settings_is_answered_and_no_answer_is_cut() {
    let Some(server) = OldClickHouseServer::start() else {
        return;
    };
    let (long, short) = (Duration::from_secs(60), Duration::from_secs(4));
    let three = "SELECT number FROM system.numbers LIMIT 3";
    for (user, is_fixed) in [("default", false), ("reader", true)] {
        let own = store_of(user, &server, long);
        for _ in 0..2 {
            let rows = own.ask(three, Purpose::Read).expect("answered");
            assert_eq!(rows.len(), 24, "{user}");
        }
        assert_eq!(own.has_fixed_settings.load(Ordering::Acquire), is_fixed);
    }
    // A constraint, as newer servers have them.
    let bounded =
        "Code: 452. DB::Exception: Setting max_execution_time shouldn't be greater than 1";
    assert!(refusal::is_of_settings(bounded));
    // It never ends, and finds a row now and then.
    let endless = "SELECT number FROM system.numbers WHERE number % 1000003 = 0";
    let cut = store_of("cutter", &server, short).ask(endless, Purpose::Read);
    assert!(matches!(cut, Err(StoreError::Away { .. })), "{cut:?}");
    let blind = store_of("blind", &server, short);
    for _ in 0..2 {
        let why = blind.ask(three, Purpose::Read).expect_err("refused");
        let why = why.to_string();
        assert!(why.contains("timeout_overflow_mode = break"), "{why}");
    }
}

#[test]
fn answers_and_ends_of_a_real_server_are_understood() {
    let Some(mut server) = OldClickHouseServer::start() else {
        return;
    };
    let own = store(&server, Duration::from_secs(60));
    let run = |sql: &str| own.run(sql, Purpose::Write);
    run("CREATE DATABASE own").expect("an empty answer of ClickHouse's own");
    run("CREATE TABLE own.market_trades (id UInt64, price UInt8) ENGINE = MergeTree ORDER BY id")
        .expect("made");
    let insert = |bytes: &[u8]| {
        let query = [("query", "INSERT INTO own.market_trades FORMAT RowBinary")];
        own.post(&query, Bytes::copy_from_slice(bytes), Purpose::Write, true)
    };
    insert(&[7, 0, 0, 0, 0, 0, 0, 0, 1]).expect("stored");
    let rows = own.ask("SELECT id FROM own.market_trades", Purpose::Read);
    assert_eq!(&rows.expect("a row")[..], 7_u64.to_le_bytes());

    // Half a row is no row of a wrong value: nothing may be left out for it.
    let error = insert(&[7, 0, 0]).expect_err("cut");
    assert!(!matches!(error, StoreError::RowRefused { .. }), "{error}");
    let error = run("SELECT nonsense").expect_err("no column");
    assert!(matches!(error, StoreError::Refused { .. }), "{error}");
    // The server itself ends it, and goes on.
    let endless = "SELECT count() FROM system.numbers SETTINGS max_execution_time = 1";
    let error = run(endless).expect_err("too slow");
    assert!(matches!(error, StoreError::Away { .. }), "{error}");
    assert!(error.to_string().contains("159"), "{error}");
    let error = run("SELECT 1 FROM own.nowhere").expect_err("no table");
    assert!(error.is_retryable(), "{error}");
    assert!(!own.is_prepared.load(Ordering::Acquire));

    // A question without an end keeps nobody from storing.
    let impatient = store(&server, Duration::from_secs(2));
    let error = impatient.run("SELECT count() FROM system.numbers", Purpose::Read);
    assert!(error.expect_err("no answer").to_string().contains("within"));
    impatient.run("SELECT 1", Purpose::Write).expect("answered");

    // It dies in the middle of a request.
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| run("SELECT sum(number) FROM system.numbers"));
        let running = "SELECT count() FROM system.processes WHERE query LIKE 'SELECT sum(number)%' FORMAT TabSeparatedRaw";
        let (other, began) = (store(&server, Duration::from_secs(60)), Instant::now());
        while other.run(running, Purpose::Write).expect("it answers").body[..] == b"0\n"[..] {
            assert!(began.elapsed() < Duration::from_secs(60), "never asked");
            std::thread::yield_now();
        }
        server.kill();
        let error = asked.join().expect("no panic").expect_err("killed");
        assert!(matches!(error, StoreError::Away { .. }), "{error}");
    });
}
