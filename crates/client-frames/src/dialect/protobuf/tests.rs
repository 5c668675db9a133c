//! Messages are read back by the published schema and compared with the JSON.

use std::sync::LazyLock;

use market_core::protocol::{
    Ack, AuthAck, List, Live, Op as Asked, ResumeToken, Unrecovered, encode_skipped,
};
use market_core::wire::BarMessage;
use proptest::prelude::*;
use prost_reflect::{DescriptorPool, DynamicMessage, Kind, MessageDescriptor, SerializeOptions};
use serde_json::{Value, json};

use super::*;

static SCHEMA: LazyLock<DescriptorPool> = LazyLock::new(|| {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/proto");
    let files =
        protox::compile(["klinecast/v1/klinecast.proto"], [folder]).expect("a valid schema");
    DescriptorPool::from_file_descriptor_set(files).expect("a valid schema")
});

fn schema_of(name: &str) -> MessageDescriptor {
    let full = format!("klinecast.v1.{name}");
    SCHEMA.get_message_by_name(&full).expect("it is published")
}

/// What a batch of one update says, under the names of the schema.
fn said_by(json: &str, skipped: u64) -> Value {
    said(&update(json.as_bytes()), skipped)
}

/// What a batch of one message says, under the names of the schema.
fn said(body: &[u8], skipped: u64) -> Value {
    let mut batch = Vec::new();
    put_prefix(&mut batch, skipped, body.len());
    batch.extend_from_slice(body);
    let batch = DynamicMessage::decode(schema_of("Batch"), &batch[..]).expect("a batch");
    assert_eq!(batch.unknown_fields().count(), 0);
    let options = SerializeOptions::new()
        .use_proto_field_name(true)
        .stringify_64_bit_integers(false)
        .skip_default_fields(false);
    let value = batch
        .serialize_with_options(serde_json::value::Serializer, &options)
        .expect("it has a JSON form");
    assert_eq!(value["messages"].as_array().map(Vec::len), Some(1));
    value["messages"][0].clone()
}

/// Every field of the JSON has to be in the message, and every field of the message in the JSON.
fn assert_same(json: &Value, message: &Value, content: &str) {
    let said = message[content].as_object().expect("the content");
    let json = json.as_object().expect("an object");
    for (name, value) in json {
        if matches!(name.as_str(), "op" | "skipped") {
            continue;
        }
        let expected = match (name.as_str(), value) {
            ("state" | "quality" | "aggressor_side", Value::String(text)) => {
                json!(text.to_uppercase())
            }
            ("bids" | "asks", Value::Array(levels)) => {
                let level = |level: &Value| json!({"price": level[0], "quantity": level[1]});
                levels.iter().map(level).collect()
            }
            ("id", Value::String(text)) => json!(text),
            ("id", other) => json!(other.to_string()),
            _ => value.clone(),
        };
        let found = said.get(name).unwrap_or(&Value::Null);
        assert_eq!(*found, expected, "{name}");
    }
    for (name, value) in said {
        let is_default =
            matches!(value, Value::Array(all) if all.is_empty()) || *value == json!(false);
        assert!(json.contains_key(name) || is_default, "{name} is made up");
    }
}

fn check(json: &str, content: &str) {
    let message = said_by(json, 0);
    assert_same(
        &serde_json::from_str(json).expect("JSON"),
        &message,
        content,
    );
    assert_eq!(message["skipped"], 0);
}

/// A reply says in protobuf what it says in JSON.
fn check_reply(reply: &Reply, content: &str) {
    let message = said(&super::reply(reply), 0);
    let json = serde_json::from_str(&reply.encode()).expect("JSON");
    assert_same(&json, &message, content);
    assert_eq!(message["skipped"], 0);
}

const BAR: &str = r#"{"topic":"kline:1s:BTC-USD","seq":18,"epoch":3,"exchange":"coinbase","symbol":"BTC-USD","interval":"1s","start_ms":1723161255000,"end_ms":1723161256000,"open":"61837.63","high":"61837.630","low":"0.00000000001","close":"61837.63","volume":"0.02","quote_volume":"123456789012345678.7526","taker_buy_volume":"0.02","taker_buy_quote_volume":"1236.7526","count":2,"first_id":"41","last_id":"42","state":"closed","rev":1,"quality":"complete","event_ms":1723161255342,"received_us":1723161255350000,"published_us":7}"#;

#[test]
fn a_bar_says_what_its_json_says() {
    check(BAR, "bar");
    check(
        &BAR.replace("\"41\"", "null")
            .replace("\"42\"", "null")
            .replace("1723161255342", "null")
            .replace("1723161255350000", "null")
            .replace("complete", "filled"),
        "bar",
    );
    // A bar of the past whose venue does not say its sums.
    check(
        &BAR.replace("\"123456789012345678.7526\"", "null")
            .replace(r#""taker_buy_volume":"0.02""#, r#""taker_buy_volume":null"#)
            .replace("\"1236.7526\"", "null")
            .replace(r#""count":2"#, r#""count":null"#),
        "bar",
    );
    assert_eq!(said_by(BAR, 12)["skipped"], 12);
    assert_eq!(said_by(BAR, 12)["bar"], said_by(BAR, 0)["bar"]);
    assert!(update(BAR.as_bytes()).len() < BAR.len() / 2);
}

const TRADE: &str = r#"{"topic":"trade:OKX:BTC-USDT","seq":7,"epoch":3,"exchange":"okx","symbol":"OKX:BTC-USDT","first_id":"41","last_id":"42","price":"61837.63","quantity":"0.02","aggressor_side":"sell","event_ms":1723161255342,"received_us":1723161255350000,"published_us":1723161255350999}"#;

#[test]
fn a_trade_says_what_its_json_says() {
    check(TRADE, "trade");
    check(&TRADE.replace("sell", "buy"), "trade");
    assert_eq!(said_by(TRADE, 12)["skipped"], 12);
    assert!(update(TRADE.as_bytes()).len() < TRADE.len() / 2);
    let more = TRADE.replace("\"seq\":7", "\"seq\":7,\"liquidation\":true");
    assert_eq!(said_by(&more, 0)["json"], json!(more));
}

#[test]
fn a_quote_and_a_ticker_say_what_their_json_says() {
    const QUOTE: &str = r#"{"topic":"quote:OKX:BTC-USDT","seq":7,"epoch":3,"exchange":"okx","symbol":"OKX:BTC-USDT","bid":"61837.63","bid_quantity":"3.78826","ask":"61837.64","ask_quantity":"1.5","update_id":"50093239212","event_ms":1723161254087,"received_us":1723161254087891,"published_us":1723161254088000}"#;
    const TICKER: &str = r#"{"topic":"ticker:BTC-USDT","seq":7,"epoch":3,"exchange":"binance","symbol":"BTC-USDT","source":"venue","open":"60000","high":"62500.5","low":"59000","last":"61500","last_quantity":"0.02","volume":"2","quote_volume":"122000.5","count":3,"first_id":"41","last_id":"43","bid":"61499.5","bid_quantity":"1","ask":"61500","ask_quantity":"0.5","event_ms":1723161254087,"received_us":1723161254087891,"published_us":1723161254088000}"#;
    check(QUOTE, "quote");
    check(&QUOTE.replace("\"61837.64\"", "null"), "quote");
    check(TICKER, "ticker");
    check(&TICKER.replace("\"count\":3", "\"count\":null"), "ticker");
}

#[test]
fn a_book_says_what_its_json_says() {
    const BOOK: &str = r#"{"topic":"book:BTC-USDT","seq":7,"epoch":3,"exchange":"binance","symbol":"BTC-USDT","state":"valid","reason":null,"update_id":"50093239212","bids":[["61837.63","3.78826"],["61837","1"]],"asks":[["61837.64","1.5"]],"event_ms":1723161254087,"received_us":1723161254087891,"published_us":1723161254088000}"#;
    check(BOOK, "book");
    let invalid = r#"{"topic":"book:BTC-USDT","seq":7,"epoch":3,"exchange":"binance","symbol":"BTC-USDT","state":"invalid","reason":"hole","update_id":null,"bids":[],"asks":[],"event_ms":null,"received_us":null,"published_us":1723161254088000}"#;
    check(invalid, "book");
    let changes = BOOK
        .replace(r#""epoch":3,"#, r#""epoch":3,"prev_seq":5,"#)
        .replace(r#""bids":"#, r#""depth":20,"bids":"#)
        .replace(r#""event_ms":"#, r#""checksum":4294967295,"event_ms":"#);
    check(&changes, "book");
    check(&changes.replace(r#""depth":20"#, r#""depth":null"#), "book");
}

#[test]
fn every_field_of_a_published_bar_is_in_the_schema() {
    let bar = BarMessage::read(BAR.as_bytes()).expect("a bar");
    check(&serde_json::to_string(&bar).expect("plain fields"), "bar");
}

#[test]
fn a_bar_of_any_width_is_a_bar() {
    let wide = BAR.replace("\"interval\":\"1s\"", "\"interval\":\"7m\"");
    check(&wide, "bar");
}

#[test]
fn what_is_new_in_a_bar_does_not_make_it_another_message() {
    let newer = BAR.replace("\"rev\":1", "\"rev\":1,\"vwap\":\"5\"");
    assert_eq!(said_by(&newer, 0), said_by(BAR, 0));
    let unknown = said_by(&BAR.replace("complete", "guessed"), 0);
    assert_eq!(unknown["bar"]["quality"], "QUALITY_UNSPECIFIED");
}

#[test]
fn replies_and_marks_say_what_their_json_says() {
    for id in [
        None,
        Some("1"),
        Some("\"a\\u0041\""),
        Some("null"),
        Some("1.50"),
    ] {
        let ack = Reply::Ack(Ack {
            id: id.map(Box::from),
            topics: ["a:b", "a:*"]
                .map(|text| text.parse().expect("a pattern"))
                .into(),
            pending: vec!["a:b".parse().expect("a pattern")],
            not_resumed: vec!["a:c".parse().expect("a topic")],
            not_subscribed: Vec::new(),
        });
        let message = said(&super::reply(&ack), 0);
        let expected = match id {
            None => Value::Null,
            Some("\"a\\u0041\"") => json!("aA"),
            Some(text) => json!(text),
        };
        assert_eq!(message["ack"].get("id").unwrap_or(&Value::Null), &expected);
        assert_eq!(message["ack"]["topics"], json!(["a:b", "a:*"]));
        assert_eq!(message["ack"]["not_resumed"], json!(["a:c"]));
    }
    let error = RequestError {
        id: Some("4".into()),
        code: ErrorCode::BadTopic,
        message: "no \"topic\"\n".to_owned(),
        topics: vec!["x".to_owned()],
    };
    check_reply(&Reply::Error(error), "error");
    let list = List {
        id: Some("5".into()),
        subscriptions: vec!["a:*".parse().expect("a pattern")],
        topics: ["a:b", "a:c"]
            .map(|text| text.parse().expect("a topic"))
            .into(),
        is_truncated: true,
    };
    check_reply(&Reply::List(list), "list");
    let id = Some("\"x\"".into());
    check_reply(&Reply::Pong { id }, "pong");
    check_reply(&Reply::Pong { id: None }, "pong");
    let ack = AuthAck {
        id: Some("7".into()),
        expires_ms: 1_763_697_600_000,
        unsubscribed: vec!["a:b".parse().expect("a pattern")],
    };
    check_reply(&Reply::AuthAck(ack), "ack");
    let expires_ms = 1_763_697_600_000;
    check_reply(&Reply::AuthExpiring { expires_ms }, "auth_expiring");
    let live = Live {
        topic: "kline:1m:A-B".parse().expect("a topic"),
        unrecovered: Some(Unrecovered::Gap),
        missing: 3,
        token: ResumeToken::new(7, 9),
    };
    check_reply(&Reply::Live(live), "live");
    check(
        r#"{"op":"boundary","topic":"boundary:1m","interval":"1m","end_ms":60000,"bars":3,"missing":0,"published_us":60000123}"#,
        "boundary",
    );
    let skipped = encode_skipped(&"kline:1s:A-B".parse().expect("topic"), 5);
    let message = said_by(&skipped, 0);
    assert_eq!(
        (&message["skipped"], &message["skipped_only"]["topic"]),
        (&json!(5), &json!("kline:1s:A-B"))
    );
}

#[test]
fn what_the_schema_cannot_say_comes_as_json() {
    for json in [
        r#"{"topic":"system:feed:sim","state":"live","lag_ms":12}"#,
        r#"{"op":"news","text":"…"}"#,
        r#"{"op":"boundary","topic":"boundary:1m","interval":"1m","end_ms":60000,"bars":3,"missing":0,"published_us":1,"since_when":3}"#,
        // A bar that lacks a field.
        r#"{"topic":"kline:1s:A-B","seq":1,"epoch":1,"state":"forming"}"#,
    ] {
        assert_eq!(said_by(json, 0)["json"], json!(json));
    }
}

/// Name, number, type and more of every field, so that the Rust types are those of the schema.
#[test]
fn requests_of_the_schema_are_those_in_json() {
    let limits = RequestLimits::default();
    for (request, json) in [
        (
            json!({"id": "a\"b", "sub": {"topics": ["kline:1s:A-B", "kline:1m:*"], "closed_only": true, "fill": "none", "max_rate": 2.5}}),
            r#"{"op":"sub","id":"a\"b","topics":["kline:1s:A-B","kline:1m:*"],"closed_only":true,"fill":"none","max_rate":2.5}"#,
        ),
        (
            json!({"sub": {"topics": ["kline:7m:A-B"], "from": {"last": "500"}}}),
            r#"{"op":"sub","topics":["kline:7m:A-B"],"from":{"last":500}}"#,
        ),
        (
            json!({"sub": {"topics": ["kline:7m:A-B"], "from": {"token": "k1.7.9"}}}),
            r#"{"op":"sub","topics":["kline:7m:A-B"],"from":{"token":"k1.7.9"}}"#,
        ),
        (
            json!({"sub": {"channels": ["kline_1m"], "symbols": ["BTC-USDT"], "exchanges": ["okx"], "since": {"epoch": "3", "seq": {"kline:1m:A-B": "9"}, "closed_ms": {"kline:1m:A-B": "60000"}}}}),
            r#"{"op":"sub","channels":["kline_1m"],"symbols":["BTC-USDT"],"exchanges":["okx"],"since":{"epoch":3,"seq":{"kline:1m:A-B":9},"closed_ms":{"kline:1m:A-B":60000}}}"#,
        ),
        (
            json!({"unsub": {"topics": ["a:b"]}}),
            r#"{"op":"unsub","topics":["a:b"]}"#,
        ),
        (json!({"id": "5", "list": {}}), r#"{"op":"list","id":"5"}"#),
        (json!({"ping": {}}), r#"{"op":"ping"}"#),
        (
            json!({"auth": {"token": "t"}}),
            r#"{"op":"auth","token":"t"}"#,
        ),
    ] {
        let message =
            DynamicMessage::deserialize(schema_of("Request"), request).expect("a Request");
        let frame = prost::Message::encode_to_vec(&message);
        assert_eq!(
            parse_request(&frame, limits),
            Request::parse(json, limits),
            "{json}"
        );
    }
    let ping = parse_request(&[0x2a, 0x00], limits).expect("a ping");
    assert_eq!(ping.op, Asked::Ping);
    for wrong in [&b"{\"op\":\"ping\"}"[..], &[], &[0x0a, 0x01, b'x']] {
        let error = parse_request(wrong, limits).expect_err("no request");
        assert_eq!(error.code, ErrorCode::BadRequest);
    }
    let error = parse_request(&[0x12, 0x00], limits).expect_err("a sub without topics");
    assert_eq!(error.code, ErrorCode::BadRequest);
}

#[test]
fn a_rate_that_is_no_number_is_refused_as_one_out_of_range_is() {
    for rate in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e9] {
        let asked = schema::Request {
            id: Some("x".to_owned()),
            op: Some(schema::Op::Sub(Box::new(schema::Subscribe {
                topics: vec!["kline:1m:A-B".to_owned()],
                max_rate: Some(rate),
                ..schema::Subscribe::default()
            }))),
        };
        let error =
            parse_request(&asked.encode_to_vec(), RequestLimits::default()).expect_err("no rate");
        assert_eq!(error.code, ErrorCode::BadOption);
        assert_eq!(error.id.as_deref(), Some("\"x\""));
    }
}

#[test]
fn a_token_is_shown_nowhere() {
    let auth = schema::Auth {
        token: "secret".to_owned(),
    };
    assert!(!format!("{auth:?}").contains("secret"));
}

#[test]
fn every_field_of_a_bar_is_published_with_its_type() {
    let bar: Value = serde_json::from_str(BAR).expect("JSON");
    let fields = schema_of("Bar");
    assert_eq!(
        fields.fields().count(),
        bar.as_object().map_or(0, |bar| bar.len())
    );
    for (name, value) in bar.as_object().expect("an object") {
        let field = fields.get_field_by_name(name).expect("it is published");
        let is_text = matches!(field.kind(), Kind::String | Kind::Enum(_));
        assert_eq!(is_text, value.is_string(), "{name}");
    }
}

proptest! {
    #[test]
    fn any_bar_says_what_its_json_says(
        prices in proptest::collection::vec("[0-9]{1,18}(\\.[0-9]{1,12})?", 8),
        numbers in proptest::collection::vec(0u64..1 << 53, 7),
        ids in proptest::option::of(("[0-9]{1,19}", "[0-9]{1,19}")),
        event in proptest::option::of((0i64..1 << 52, 0i64..1 << 52)),
        state in prop_oneof!["forming", "closed"],
        quality in prop_oneof!["complete", "gap", "backfilled", "partial", "filled"],
        skipped in 0u64..u64::MAX,
    ) {
        let bar = json!({
            "topic": "kline:1m:OKX:BTC-USDT", "seq": numbers[0], "epoch": numbers[1],
            "exchange": "okx", "symbol": "OKX:BTC-USDT", "interval": "1m", "start_ms": numbers[2], "end_ms": numbers[3],
            "open": prices[0], "high": prices[1], "low": prices[2], "close": prices[3],
            "volume": prices[4], "quote_volume": prices[5], "taker_buy_volume": prices[6],
            "taker_buy_quote_volume": prices[7], "count": numbers[4],
            "first_id": ids.as_ref().map(|ids| &ids.0), "last_id": ids.as_ref().map(|ids| &ids.1),
            "state": state, "rev": numbers[5] % (1 << 32), "quality": quality,
            "event_ms": event.map(|event| event.0), "received_us": event.map(|event| event.1),
            "published_us": numbers[6],
        });
        let message = said_by(&bar.to_string(), skipped);
        assert_same(&bar, &message, "bar");
        prop_assert_eq!(&message["skipped"], &json!(skipped));
    }

    #[test]
    fn any_binary_frame_is_a_request_or_an_error(frame in proptest::collection::vec(any::<u8>(), 0..60)) {
        let _ = parse_request(&frame, RequestLimits::default());
    }
}

proptest! {
    /// Bytes of any kind, and counts and lengths that promise more than is there.
    #[test]
    fn binary_requests_of_any_form_are_answered_within_bounds(
        bytes in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..300),
            // Keys of the schema, before lengths and varints of any size.
            proptest::collection::vec((0u8..9, 0u8..6, any::<u64>(), "[ -~]{0,12}"), 0..20).prop_map(|fields| {
                let mut bytes = Vec::new();
                for (tag, wire, number, text) in fields {
                    bytes.push(tag << 3 | wire);
                    prost::encoding::encode_varint(number >> (number % 64), &mut bytes);
                    bytes.extend(text.as_bytes());
                }
                bytes
            }),
        ],
        outer in 1u8..7,
    ) {
        let limits = RequestLimits { topics_max: 50, wildcards_max: 5 };
        let mut inner = vec![outer << 3 | 2];
        prost::encoding::encode_varint(bytes.len() as u64, &mut inner);
        inner.extend(&bytes);
        for frame in [bytes, inner] {
            match parse_request(&frame, limits) {
                Err(error) => prop_assert!(!error.message.is_empty() && error.message.len() < 2_000),
                Ok(Request { op: market_core::protocol::Op::Sub(subscribe), .. }) => {
                    let count = subscribe.selections.len() + subscribe.malformed.len();
                    prop_assert!(count <= limits.topics_max + frame.len());
                }
                Ok(_) => {}
            }
        }
    }
}
