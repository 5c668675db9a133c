//! What the store keeps, and how much of it.

use alerts::engine::{Engine, Turn};
use alerts::store::{Commit, Committed, Outlets, Place, Store, StoreError};
use market_core::Symbol;
use market_core::wire::AlertMessage;
use testkit::directory::Directory;

fn alert(seq: u64) -> AlertMessage {
    let symbol: Symbol = "BTC-USDT".parse().expect("a symbol");
    AlertMessage {
        topic: AlertMessage::topic_of("r", &symbol),
        seq,
        epoch: 1,
        exchange: "binance".to_owned(),
        symbol,
        rule: "r".to_owned(),
        kind: "gap".to_owned(),
        level: "info".to_owned(),
        direction: "none".to_owned(),
        start_ms: 0,
        end_ms: 1_000,
        value: "bars".to_owned(),
        reference: String::new(),
        raised_ms: 2_000,
    }
}

fn outlets(hooks: &[&str]) -> Outlets {
    Outlets {
        hooks: hooks.iter().map(|&hook| hook.to_owned()).collect(),
        queue_max: 2,
        age_max_ms: 1_000,
        recent_max: 1,
    }
}

fn commit(seqs: std::ops::RangeInclusive<u64>) -> Commit {
    Commit {
        alerts: seqs.map(alert).collect(),
        ..Commit::default()
    }
}

#[test]
fn a_webhook_that_takes_nothing_has_no_more_than_its_bound_and_the_bus_gets_all() {
    let folder = Directory::named("alerts-store");
    let store = Store::open(folder.path(), outlets(&["a", "b"])).expect("a store");
    let committed = store.commit(&commit(1..=1)).expect("it is stored");
    assert_eq!(
        committed,
        Committed {
            left_out: 0,
            too_old: 0,
            unpublished: 1
        }
    );
    let first = store
        .undelivered("a")
        .expect("it is read")
        .expect("one waits");
    store.delivered("a", first.id).expect("it is stored");
    let committed = store.commit(&commit(2..=4)).expect("it is stored");
    // Of three, a has room for two, and b for one.
    assert_eq!(
        committed,
        Committed {
            left_out: 3,
            too_old: 0,
            unpublished: 4
        }
    );
    assert_eq!(store.waiting("a").expect("it is read"), 2);
    assert_eq!(store.waiting("b").expect("it is read"), 2);
    for seq in 1..=4 {
        let queued = store.unpublished().expect("it is read").expect("one waits");
        assert_eq!(queued.alert, alert(seq));
        store.published(queued.id).expect("it is stored");
    }
    assert_eq!(store.unpublished().expect("it is read"), None);
    // What waits for a webhook stays, and what was delivered is forgotten.
    store.commit(&commit(5..=5)).expect("it is stored");
    let recent = store.recent(10).expect("it is read");
    let seqs: Vec<u64> = recent.iter().map(|alert| alert.seq).collect();
    assert_eq!(seqs, [5, 3, 2, 1]);
    let first = store
        .undelivered("b")
        .expect("it is read")
        .expect("one waits");
    assert_eq!((first.alert.seq, first.attempts), (1, 0));
    store.failed("b", first.id).expect("it is stored");
    drop(store);
    // One of the webhooks is not configured any more.
    let store = Store::open(folder.path(), outlets(&["b"])).expect("a store");
    assert_eq!(store.waiting("a").expect("it is read"), 0);
    let first = store
        .undelivered("b")
        .expect("it is read")
        .expect("one waits");
    assert_eq!((first.alert.seq, first.attempts), (1, 1));
}

#[test]
fn an_alert_that_is_raised_long_after_its_bar_goes_to_the_bus_and_to_no_webhook() {
    let folder = Directory::named("alerts-old");
    let store = Store::open(folder.path(), outlets(&["a", "b"])).expect("a store");
    let old = AlertMessage {
        raised_ms: 2_001,
        ..alert(1)
    };
    let both = Commit {
        alerts: vec![old.clone(), alert(2)],
        ..Commit::default()
    };
    let committed = store.commit(&both).expect("it is stored");
    let expected = Committed {
        left_out: 0,
        too_old: 2,
        unpublished: 2,
    };
    assert_eq!(committed, expected);
    let queued = store.unpublished().expect("it is read").expect("one waits");
    assert_eq!(queued.alert, old);
    for hook in ["a", "b"] {
        let first = store.undelivered(hook).expect("it is read");
        assert_eq!(first.expect("one waits").alert, alert(2));
        assert_eq!(store.waiting(hook).expect("it is read"), 1);
    }
}

#[test]
fn a_store_is_of_one_program_and_its_place_survives() {
    let folder = Directory::named("alerts-lock");
    let store = Store::open(folder.path(), outlets(&[])).expect("a store");
    let second = Store::open(folder.path(), outlets(&[]));
    assert!(matches!(second, Err(StoreError::InUse(_))));
    let place = Place {
        created_ns: u64::MAX,
        sequence: 7,
        stored_ns: Some(u64::MAX),
    };
    let commit = Commit {
        place: Some(place),
        ..Commit::default()
    };
    store.commit(&commit).expect("it is stored");
    drop(store);
    let store = Store::open(folder.path(), outlets(&[])).expect("a store");
    assert_eq!(store.place().expect("it is read"), Some(place));
    assert_eq!(store.load().expect("it is read").place, Some(place));
}

/// The tables of a store of version 1, as that program made them.
const VERSION_1: &str = "
CREATE TABLE place (only INTEGER PRIMARY KEY CHECK (only = 1), json TEXT NOT NULL) STRICT;
CREATE TABLE rule (
    name TEXT PRIMARY KEY, is_of_file INTEGER NOT NULL, epoch INTEGER NOT NULL, json TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE symbol (symbol TEXT PRIMARY KEY, json TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE bar (
    symbol TEXT NOT NULL, start_ms INTEGER NOT NULL, json TEXT NOT NULL, PRIMARY KEY (symbol, start_ms)
) STRICT, WITHOUT ROWID;
CREATE TABLE watch (
    rule TEXT NOT NULL, symbol TEXT NOT NULL, json TEXT NOT NULL, PRIMARY KEY (rule, symbol)
) STRICT, WITHOUT ROWID;
CREATE TABLE alert (
    id INTEGER PRIMARY KEY AUTOINCREMENT, is_published INTEGER NOT NULL, json TEXT NOT NULL
) STRICT;
CREATE INDEX alert_unpublished ON alert (id) WHERE is_published = 0;
CREATE TABLE delivery (
    hook TEXT NOT NULL, alert INTEGER NOT NULL, attempts INTEGER NOT NULL, PRIMARY KEY (hook, alert)
) STRICT, WITHOUT ROWID;
CREATE INDEX delivery_of_alert ON delivery (alert);
PRAGMA user_version = 1;
";

#[test]
fn a_store_of_the_version_before_goes_on_as_it_was() {
    let folder = Directory::named("alerts-before");
    let path = folder.path().join("alerts.sqlite");
    let before = rusqlite::Connection::open(&path).expect("a file");
    before.execute_batch(VERSION_1).expect("the tables");
    let rule = r#"{"name":"r","symbols":["*"],"when":{"type":"stale","after_s":30},"level":"info","cooldown_s":0}"#;
    let watch = r#"{"up":{"is_armed":false,"changed_ms":5000,"fired_ms":6000},"down":{"is_armed":true,"changed_ms":null,"fired_ms":null},"seq":3}"#;
    let facts = r#"{"exchange":"binance","traded_ms":4000,"is_after_hole":false}"#;
    let place = r#"{"created_ns":9,"sequence":7,"stored_ns":8}"#;
    for (insert, json) in [
        ("INSERT INTO rule VALUES ('r', 0, 41, ?1)", rule),
        ("INSERT INTO watch VALUES ('r', 'BTC-USDT', ?1)", watch),
        ("INSERT INTO symbol VALUES ('BTC-USDT', ?1)", facts),
        ("INSERT INTO place VALUES (1, ?1)", place),
    ] {
        before.execute(insert, [json]).expect("it is stored");
    }
    let waiting = serde_json::to_string(&alert(3)).expect("JSON");
    let insert = "INSERT INTO alert (is_published, json) VALUES (0, ?1)";
    before.execute(insert, [waiting]).expect("it is stored");
    let insert = "INSERT INTO delivery VALUES ('a', 1, 2)";
    before.execute(insert, []).expect("it is stored");
    drop(before);
    for opened in 0..2 {
        let store = Store::open(folder.path(), outlets(&["a"])).expect("a store");
        let loaded = store.load().expect("it is read");
        assert_eq!((loaded.epoch_max, loaded.timeframe), (41, None), "{opened}");
        assert_eq!(loaded.place.map(|place| place.sequence), Some(7));
        let queued = store.unpublished().expect("it is read");
        assert_eq!(queued.map(|queued| queued.alert), Some(alert(3)));
        let delivery = store.undelivered("a").expect("it is read");
        assert_eq!(delivery.map(|delivery| delivery.attempts), Some(2));
        let rules = loaded.rules.into_iter().map(|stored| stored.active);
        let mut engine = Engine::restored(10, rules.collect(), loaded.state);
        assert_eq!(
            engine.tick(1_000_000, Turn::WHOLE).alerts,
            [],
            "it has told this silence"
        );
    }
    let after = rusqlite::Connection::open(&path).expect("the file");
    let version: i64 = after
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .expect("a version");
    assert_eq!(version, 2);
    // A store of a later program is left as it is.
    after
        .pragma_update(None, "user_version", 3)
        .expect("it is set");
    let later = Store::open(folder.path(), outlets(&[]));
    assert!(matches!(later, Err(StoreError::Version(_, 3, 2))));
}
