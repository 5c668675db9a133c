//! What the store keeps, and how much of it.

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
