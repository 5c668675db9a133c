//! A client of OKX: channels, answers and limits.

use super::*;
use crate::instrument::listing;
use proptest::prelude::*;

fn open(path: &str) -> (Session, Listing) {
    let handshake = Handshake {
        connection: 1,
        path: path.to_owned(),
        query: Vec::new(),
        now_ms: 0,
    };
    (
        Session::open(&handshake, &Config::default()),
        Listing::new(listing(0)),
    )
}

fn reply(action: &Action) -> Value {
    match action {
        Action::Reply(text) => serde_json::from_str(text).expect("a JSON reply"),
        other => panic!("no reply: {other:?}"),
    }
}

#[test]
fn a_subscription_is_acknowledged_with_its_argument() {
    let (mut session, listing) = open("/ws/v5/public");
    let text =
        r#"{"op":"subscribe","id":"1512","args":[{"channel":"trades","instId":"BTC-USDT"}]}"#;
    let actions = session.on_text(text, 0, &listing);
    let ack = reply(&actions[0]);
    assert_eq!(ack["event"], "subscribe");
    assert_eq!(ack["arg"], json!({"channel":"trades","instId":"BTC-USDT"}));
    assert_eq!(
        (ack["id"].as_str(), ack["connId"].as_str().map(str::len)),
        (Some("1512"), Some(8))
    );
    assert!(matches!(actions[1], Action::Subscribe(_)));
    assert_eq!(
        session.on_text(text, 0, &listing).len(),
        1,
        "a repeated subscription only gets its answer"
    );
    let gone = session.on_text(&text.replace("subscribe", "unsubscribe"), 0, &listing);
    assert!(matches!(gone[1], Action::Unsubscribe(_)));
}

#[test]
fn channels_live_on_their_own_url() {
    let (mut public, listing) = open("/ws/v5/public");
    let (mut business, _) = open("/ws/v5/business");
    for (channel, is_business) in [
        ("trades", false),
        ("candle1m", true),
        ("trades-all", true),
        ("bbo-tbt", false),
    ] {
        let text =
            json!({"op":"subscribe","args":[{"channel":channel,"instId":"BTC-USDT"}]}).to_string();
        let (right, wrong) = if is_business {
            (&mut business, &mut public)
        } else {
            (&mut public, &mut business)
        };
        assert_eq!(
            reply(&right.on_text(&text, 0, &listing)[0])["event"],
            "subscribe"
        );
        assert_eq!(
            reply(&wrong.on_text(&text, 0, &listing)[0])["code"],
            "60018"
        );
    }
}

#[test]
fn an_unknown_instrument_is_an_error_beside_a_known_one() {
    let (mut session, listing) = open("/ws/v5/public");
    let text = r#"{"op":"subscribe","args":[{"channel":"trades","instId":"NO-USDT"},{"channel":"trades","instId":"BTC-USDT"}]}"#;
    let actions = session.on_text(text, 0, &listing);
    assert_eq!(reply(&actions[0])["code"], "60018");
    assert_eq!(reply(&actions[1])["event"], "subscribe");
}

#[test]
fn silence_in_both_directions_ends_the_connection() {
    let (mut session, listing) = open("/ws/v5/public");
    assert_eq!(
        session.on_text("ping", 20_000, &listing),
        [Action::Reply("pong".to_owned())]
    );
    assert_eq!(session.on_tick(49_999, 0), []);
    assert_eq!(session.on_tick(79_999, 50_000), []);
    assert!(matches!(
        session.on_tick(80_000, 50_000)[..],
        [Action::Close(4004, _)]
    ));
}

#[test]
fn the_481st_operation_of_an_hour_is_refused() {
    let (mut session, listing) = open("/ws/v5/public");
    for _ in 0..480 {
        assert_eq!(
            reply(&session.on_text("{}", 0, &listing)[0])["code"],
            "60012"
        );
    }
    assert_eq!(
        reply(&session.on_text("{}", 0, &listing)[0])["code"],
        "60014"
    );
}

proptest! {
    #[test]
    fn any_text_gets_an_error(text in ".{0,200}") {
        let (mut session, listing) = open("/ws/v5/public");
        prop_assume!(text != "ping");
        let actions = session.on_text(&text, 0, &listing);
        prop_assert_eq!(&reply(&actions[0])["event"], "error");
    }
}
