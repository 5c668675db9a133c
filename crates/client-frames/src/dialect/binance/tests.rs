//! Requests and answers, without sockets.

use bytes::Bytes;
use market_core::protocol::{Ack, List, Op, Past, Request, RequestLimits, Selection};
use proptest::prelude::*;
use serde_json::Value;

use super::request::{Asked, of_url, parse};
use super::*;
use crate::dialect::Dialect;
use crate::encode::payload::Payload;

const LIMITS: RequestLimits = RequestLimits {
    topics_max: 3,
    wildcards_max: 0,
};

#[track_caller]
fn request(text: &str) -> Request {
    match parse(text, LIMITS) {
        Asked::Request(Ok(request)) => request,
        other => panic!("{other:?}"),
    }
}

fn topics(request: &Request) -> Vec<String> {
    let selections = match &request.op {
        Op::Sub(subscribe) => &subscribe.selections,
        Op::Unsub(selections) => selections,
        _ => return Vec::new(),
    };
    let text = |selection: &Selection| match selection {
        Selection::Pattern(pattern) => pattern.to_string(),
        other => panic!("{other:?}"),
    };
    selections.iter().map(text).collect()
}

#[track_caller]
fn check_refused(text: &str, code: i64, id: &str) {
    let answer = match parse(text, LIMITS) {
        Asked::Request(Err(error)) => failure(&error),
        Asked::Property(property) => property.answer(false),
        Asked::Request(Ok(request)) => panic!("{request:?}"),
    };
    let answer: Value = serde_json::from_str(&answer).expect("valid JSON");
    assert_eq!(answer["code"].as_i64(), Some(code), "{answer}");
    assert_eq!(answer["id"].to_string(), id, "{answer}");
    assert!(answer["msg"].as_str().is_some_and(|msg| !msg.is_empty()));
}

#[test]
fn an_id_keeps_its_type_in_the_answer() {
    for id in [
        "0",
        "1",
        "-7",
        "1763697600000",
        "18446744073709551615",
        "null",
        r#""9f8e1c9e-7d1b-4a55-8a9c-0d3b8d6f3a10""#,
        r#""a1b2""#,
    ] {
        let text = format!(r#"{{"method":"SUBSCRIBE","params":["btcusdt@kline_1m"],"id":{id}}}"#);
        let request = request(&text);
        assert_eq!(topics(&request), ["kline:1m:BTC-USDT"]);
        let ack = Reply::Ack(Ack {
            id: request.id,
            ..Ack::default()
        });
        assert_eq!(reply(&ack), Some(format!(r#"{{"result":null,"id":{id}}}"#)));
    }
    let request = request(r#"{"method":"UNSUBSCRIBE","params":[]}"#);
    assert_eq!(request.id.as_deref(), Some("null"), "no id is null");
}

#[test]
fn an_id_that_is_no_text_is_refused() {
    for id in [r#""\ud800""#, r#""a\udc00b""#] {
        let text = format!(r#"{{"method":"LIST_SUBSCRIPTIONS","id":{id}}}"#);
        let Asked::Request(Err(error)) = parse(&text, RequestLimits::default()) else {
            panic!("{text} was taken");
        };
        assert_eq!(error.id, None);
        let answer = reply(&Reply::Error(error)).expect("an answer");
        assert!(
            serde_json::from_str::<serde_json::Value>(&answer).is_ok(),
            "{answer}"
        );
    }
    let pair = r#"{"method":"LIST_SUBSCRIPTIONS","id":"\ud83d\ude00"}"#;
    assert_eq!(request(pair).id.as_deref(), Some(r#""\ud83d\ude00""#));
}

#[test]
fn a_request_that_is_refused_has_binances_code() {
    check_refused("hello", 3, "null");
    check_refused("[1]", 3, "null");
    check_refused("{\"connect\":{}}\n{\"subscribe\":{}}", 3, "null");
    check_refused("{}", 2, "null");
    check_refused(
        r#"{"method":"SUBSCRIBE","params":["a@trade"],"id":1.5}"#,
        2,
        "null",
    );
    check_refused(
        r#"{"method":"SUBSCRIBE","params":["a@trade"],"id":{}}"#,
        2,
        "null",
    );
    check_refused(r#"{"method":"SUBSCRIBE","id":1}"#, 2, "1");
    check_refused(r#"{"method":"SUBSCRIBE","params":"a","id":1}"#, 2, "1");
    check_refused(
        r#"{"method":"SUBSCRIBE","params":["nothing"],"id":1}"#,
        2,
        "1",
    );
    check_refused(r#"{"method":"order.place","id":"x"}"#, 2, "\"x\"");
    let names = ["\"btcusdt@trade\""; 4].join(",");
    let text = format!(r#"{{"method":"SUBSCRIBE","params":[{names}],"id":1}}"#);
    check_refused(&text, 2, "1");
    check_refused(
        r#"{"method":"SET_PROPERTY","params":["combined",1],"id":1}"#,
        1,
        "1",
    );
    check_refused(
        r#"{"method":"GET_PROPERTY","params":["other"],"id":1}"#,
        0,
        "1",
    );
    check_refused(
        r#"{"method":"GET_PROPERTY","params":["combined",true],"id":1}"#,
        2,
        "1",
    );
}

#[test]
fn properties_are_answered_by_the_connection() {
    let Asked::Property(set) = parse(
        r#"{"method":"SET_PROPERTY","params":["combined",true],"id":"a"}"#,
        LIMITS,
    ) else {
        panic!("a property");
    };
    assert_eq!(set.combined(), Some(true));
    assert_eq!(set.answer(true), r#"{"result":null,"id":"a"}"#);
    let Asked::Property(get) = parse(
        r#"{"method":"GET_PROPERTY","params":["combined"],"id":3}"#,
        LIMITS,
    ) else {
        panic!("a property");
    };
    assert_eq!(get.combined(), None);
    assert_eq!(get.answer(true), r#"{"result":true,"id":3}"#);
    assert_eq!(get.answer(false), r#"{"result":false,"id":3}"#);
}

#[test]
fn names_in_a_url_that_are_no_streams_are_left_out() {
    assert_eq!(of_url(["0"].into_iter(), &[], LIMITS), None);
    let names = ["0", "btcusdt@kline_1m", "", "ethbtc@trade"];
    let request = of_url(names.into_iter(), &[], LIMITS)
        .expect("streams")
        .expect("a request");
    assert_eq!(topics(&request), ["kline:1m:BTC-USDT", "trade:ETH-BTC"]);
    assert_eq!(
        reply(&Reply::Ack(Ack::default())),
        None,
        "nobody waits for an answer"
    );
    let many = ["a-b@trade"; 4];
    let error = of_url(many.into_iter(), &[], LIMITS)
        .expect("streams")
        .expect_err("too many");
    assert!(error.message.contains("3 streams"), "{}", error.message);
}

#[test]
fn subscriptions_are_listed_by_the_names_of_their_streams() {
    let patterns = ["kline:1m:BTC-USDT", "binance:btcusdt:trade"];
    let list = List {
        id: Some("5".into()),
        subscriptions: patterns.map(|text| text.parse().expect("a pattern")).into(),
        ..List::default()
    };
    assert_eq!(
        reply(&Reply::List(list)).as_deref(),
        Some(r#"{"result":["btcusdt@kline_1m","btcusdt@trade"],"id":5}"#)
    );
}

#[test]
fn an_event_of_a_made_stream_is_sent_with_its_name_or_alone() {
    for (name, data) in [
        ("btcusdt@depth", r#"{"e":"depthUpdate"}"#),
        ("!miniTicker@arr", r#"[{"e":"24hrMiniTicker"}]"#),
    ] {
        let publication = MadeStream::publication(name, data);
        for (dialect, expected) in [
            (Dialect::Binance, data),
            (Dialect::BinanceCombined, &*publication),
        ] {
            let payload = Payload::from(Bytes::from(publication.clone()));
            let body = payload.body(dialect);
            let mut frame = Vec::new();
            dialect.put_prefix(&mut frame, true, 0, body);
            frame.extend_from_slice(body);
            assert_eq!(frame, expected.as_bytes());
        }
    }
}

#[test]
fn what_is_no_bar_is_sent_as_it_is() {
    for object in [
        r#"{"op":"skipped","topic":"x:y"}"#,
        r#"{"symbol":"A_B-USD"}"#,
    ] {
        assert_eq!(body(object.as_bytes()), object.as_bytes()[1..]);
        assert_eq!(combined_body(object.as_bytes()), object.as_bytes()[1..]);
    }
}

proptest! {
    #[test]
    fn every_frame_has_an_answer_that_is_json(
        text in "\\PC{0,60}|\\{\"method\":\"(SUBSCRIBE|SET_PROPERTY|GET_PROPERTY|X)\",\"params\":(\\[[a-z\",@_0-9]{0,20}\\]|null|7),\"id\":(1|\"[a-z]{0,80}\"|null|\\[\\])\\}",
    ) {
        let answer = match parse(&text, LIMITS) {
            Asked::Request(Err(error)) => failure(&error),
            Asked::Property(property) => property.answer(true),
            Asked::Request(Ok(request)) => {
                let ack = Ack { id: request.id, ..Ack::default() };
                reply(&Reply::Ack(ack)).expect("an answer")
            }
        };
        prop_assert!(serde_json::from_str::<Value>(&answer).is_ok(), "{answer}");
    }
}

#[test]
fn a_url_may_ask_for_a_replay_of_its_klines() {
    let query = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        let pairs = pairs.iter();
        pairs
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    };
    let asked = |name: &'static str, pairs: &[(&str, &str)]| {
        of_url([name].into_iter(), &query(pairs), RequestLimits::default())
    };
    let kline = "btcusdt@kline_1m";
    for (pairs, speed) in [
        (&[("replay_from", "1000")][..], 1),
        (&[("replay_from", "1000"), ("speed", "60")], 60),
    ] {
        let request = asked(kline, pairs).expect("a request").expect("valid");
        let Op::Sub(subscribe) = request.op else {
            panic!("{request:?}");
        };
        let past = Past::Replay {
            start_ms: 1_000,
            speed,
        };
        assert_eq!(subscribe.past.as_deref(), Some(&past));
    }
    for (name, pairs) in [
        (kline, &[("replay_from", "soon")][..]),
        (kline, &[("speed", "2")]),
        (kline, &[("replay_from", "1000"), ("speed", "0")]),
        ("btcusdt@trade", &[("replay_from", "1000")]),
        ("0", &[("replay_from", "1000")]),
    ] {
        let error = asked(name, pairs).expect("an answer").expect_err("refused");
        assert_eq!(error.code, ErrorCode::BadOption, "{name} {pairs:?}");
        assert!(reply(&Reply::Error(error)).is_some());
    }
}
