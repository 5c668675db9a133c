//! A client of Coinbase: channels, answers and limits.

use super::*;
use crate::instrument::listing;
use proptest::prelude::*;

fn open() -> (Session, Listing) {
    let handshake = Handshake {
        connection: 1,
        path: "/".to_owned(),
        query: Vec::new(),
        now_ms: 0,
    };
    (
        Session::open(&handshake, &Config::default()),
        Listing::new(listing(0)),
    )
}

fn reply(actions: &[Action]) -> Value {
    match &actions[0] {
        Action::Reply(text) => serde_json::from_str(text).expect("a JSON reply"),
        other => panic!("no reply: {other:?}"),
    }
}

#[test]
fn a_subscription_is_acknowledged_before_its_data() {
    let (mut session, listing) = open();
    let text = r#"{"type":"subscribe","product_ids":["BTC-USD"],"channels":["matches",{"name":"heartbeat","product_ids":["ETH-USD"]}]}"#;
    let actions = session.on_text(text, 0, &listing);
    let channels = &reply(&actions)["channels"];
    assert_eq!(channels[0]["name"], "matches");
    assert_eq!(channels[0]["product_ids"], json!(["BTC-USD"]));
    assert_eq!(channels[1]["product_ids"], json!(["ETH-USD"]));
    assert_eq!(actions.len(), 3);
    assert_eq!(
        session.on_text(text, 0, &listing).len(),
        1,
        "a repeated subscription only gets its answer"
    );
    let gone = session.on_text(&text.replace("subscribe", "unsubscribe"), 0, &listing);
    assert_eq!(reply(&gone)["channels"], json!([]));
}

#[test]
fn an_unknown_product_or_channel_fails_and_changes_nothing() {
    let (mut session, listing) = open();
    for (text, reason) in [
        (
            r#"{"type":"subscribe","product_ids":["BTC-USD","NO-USD"],"channels":["matches"]}"#,
            "NO-USD is not a valid product",
        ),
        (
            r#"{"type":"subscribe","product_ids":["BTC-USD"],"channels":["trades"]}"#,
            "trades is not a valid channel",
        ),
        (
            r#"{"type":"subscribe","product_ids":["BTC-USD"],"channel":"market_trades"}"#,
            NOT_ADVANCED,
        ),
    ] {
        let actions = session.on_text(text, 0, &listing);
        assert_eq!(reply(&actions)["reason"], reason);
        assert_eq!(actions.len(), 1);
    }
    assert!(!session.on_tick(5_000).is_empty());
}

#[test]
fn who_does_not_subscribe_in_time_is_closed() {
    let (mut session, listing) = open();
    assert!(session.on_tick(4_999).is_empty());
    session.on_text(
        r#"{"type":"subscribe","product_ids":["BTC-USD"],"channels":["matches"]}"#,
        4_999,
        &listing,
    );
    assert!(session.on_tick(60_000).is_empty());
}

proptest! {
    #[test]
    fn any_text_gets_an_error(text in ".{0,200}") {
        let (mut session, listing) = open();
        let actions = session.on_text(&text, 0, &listing);
        prop_assert_eq!(&reply(&actions)["type"], "error");
    }
}
