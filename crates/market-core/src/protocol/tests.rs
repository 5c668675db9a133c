//! Requests and replies.

use proptest::prelude::*;

use super::*;
use crate::topic::TOPIC_LEN_MAX;

mod replies;

#[track_caller]
fn parse(text: &str) -> Request {
    Request::parse(text, RequestLimits::default()).expect("a request")
}

#[track_caller]
fn check_refused(text: &str, code: ErrorCode) -> RequestError {
    let error = Request::parse(text, RequestLimits::default()).expect_err(text);
    assert_eq!(error.code, code, "{text}: {}", error.message);
    error
}

fn patterns(request: &Request) -> Vec<String> {
    let (Op::Sub(Subscribe { selections, .. }) | Op::Unsub(selections)) = &request.op else {
        return Vec::new();
    };
    selections
        .iter()
        .map(|selection| match selection {
            Selection::Pattern(pattern) => pattern.to_string(),
            Selection::OfExchange {
                prefixed, plain, ..
            } => format!("{prefixed}|{plain}"),
        })
        .collect()
}

#[test]
fn the_id_is_echoed_with_its_type_kept() {
    for id in [
        "1",
        "0",
        "1763697600000",
        "\"a-b\"",
        "null",
        "-1",
        "1.50",
        "true",
    ] {
        let request = parse(&format!(r#"{{"op":"ping","id":{id}}}"#));
        assert_eq!(request.id.as_deref(), Some(id));
        let pong = Reply::Pong { id: request.id };
        assert_eq!(pong.encode(), format!(r#"{{"op":"pong","id":{id}}}"#));
    }
    check_refused(r#"{"op":"ping","id":{"a":1}}"#, ErrorCode::BadRequest);
    check_refused(
        &format!(r#"{{"op":"ping","id":"{}"}}"#, "x".repeat(300)),
        ErrorCode::BadRequest,
    );
}

#[test]
fn channels_symbols_and_exchanges_are_multiplied() {
    let request = parse(
        r#"{"op":"sub","channels":["kline_1m","ticker"],"symbols":["BTC-USDT"],"exchanges":["binance","okx"]}"#,
    );
    assert_eq!(
        patterns(&request),
        [
            "kline:1m:BINANCE:BTC-USDT|kline:1m:BTC-USDT",
            "kline:1m:OKX:BTC-USDT|kline:1m:BTC-USDT",
            "ticker:BINANCE:BTC-USDT|ticker:BTC-USDT",
            "ticker:OKX:BTC-USDT|ticker:BTC-USDT",
        ]
    );
    let request = parse(r#"{"op":"sub","channels":["kline_1s"],"symbols":["A-B","*"]}"#);
    assert_eq!(patterns(&request), ["kline:1s:A-B", "kline:1s:*"]);
}

#[test]
fn beside_exchanges_a_symbol_with_an_exchange_is_malformed_and_the_others_stand() {
    let Op::Sub(subscribe) = parse(
        r#"{"op":"sub","channels":["kline_1m","ticker"],"symbols":["BINANCE:BTC-USDT","kline:1M:BINANCE:BTC-USDT","A-B"],"exchanges":["okx","OKX:C-D"]}"#,
    )
    .op
    else {
        panic!("a subscription");
    };
    let selections = ["kline:1m:OKX:A-B|kline:1m:A-B", "ticker:OKX:A-B|ticker:A-B"];
    let malformed = |bad: &MalformedTopic| bad.topic.clone();
    assert_eq!(
        subscribe
            .malformed
            .iter()
            .map(malformed)
            .collect::<Vec<_>>(),
        ["BINANCE:BTC-USDT", "kline:1M:BINANCE:BTC-USDT", "OKX:C-D"]
    );
    for bad in &subscribe.malformed {
        assert!(bad.message.contains("write"), "{}", bad.message);
    }
    let request = Request {
        id: None,
        op: Op::Sub(subscribe),
    };
    assert_eq!(patterns(&request), selections);
    let request = parse(r#"{"op":"sub","channels":["kline_1m"],"symbols":["BINANCE:BTC-USDT"]}"#);
    assert_eq!(patterns(&request), ["kline:1m:BINANCE:BTC-USDT"]);
}

#[test]
fn symbols_of_an_exchange_may_be_all_of_them() {
    let request = parse(
        r#"{"op":"sub","channels":["kline_1m"],"symbols":["*"],"exchanges":["Binance","*"]}"#,
    );
    assert_eq!(
        patterns(&request),
        ["kline:1m:BINANCE:*|kline:1m:*", "kline:1m:*:*|kline:1m:*"]
    );
    let Op::Sub(subscribe) = request.op else {
        panic!("a subscription");
    };
    assert!(subscribe.selections.iter().all(Selection::is_wildcard));
}

#[test]
fn a_part_that_is_too_long_is_named_once_and_multiplied_by_nothing() {
    let long = "a".repeat(60_000);
    let symbols = vec!["\"A-B\""; 1_000].join(",");
    for (channels, symbols, exchanges) in [
        (&*format!("\"{long}\""), &*symbols, ""),
        ("\"kline_1m\"", &*format!("\"{long}\""), ""),
        ("\"kline_1m\"", "\"A-B\"", &*format!("\"{long}\"")),
    ] {
        let text = format!(
            r#"{{"op":"sub","channels":[{channels}],"symbols":[{symbols}],"exchanges":[{exchanges}]}}"#
        );
        let Op::Sub(subscribe) = parse(&text).op else {
            panic!("a subscription");
        };
        assert_eq!(
            (subscribe.selections.len(), subscribe.malformed.len()),
            (0, 1)
        );
        assert_eq!(subscribe.malformed[0].topic.len(), TOPIC_LEN_MAX);
    }
}

#[test]
fn a_place_is_that_of_a_topic_and_not_of_a_pattern() {
    let since = |fields: &str| {
        format!(r#"{{"op":"sub","topics":["kline:1s:*"],"since":{{"epoch":3,{fields}}}}}"#)
    };
    for fields in [
        r#""seq":{"kline:1s:*":17}"#,
        r#""seq":{"kline:1s:A-B":17},"closed_ms":{"kline:1s:*":17}"#,
        r#""seq":{"":17}"#,
        r#""seq":{"kline:1s:A-B":17},"closed_ms":{"kline:1s:C-D":17}"#,
    ] {
        let error = check_refused(&since(fields), ErrorCode::BadOption);
        assert!(error.message.contains("since"), "{}", error.message);
    }
    parse(&since(r#""seq":{"kline:1s:A-B":17}"#));
}

#[test]
fn malformed_topics_that_are_unsubscribed_are_named() {
    let text = r#"{"op":"unsub","id":4,"topics":["kline:1m:A-B","kline:7x:A-B","x"]}"#;
    let error = check_refused(text, ErrorCode::BadTopic);
    assert_eq!(error.topics, ["kline:7x:A-B", "x"]);
}

#[test]
fn options_are_read_and_held_to_their_ranges() {
    let Op::Sub(subscribe) = parse(
        r#"{"op":"sub","topics":["kline:1s:A-B"],"closed_only":true,"fill":"none","max_rate":2,"since":{"epoch":3,"seq":{"kline:1s:A-B":17}}}"#,
    )
    .op
    else {
        panic!("a subscription");
    };
    assert!(subscribe.filter.closed_only && subscribe.filter.no_fill);
    assert_eq!(subscribe.max_rate, Some(MaxRate::PerSecond(2.0)));
    assert_eq!(subscribe.since.expect("since").seq["kline:1s:A-B"], 17);
    let bad = |option: &str| format!(r#"{{"op":"sub","topics":["kline:1s:A-B"],{option}}}"#);
    check_refused(&bad(r#""max_rate":-1"#), ErrorCode::BadOption);
    check_refused(&bad(r#""max_rate":1e9"#), ErrorCode::BadOption);
    check_refused(&bad(r#""fill":"zero""#), ErrorCode::BadOption);
    for depth in ["0", "7", "51", "18446744073709551615"] {
        check_refused(&bad(&format!(r#""depth":{depth}"#)), ErrorCode::BadOption);
    }
    for option in [r#""depth":-5"#, r#""depth":"5""#, r#""changes":1"#] {
        check_refused(&bad(option), ErrorCode::BadRequest);
    }
    check_refused(&bad(r#""closed_only":"yes""#), ErrorCode::BadRequest);
    check_refused(&bad(r#""since":{"seq":{}}"#), ErrorCode::BadRequest);
}

#[test]
fn the_past_is_read_by_number_time_or_token() {
    let ask = |from: &str| format!(r#"{{"op":"sub","topics":["kline:7m:A-B"],"from":{from}}}"#);
    for (from, expected) in [
        (r#"{"last":500}"#, Past::Last(500)),
        (r#"{"ms":1763697600000}"#, Past::Start(1_763_697_600_000)),
        (
            r#"{"token":"k1.7.9"}"#,
            Past::Token(ResumeToken::new(7, 9).expect("times")),
        ),
    ] {
        let Op::Sub(subscribe) = parse(&ask(from)).op else {
            panic!("a subscription");
        };
        assert_eq!(subscribe.past.as_deref(), Some(&expected));
    }
    for from in [
        "{}",
        r#"{"last":0}"#,
        r#"{"last":1,"ms":1}"#,
        r#"{"ms":-1}"#,
        r#"{"ms":9223372036854775807}"#,
        r#"{"token":"k1.7"}"#,
    ] {
        let error = check_refused(&ask(from), ErrorCode::BadOption);
        assert!(error.message.contains("from"), "{}", error.message);
    }
    check_refused(&ask(r#"{"latest":1}"#), ErrorCode::BadRequest);
    check_refused(&ask("500"), ErrorCode::BadRequest);
}

#[test]
fn the_past_of_a_pattern_is_refused_with_what_to_write() {
    for (topics, word) in [
        (r#""kline:1m:*""#, "kline:1m:BTC-USD"),
        (r#""kline:1m:A-B","kline:>""#, "kline:1m:BTC-USD"),
        (r#""system:feed:okx""#, "without from"),
    ] {
        let text = format!(r#"{{"op":"sub","topics":[{topics}],"from":{{"last":5}}}}"#);
        let error = check_refused(&text, ErrorCode::BadOption);
        assert!(error.message.contains(word), "{}", error.message);
    }
    let both = r#"{"op":"sub","topics":["kline:1m:A-B"],"from":{"last":5},"since":{"epoch":1,"seq":{"kline:1m:A-B":2}}}"#;
    check_refused(both, ErrorCode::BadOption);
}

#[test]
fn what_is_no_request_says_what_to_send() {
    for text in [
        "",
        "hello",
        "[1]",
        "5",
        "{\"op\":\"ping\"}\n{\"op\":\"ping\"}",
        "{\"op\":",
        "null",
    ] {
        let error = check_refused(text, ErrorCode::InvalidJson);
        assert!(error.message.contains("JSON object"), "{}", error.message);
    }
    check_refused(r#"{"connect":{}}"#, ErrorCode::UnknownOp);
    check_refused(r#"{"op":7}"#, ErrorCode::UnknownOp);
    check_refused(r#"{"op":"subscribe","id":1}"#, ErrorCode::UnknownOp);
    check_refused(r#"{"op":"sub"}"#, ErrorCode::BadRequest);
    check_refused(r#"{"op":"sub","topics":"x:y"}"#, ErrorCode::BadRequest);
    let long = format!(r#"{{"op":"sub","closed_only":"{}"}}"#, "a".repeat(60_000));
    let error = check_refused(&long, ErrorCode::BadRequest);
    assert!(error.message.len() < 300, "{}", error.message.len());
    check_refused(
        r#"{"op":"sub","channels":["kline_1m"]}"#,
        ErrorCode::BadRequest,
    );
}

#[test]
fn malformed_topics_leave_the_others_standing() {
    let Op::Sub(subscribe) =
        parse(r#"{"op":"sub","topics":["kline:1m:A-B","kline:7x:A-B","x"]}"#).op
    else {
        panic!("a subscription");
    };
    assert_eq!(
        (subscribe.selections.len(), subscribe.malformed.len()),
        (1, 2)
    );
}

#[test]
fn ten_thousand_topics_in_one_request_are_refused() {
    let topics: Vec<_> = (0..10_000).map(|n| format!("\"a:{n}\"")).collect();
    let error = check_refused(
        &format!(r#"{{"op":"sub","id":9,"topics":[{}]}}"#, topics.join(",")),
        ErrorCode::TooManyTopics,
    );
    assert_eq!(error.id.as_deref(), Some("9"));
}

#[test]
fn a_handshake_query_subscribes() {
    let query = |pairs: &[(&str, &str)]| {
        let pairs: Vec<_> = pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        Request::from_query(&pairs, RequestLimits::default())
    };
    assert_eq!(query(&[]), Ok(None));
    let request = query(&[("topics", "kline:1m:A-B, kline:1s:*"), ("max_rate", "2")])
        .expect("valid")
        .expect("topics");
    assert_eq!(patterns(&request), ["kline:1m:A-B", "kline:1s:*"]);
    assert!(query(&[("topics", "")]).is_err());
    assert!(query(&[("topics", "a:b"), ("max_rate", "x")]).is_err());
    assert!(query(&[("topics", "a:b"), ("depth", "x")]).is_err());
}

#[test]
fn overlapping_subscriptions_of_books_get_the_deeper_and_the_whole_one() {
    let of = |options: &str| {
        let text = format!(r#"{{"op":"sub","topics":["book:A-B"]{options}}}"#);
        let Op::Sub(subscribe) = parse(&text).op else {
            panic!("a subscription");
        };
        subscribe.filter
    };
    let query = [("topics", "book:A-B"), ("depth", "5"), ("changes", "true")];
    let query = query.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let request = Request::from_query(&query, RequestLimits::default());
    let Op::Sub(asked) = request.expect("valid").expect("topics").op else {
        panic!("a subscription");
    };
    let five = of(r#","depth":5,"changes":true"#);
    assert_eq!(five, asked.filter);
    assert_eq!((five.book.depth, five.book.changes), (Some(5), true));
    let union = five.union(of(r#","depth":20,"changes":true"#)).book;
    assert_eq!((union.depth, union.changes), (Some(20), true));
    let union = five.union(of(r#","depth":5"#)).book;
    assert_eq!((union.depth, union.changes), (Some(5), false));
    assert_eq!(five.union(of("")).book, BookForm::WHOLE);
}

#[test]
fn a_replay_is_asked_for_in_a_request_or_in_the_query_of_a_handshake() {
    let past_of = |request: Request| {
        let Op::Sub(subscribe) = request.op else {
            panic!("a subscription");
        };
        subscribe.past.map(|past| *past)
    };
    let replay = |speed| Past::Replay {
        start_ms: 1_763_697_600_000,
        speed,
    };
    let text = r#"{"op":"sub","topics":["kline:1m:A-B"],"from":{"ms":1763697600000,"speed":60}}"#;
    assert_eq!(past_of(parse(text)), Some(replay(60)));
    for from in [
        r#"{"ms":1763697600000,"speed":0}"#,
        r#"{"ms":1763697600000,"speed":1001}"#,
        r#"{"last":5,"speed":2}"#,
        r#"{"speed":2}"#,
        r#"{"token":"k1.1.1","speed":2}"#,
    ] {
        let text = format!(r#"{{"op":"sub","topics":["kline:1m:A-B"],"from":{from}}}"#);
        let error = check_refused(&text, ErrorCode::BadOption);
        assert!(error.message.contains("speed"), "{}", error.message);
    }
    let query = |pairs: &[(&str, &str)]| {
        let pairs: Vec<_> = pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        Request::from_query(&pairs, RequestLimits::default())
    };
    let topics = ("topics", "kline:1m:A-B");
    let from = ("replay_from", "1763697600000");
    for (pairs, expected) in [
        (vec![topics], None),
        (vec![topics, from], Some(replay(1))),
        (vec![topics, from, ("speed", "60")], Some(replay(60))),
    ] {
        let request = query(&pairs).expect("valid").expect("topics");
        assert_eq!(past_of(request), expected);
    }
    for pairs in [
        vec![topics, from, ("speed", "0")],
        vec![topics, from, ("speed", "1.5")],
        vec![topics, from, ("speed", "99999999999")],
        vec![topics, ("speed", "2")],
        vec![topics, ("replay_from", "yesterday")],
        vec![topics, ("replay_from", "-1")],
        vec![topics, ("replay_from", "")],
        vec![from],
        vec![("topics", "kline:1m:*"), from],
        vec![("topics", "system:feed:okx"), from],
    ] {
        let error = query(&pairs).expect_err("refused");
        assert_eq!(error.code, ErrorCode::BadOption, "{pairs:?}");
    }
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(text in ".{0,300}") {
        let _ = Request::parse(&text, RequestLimits::default());
    }

    #[test]
    fn arbitrary_fields_never_panic(
        op in "sub|unsub|list|ping|auth|[a-z]{0,5}",
        id in "null|1|\"x\"|\\{\\}|\\[\\]|1e99",
        topics in "\\[\\]|\\[\"kline:1m:[A-Z*]{1,3}(-[A-Z]{1,3})?\"\\]|5|null|\\[1\\]",
        extra in "|,\"max_rate\":(null|-1|0|5|1e400)|,\"since\":(null|1|\\{\"epoch\":1\\})|,\"channels\":\\[\"kline_1m\"\\],\"symbols\":\\[\"A-B\",\"\"\\]",
    ) {
        let text = format!(r#"{{"op":"{op}","id":{id},"topics":{topics}{extra}}}"#);
        if let Err(error) = Request::parse(&text, RequestLimits::default()) {
            prop_assert!(!error.message.is_empty());
        }
    }
}
