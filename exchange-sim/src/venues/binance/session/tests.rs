//! A client of Binance: streams, answers, limits and pings.

use super::*;
use crate::instrument::listing;
use crate::venues::binance::stream::Stream;
use proptest::prelude::*;

fn open(path: &str, query: &[(&str, &str)]) -> (Session, Vec<Action>, Listing) {
    let listing = Listing::new(listing(0));
    let handshake = Handshake {
        connection: 1,
        path: path.to_owned(),
        query: query
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect(),
        now_ms: 0,
    };
    let (session, actions) = Session::open(&handshake, &Config::default(), &listing);
    (session, actions, listing)
}

#[track_caller]
fn check(text: &str, reply: &str) {
    let (mut session, _, listing) = open("/ws", &[]);
    assert_eq!(
        session.on_text(text, 0, &listing)[0],
        Action::Reply(reply.to_owned())
    );
}

fn subscribed(actions: &[Action]) -> Vec<Stream> {
    actions
        .iter()
        .filter_map(|action| match action {
            Action::Subscribe(Target {
                channel: Channel::Binance(stream),
                ..
            }) => Some(*stream),
            _ => None,
        })
        .collect()
}

#[test]
fn paths_name_streams() {
    let (_, actions, _) = open("/ws/btcusdt@trade/ethusdt@aggTrade", &[]);
    assert_eq!(subscribed(&actions), [Stream::Trade, Stream::AggTrade]);
    let (_, actions, _) = open(
        "/stream",
        &[("streams", "btcusdt@trade"), ("timeUnit", "MICROSECOND")],
    );
    assert_eq!(actions[0], Action::Variant(COMBINED | MICROSECONDS));
    assert_eq!(subscribed(&actions), [Stream::Trade]);
    for (path, query) in [
        ("/ws", ""),
        ("/ws/0", ""),
        ("/stream", ""),
        ("/ws/nosuch@trade", ""),
    ] {
        assert_eq!(subscribed(&open(path, &[("streams", query)]).1), []);
    }
}

#[test]
fn answers_keep_the_type_of_the_id() {
    for id in [
        "1",
        "0",
        "1732160000000",
        "-5",
        "null",
        r#""3f1e6f0a-7d0b-4a3e-9a44-6f6f0f1f9f10""#,
    ] {
        check(
            &format!(r#"{{"method":"SUBSCRIBE","params":["btcusdt@trade"],"id":{id}}}"#),
            &format!(r#"{{"result":null,"id":{id}}}"#),
        );
    }
    check(
        r#"{"method":"LIST_SUBSCRIPTIONS"}"#,
        r#"{"result":[],"id":null}"#,
    );
}

#[test]
fn errors_have_the_documented_codes() {
    check(
        r#"{"method":"GET_PROPERTY","params":["x"],"id":1}"#,
        r#"{"code":0,"msg":"Unknown property","id":1}"#,
    );
    check(
        r#"{"method":"SET_PROPERTY","params":["combined",1],"id":1}"#,
        r#"{"code":1,"msg":"Invalid value type: expected Boolean","id":1}"#,
    );
    check(
        r#"{"method":"GET_PROPERTY","params":[7],"id":1}"#,
        r#"{"code":2,"msg":"Invalid request: property name must be a string","id":1}"#,
    );
    check(
        r#"{"id":1}"#,
        r#"{"code":2,"msg":"Invalid request: missing field `method` at line 1 column 8","id":1}"#,
    );
    check(
        r#"{"method":"SUBSCRIBE","id":1}"#,
        r#"{"code":2,"msg":"Invalid request: missing field `params` at line 1 column 29","id":1}"#,
    );
    check(
        "{",
        r#"{"code":3,"msg":"Invalid JSON: EOF while parsing an object at line 1 column 1","id":null}"#,
    );
}

#[test]
fn a_repeated_subscription_is_acknowledged_once_more_and_not_doubled() {
    let (mut session, _, listing) = open("/ws/btcusdt@trade", &[]);
    let again = session.on_text(
        r#"{"method":"SUBSCRIBE","params":["btcusdt@trade","nosuch@trade"],"id":1}"#,
        0,
        &listing,
    );
    assert_eq!(
        again,
        [Action::Reply(r#"{"result":null,"id":1}"#.to_owned())]
    );
    let list = session.on_text(r#"{"method":"LIST_SUBSCRIPTIONS","id":2}"#, 0, &listing);
    assert_eq!(
        list,
        [Action::Reply(
            r#"{"result":["btcusdt@trade","nosuch@trade"],"id":2}"#.to_owned()
        )]
    );
}

#[test]
fn the_sixth_message_in_a_second_ends_the_connection() {
    let (mut session, _, listing) = open("/ws", &[]);
    for _ in 0..4 {
        assert_eq!(session.on_control(true, 0), []);
    }
    assert!(matches!(
        session.on_text("x", 999, &listing)[..],
        [Action::Reply(_)]
    ));
    assert!(matches!(
        session.on_text("x", 999, &listing)[..],
        [Action::Close(1008, _)]
    ));
}

#[test]
fn pings_want_an_answer_and_a_day_is_the_end() {
    let (mut session, _, _) = open("/ws", &[]);
    assert_eq!(session.on_tick(19_999), []);
    assert_eq!(session.on_tick(20_000), [Action::Ping]);
    assert_eq!(session.on_tick(40_000), [Action::Ping]);
    session.on_control(true, 41_000);
    assert_eq!(session.on_tick(79_999), [Action::Ping]);
    assert!(matches!(session.on_tick(139_999)[..], [Action::Close(..)]));
    let (mut session, _, _) = open("/ws", &[]);
    assert!(matches!(
        session.on_tick(86_400_000)[..],
        [Action::Close(1001, _)]
    ));
}

proptest! {
    #[test]
    fn any_text_gets_an_answer(text in ".{0,200}") {
        let (mut session, _, listing) = open("/ws", &[]);
        prop_assert_eq!(session.on_text(&text, 0, &listing).len(), 1);
    }

    #[test]
    fn any_request_gets_an_answer(method in "SUBSCRIBE|UNSUBSCRIBE|SET_PROPERTY|GET_PROPERTY|[A-Z_]{0,12}", params in ".{0,40}", id in ".{0,40}") {
        let (mut session, _, listing) = open("/ws", &[]);
        let text = serde_json::json!({"method": method, "params": [params, 1], "id": id}).to_string();
        let answers = session.on_text(&text, 0, &listing);
        prop_assert!(answers.iter().any(|action| matches!(action, Action::Reply(_))));
    }
}
