//! `docs/asyncapi.json` says what a gateway takes and sends, and nothing else does it.

use std::collections::BTreeSet;

use market_core::channel::TRADE;
use market_core::protocol::{
    Ack, AuthAck, ErrorCode, List, Live, Reply, Request, RequestError, RequestLimits, ResumeToken,
    Unrecovered, encode_skipped,
};
use market_core::wire::{
    AlertMessage, BookChangesMessage, BookMessage, BoundaryMark, FeedState, FeedStatusMessage,
    GapMessage, JsonMessage, QuoteMessage, Stamp, TickerMessage, encode_row, encode_trade_entry,
};
use market_core::{
    AggressorSide, Amount, BarRow, BarState, BookFault, BookTop, GapEvent, GapEventState, Price,
    PriceLevel, Quality, Quantity, Quote, Symbol, Ticker, Timeframe, Topic, Trade, Width,
};
use serde_json::Value;
use testkit::json_schema;

const DOCUMENT: &str = include_str!("../../docs/asyncapi.json");
const PROTOCOL: &str = include_str!("../../docs/protocol.md");
const REQUESTS: [&str; 6] = ["auth", "list", "ping", "rate", "sub", "unsub"];

const STAMP: Stamp = Stamp {
    seq: 7,
    epoch: 3,
    published_us: 1_723_161_254_088_000,
};

fn document() -> Value {
    serde_json::from_str(DOCUMENT).expect("JSON")
}

fn names(value: &Value) -> BTreeSet<&str> {
    let object = value.as_object().expect("an object");
    object.keys().map(String::as_str).collect()
}

/// The one message of the document that this is: a request, or what a gateway sends.
#[track_caller]
fn kind_of(document: &Value, value: &Value, is_request: bool) -> String {
    let messages = document["components"]["messages"].as_object();
    let mut kinds = Vec::new();
    let mut reasons = Vec::new();
    for (name, message) in messages.expect("messages") {
        if REQUESTS.contains(&name.as_str()) != is_request {
            continue;
        }
        let faults = json_schema::faults(document, &message["payload"], value);
        match faults.as_slice() {
            [] => kinds.push(name.clone()),
            [first, ..] => reasons.push(format!("{name}: {first}")),
        }
    }
    assert_eq!(
        kinds.len(),
        1,
        "{value} is {kinds:?}; it is not {reasons:#?}"
    );
    kinds.remove(0)
}

#[test]
fn the_document_is_whole_and_its_operations_are_those_of_the_protocol() {
    let document = document();
    assert_eq!(document["asyncapi"], "3.0.0");
    // Each reference leads somewhere.
    let mut waiting = vec![&document];
    let mut references = BTreeSet::new();
    while let Some(value) = waiting.pop() {
        match value {
            Value::Array(items) => waiting.extend(items),
            Value::Object(fields) => {
                references.extend(fields.get("$ref").and_then(Value::as_str));
                waiting.extend(fields.values());
            }
            _ => {}
        }
    }
    for reference in &references {
        let path = reference
            .strip_prefix('#')
            .expect("a path of this document");
        assert!(document.pointer(path).is_some(), "{reference}");
    }
    // Each message and each schema is used, and the channel has all messages.
    let messages = names(&document["components"]["messages"]);
    assert_eq!(names(&document["channels"]["socket"]["messages"]), messages);
    for name in names(&document["components"]["schemas"]) {
        let reference = format!("#/components/schemas/{name}");
        assert!(references.contains(reference.as_str()), "{name}");
    }
    for name in &messages {
        let reference = format!("#/channels/socket/messages/{name}");
        assert!(
            references.contains(reference.as_str()),
            "no operation has {name}"
        );
    }
    let operations = document["operations"].as_object().expect("operations");
    let mut taken: Vec<&str> = Vec::new();
    for (name, operation) in operations {
        if operation["action"] == "receive" {
            taken.push(name);
        }
    }
    assert_eq!(taken, REQUESTS);
    let codes: Vec<&str> = ErrorCode::ALL.iter().map(|code| code.as_str()).collect();
    let schemas = &document["components"]["schemas"];
    assert_eq!(
        schemas["error"]["properties"]["code"]["enum"],
        serde_json::json!(codes)
    );
    let reasons = Unrecovered::ALL.map(Unrecovered::as_str);
    assert_eq!(
        schemas["live"]["properties"]["reason"]["enum"],
        serde_json::json!(reasons)
    );
}

#[test]
fn the_samples_of_the_protocol_page_are_as_the_document_says() {
    let document = document();
    let (mut requests, mut told) = (BTreeSet::new(), BTreeSet::new());
    // Text names a message by its operation alone.
    let is_sample = |text: &&str| text.starts_with('{') && text.contains(',');
    let quoted = PROTOCOL.split('`').filter(is_sample);
    for line in PROTOCOL
        .lines()
        .filter(|line| line.starts_with('{'))
        .chain(quoted)
    {
        // Some samples are shortened, and some are claims of a token or parts of a request.
        let Ok(value) = serde_json::from_str::<Value>(line) else {
            assert!(line.contains('…'), "{line}");
            continue;
        };
        let op = value["op"].as_str();
        if op.is_none() && value["topic"].is_null() {
            continue;
        }
        // The answer to a list is called as the question.
        let is_request =
            op.is_some_and(|op| REQUESTS.contains(&op)) && value["subscriptions"].is_null();
        let kind = kind_of(&document, &value, is_request);
        if is_request {
            requests.insert(kind)
        } else {
            told.insert(kind)
        };
    }
    assert_eq!(
        requests.iter().map(String::as_str).collect::<Vec<_>>(),
        REQUESTS
    );
    for kind in [
        "ack", "authAck", "alert", "book", "error", "live", "quote", "ticker", "trade",
    ] {
        assert!(told.contains(kind), "no sample of {kind} in {told:?}");
    }
}

#[test]
fn a_request_that_the_document_permits_is_understood() {
    let document = document();
    let places = r#"{"epoch":5,"seq":{"kline:1m:A-B":3},"closed_ms":{"kline:1m:A-B":60000}}"#;
    for text in [
        r#"{"op":"sub","topics":["book:*","alert:*:*"],"closed_only":true,"fill":"none","max_rate":0.5}"#.to_owned(),
        r#"{"op":"sub","id":null,"topics":["kline:1m:A-B"],"from":{"ms":60000,"speed":1000}}"#.to_owned(),
        format!(r#"{{"op":"sub","id":"a","topics":["kline:1m:A-B"],"since":{places}}}"#),
        r#"{"op":"unsub","id":true,"channels":["trade"],"symbols":["A-B"],"exchanges":["okx"]}"#.to_owned(),
        r#"{"op":"rate","max_rate":0}"#.to_owned(),
    ] {
        let value = serde_json::from_str(&text).expect("JSON");
        let kind = kind_of(&document, &value, true);
        assert_eq!(value["op"], kind.as_str());
        let request = Request::parse(&text, RequestLimits::default());
        assert!(request.is_ok(), "{text}: {request:?}");
    }
    // What the document forbids, the gateway refuses.
    for text in [
        r#"{"op":"rate","max_rate":1001}"#,
        r#"{"op":"sub","topics":["kline:1m:A-B"],"fill":"some"}"#,
        r#"{"op":"sub","topics":["kline:1m:A-B"],"from":{"ms":1,"speed":0}}"#,
        r#"{"op":"sub","topics":["kline:1m:A-B"],"from":{"days":1}}"#,
        r#"{"op":"sub","topics":"kline:1m:A-B"}"#,
        r#"{"op":"auth"}"#,
    ] {
        let value: Value = serde_json::from_str(text).expect("JSON");
        let op = value["op"].as_str().expect("an op");
        let schema = &document["components"]["schemas"][op];
        assert!(
            !json_schema::faults(&document, schema, &value).is_empty(),
            "{text}"
        );
        assert!(
            Request::parse(text, RequestLimits::default()).is_err(),
            "{text}"
        );
    }
}

/// Every reply, with all its fields and with none of those that may be absent.
fn replies() -> Vec<(&'static str, String)> {
    let topic: Topic = "kline:1m:A-B".parse().expect("a topic");
    let patterns = vec!["kline:1m:*".parse().expect("a pattern")];
    let id = || Some(Box::from("1"));
    let live = |unrecovered, missing, token| {
        let topic = topic.clone();
        Reply::Live(Live {
            topic,
            unrecovered,
            missing,
            token,
        })
    };
    let full = [
        ("ack", Reply::Ack(Ack::default())),
        (
            "ack",
            Reply::Ack(Ack {
                id: id(),
                topics: patterns.clone(),
                pending: patterns.clone(),
                not_resumed: vec![topic.clone()],
                not_subscribed: patterns.clone(),
            }),
        ),
        (
            "authAck",
            Reply::AuthAck(AuthAck {
                id: id(),
                expires_ms: 5,
                unsubscribed: patterns.clone(),
            }),
        ),
        (
            "authAck",
            Reply::AuthAck(AuthAck {
                expires_ms: 5,
                ..AuthAck::default()
            }),
        ),
        ("authExpiring", Reply::AuthExpiring { expires_ms: 5 }),
        (
            "topicList",
            Reply::List(List {
                id: id(),
                subscriptions: patterns,
                topics: vec![topic.clone()],
                is_truncated: true,
            }),
        ),
        ("topicList", Reply::List(List::default())),
        (
            "live",
            live(
                Some(Unrecovered::TooMany),
                3,
                ResumeToken::new(60_000, 60_001),
            ),
        ),
        ("live", live(None, 0, None)),
        (
            "pong",
            Reply::Pong {
                id: Some(Box::from("null")),
            },
        ),
        ("pong", Reply::Pong { id: None }),
    ];
    let mut replies: Vec<_> = full.map(|(kind, reply)| (kind, reply.encode())).into();
    for &code in ErrorCode::ALL {
        let error = RequestError {
            id: Some(Box::from(r#""a""#)),
            code,
            message: "write \"this\"".to_owned(),
            topics: vec!["x".to_owned()],
        };
        replies.push(("error", Reply::Error(error).encode()));
    }
    replies.push(("skipped", encode_skipped(&topic, 3)));
    replies
}

/// What publishers put on the bus for clients, as their encoders write it.
fn publications() -> Vec<(&'static str, String)> {
    let symbol: Symbol = "OKX:BTC-USDT".parse().expect("a symbol");
    let level = |price: &str, quantity: &str| PriceLevel::parse(price, quantity).expect("numbers");
    let price = |text: &str| Price::parse(text).expect("a price");
    let text = |bytes: bytes::Bytes| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    let mut told = Vec::new();

    let trade = Trade {
        first_id: 41,
        last_id: 42,
        event_ms: 1_723_161_255_342,
        price: price("61837.63"),
        quantity: Quantity::parse("0.02").expect("a quantity"),
        aggressor_side: AggressorSide::Sell,
        received_us: 1_723_161_255_350_000,
    };
    let topic = Topic::of_symbol(&TRADE, &symbol);
    told.push((
        "trade",
        text(encode_trade_entry(&topic, "okx", &symbol, &trade, STAMP)),
    ));

    let quote = Quote {
        bid: level("61837.63", "3.7"),
        ask: None,
        update_id: Some(5),
        event_ms: None,
        received_us: 9,
    };
    told.push((
        "quote",
        text(QuoteMessage::new("okx", &symbol, &quote, STAMP).encode()),
    ));

    let ticker = Ticker {
        open: Some(price("60000")),
        high: None,
        low: None,
        last: price("61837.63"),
        last_quantity: None,
        volume: Amount::parse("123456789012345678.5").expect("an amount"),
        quote_volume: None,
        count: Some(3),
        ids: Some((41, 43)),
        bid: None,
        bid_quantity: None,
        ask: None,
        ask_quantity: None,
        event_ms: None,
        received_us: 9,
    };
    told.push((
        "ticker",
        text(TickerMessage::new("okx", &symbol, &ticker, STAMP).encode()),
    ));

    let top = BookTop {
        update_id: None,
        bids: vec![level("5", "1").expect("a level")],
        asks: Vec::new(),
        event_ms: None,
        received_us: 9,
    };
    let book = BookMessage::new("okx", &symbol, Ok(&top), STAMP);
    let levels = book.levels().expect("levels");
    for depth in [Some(5), None] {
        let changes = levels.changes_since(&levels, depth);
        let message = BookChangesMessage::new(&book, 5, &changes, levels.checksum());
        told.push(("bookChanges", text(message.encode())));
    }
    told.push(("book", text(book.clone().silent().encode())));
    told.push(("book", text(book.encode())));
    told.push((
        "book",
        text(BookMessage::new("okx", &symbol, Err(BookFault::Hole), STAMP).encode()),
    ));

    let row = |count| BarRow {
        start_ms: 60_000,
        open: price("5"),
        high: price("5"),
        low: price("5"),
        close: price("5"),
        volume: Amount::ZERO,
        quote_volume: None,
        taker_buy_volume: None,
        taker_buy_quote_volume: Some(Amount::ZERO),
        count,
        ids: None,
        event_ms: None,
        received_us: None,
        rev: 2,
        quality: Quality::Backfilled,
        is_imported: false,
        known_ms: 0,
    };
    let width: Width = "7m".parse().expect("a width");
    let bars = Topic::bars(Timeframe::MINUTE, &symbol);
    for (count, state) in [(Some(3), BarState::Closed), (None, BarState::Forming)] {
        told.push((
            "bar",
            text(encode_row(
                &bars,
                "okx",
                &symbol,
                width,
                &row(count),
                state,
                STAMP,
            )),
        ));
    }

    let event = GapEvent {
        first_id: Some(3),
        last_id: None,
        from_ms: 10,
        to_ms: None,
        state: GapEventState::Open,
    };
    told.push((
        "gap",
        text(GapMessage::new("okx", &symbol, &event).encode()),
    ));
    let mark = BoundaryMark {
        interval: "1m".into(),
        end_ms: 60_000,
        bars: 12,
        missing: 1,
    };
    told.push(("boundary", text(mark.encode(7))));
    let feed = FeedStatusMessage {
        topic: "system:feed:okx".to_owned(),
        exchange: "okx".to_owned(),
        mode: "live".to_owned(),
        state: FeedState::Reconnecting,
        age_ms: 40,
        connections: 1,
        symbols: 3,
        subscribed: 2,
        silent: 0,
        refused: vec!["FOO-USD".to_owned()],
        refused_count: 1,
        unknown: Vec::new(),
        unknown_count: 0,
        at_ms: 5,
        publisher: "9c41d2b06e0f7a35".to_owned(),
        rivals: 0,
        lost_publishers: 0,
        standbys: 1,
    };
    told.push(("feed", text(feed.encode())));
    let alert = AlertMessage {
        topic: AlertMessage::topic_of("btc-5", &symbol),
        seq: 7,
        epoch: 3,
        exchange: "okx".to_owned(),
        symbol,
        rule: "btc-5".to_owned(),
        kind: "gap".to_owned(),
        level: "warning".to_owned(),
        direction: "none".to_owned(),
        start_ms: 1,
        end_ms: 2,
        value: "trades".to_owned(),
        reference: String::new(),
        raised_ms: 3,
    };
    told.push(("systemAlert", text(alert.for_system().encode())));
    told.push(("alert", text(alert.encode())));
    told.push(("serviceAlert", r#"{"topic":"system:alert:critical:broker_unhealthy","service":"message-broker-service","timestamp":"2026-11-22T00:00:00Z","detail":5}"#.to_owned()));
    told
}

#[test]
fn everything_that_a_gateway_sends_is_one_kind_of_message_of_the_document() {
    let document = document();
    let mut sent = BTreeSet::new();
    for (kind, text) in replies().into_iter().chain(publications()) {
        let value: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(kind_of(&document, &value, false), kind, "{text}");
        sent.insert(kind);
        // What was skipped stands before the other fields of bars, trades and alerts.
        if matches!(kind, "bar" | "trade" | "alert") {
            let skipped = text.replacen('{', r#"{"skipped":3,"#, 1);
            let value = serde_json::from_str(&skipped).expect("JSON");
            assert_eq!(kind_of(&document, &value, false), kind);
        }
    }
    let mut documented = names(&document["components"]["messages"]);
    documented.retain(|name| !REQUESTS.contains(name));
    assert_eq!(documented, sent);
}
