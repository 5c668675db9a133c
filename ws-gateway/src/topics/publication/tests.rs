use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const NOW_MS: i64 = 1_800_000_000_000;
const BOUNDS: Bounds = Bounds {
    bytes_max: 2_000,
    future_max_ms: 3_600_000,
};

fn bar() -> Value {
    json!({
        "topic": "kline:1m:OKX:BTC-USDT", "seq": 7, "epoch": NOW_MS - 5_000, "exchange": "okx", "symbol": "OKX:BTC-USDT",
        "interval": "1m", "start_ms": NOW_MS, "end_ms": NOW_MS + 60_000, "open": "1", "high": "2",
        "low": "1", "close": "2", "volume": "3", "count": 2, "first_id": "4", "last_id": null,
        "state": "closed", "rev": 0, "quality": "complete", "event_ms": null,
        "received_us": null, "published_us": NOW_MS * 1_000,
    })
}

fn mark() -> Value {
    json!({
        "op": "boundary", "topic": "boundary:1m", "interval": "1m", "end_ms": NOW_MS, "bars": 3,
        "missing": 0, "published_us": 1,
    })
}

fn status() -> Value {
    json!({"topic": "system:feed:okx", "state": "live", "age_ms": 3})
}

fn book() -> Value {
    json!({
        "topic": "book:OKX:BTC-USDT", "seq": 7, "epoch": NOW_MS - 5_000, "exchange": "okx", "symbol": "OKX:BTC-USDT",
        "state": "valid", "reason": null, "update_id": "5", "bids": [["5", "0.1"]], "asks": [],
        "event_ms": null, "received_us": 1, "published_us": NOW_MS * 1_000,
    })
}

fn read<'a>(subject_name: &str, payload: &'a [u8]) -> Result<Publication<'a>, Refusal> {
    let name = Name::of_subject(subject_name).expect("a topic's subject");
    name.read(payload, BOUNDS, NOW_MS)
}

#[track_caller]
fn check(subject_name: &str, message: &Value, expected: Option<Refusal>) {
    let payload = message.to_string();
    let outcome = read(subject_name, payload.as_bytes());
    assert_eq!(outcome.err(), expected, "{message}");
}

#[track_caller]
fn check_with(subject_name: &str, mut message: Value, field: &str, value: Value, why: Refusal) {
    message[field] = value;
    check(subject_name, &message, Some(why));
}

#[test]
fn what_publishers_send_is_taken() {
    check("kline.1m.OKX.BTC-USDT", &bar(), None);
    check("closed.1m.OKX.BTC-USDT", &bar(), None);
    check("boundary.1m", &mark(), None);
    check("system.feed.okx", &status(), None);
    check("book.OKX.BTC-USDT", &book(), None);
    let mut invalid = book();
    invalid["state"] = json!("invalid");
    invalid["bids"] = json!([]);
    check("book.OKX.BTC-USDT", &invalid, None);
}

#[test]
fn a_book_that_cannot_be_is_refused() {
    let check = |field: &str, value: Value, why: Refusal| {
        check_with("book.OKX.BTC-USDT", book(), field, value, why);
    };
    check("topic", json!("book:BTC-USDT"), Refusal::Misplaced);
    check("op", json!("ack"), Refusal::Malformed);
    for field in ["bids", "asks"] {
        let side = |levels: Value| check(field, levels, Refusal::Malformed);
        for level in [
            ["0", "1"],
            ["-5", "1"],
            ["5", "0"],
            ["5", "-1"],
            ["5e3", "1"],
            ["", "1"],
            ["5", "NaN"],
        ] {
            side(json!([level]));
        }
        side(json!([["5", "1", "1"]]));
        side(json!([["5"]]));
        side(json!([[5, 1]]));
    }
    check(
        "bids",
        json!([["5", "1"], ["6", "1"]]),
        Refusal::Implausible,
    );
    check(
        "bids",
        json!([["5", "1"], ["5.0", "1"]]),
        Refusal::Implausible,
    );
    check(
        "asks",
        json!([["6", "1"], ["5.5", "1"]]),
        Refusal::Implausible,
    );
    check("asks", json!([["5", "1"]]), Refusal::Implausible);
    check("asks", json!([["4", "1"]]), Refusal::Implausible);
    check("update_id", json!("-5"), Refusal::Malformed);
    check("update_id", json!(5), Refusal::Malformed);
    check("published_us", json!(null), Refusal::Malformed);
    check("reason", json!("hole"), Refusal::Implausible);
    check("state", json!("stale"), Refusal::Malformed);
    check("state", json!("invalid"), Refusal::Implausible);
    check("epoch", json!(0), Refusal::Implausible);
    check("bids", json!([["5"]]), Refusal::Malformed);
    check("bids", json!([["5", 1]]), Refusal::Malformed);
    check("asks", json!([["5", "1", "2"]]), Refusal::Malformed);
    check("asks", json!("none"), Refusal::Malformed);
    check("asks", json!([["6", "9".repeat(2_000)]]), Refusal::TooLong);
}

#[test]
fn what_says_that_it_is_of_another_topic_is_refused() {
    let misplaced = Some(Refusal::Misplaced);
    check("kline.1m.BTC-USDT", &bar(), misplaced);
    check("boundary.1h", &mark(), misplaced);
    check("system.feed.binance", &status(), misplaced);
    check("system.feed.okx", &json!({"state": "live"}), misplaced);
    check_with(
        "boundary.1m",
        mark(),
        "interval",
        json!("1s"),
        Refusal::Misplaced,
    );
}

#[test]
fn a_number_too_large_for_a_client_is_refused_in_any_field() {
    let nines = "9".repeat(400);
    for (subject_name, message) in [("kline.1m.OKX.BTC-USDT", bar()), ("boundary.1m", mark())] {
        let text = message.to_string();
        let with = |value: &str| format!("{},\"x\":{value}}}", &text[..text.len() - 1]);
        for value in ["1e999", "-1E400", "0.5e+999", "1.5e309", &nines] {
            let payload = with(value);
            let outcome = read(subject_name, payload.as_bytes());
            assert_eq!(outcome.err(), Some(Refusal::Malformed), "{payload}");
        }
        let fraction = format!("0.{nines}");
        for value in [
            "1e308",
            "1e-999",
            "0.1",
            "123456789012345678901",
            "\"1e999\"",
            &fraction,
        ] {
            let payload = with(value);
            assert_eq!(
                read(subject_name, payload.as_bytes()).err(),
                None,
                "{payload}"
            );
        }
    }
}

#[test]
fn what_is_not_the_json_of_its_subject_is_refused() {
    check_with(
        "system.feed.okx",
        status(),
        "op",
        json!("ack"),
        Refusal::Malformed,
    );
    check_with(
        "kline.1m.OKX.BTC-USDT",
        bar(),
        "count",
        json!("many"),
        Refusal::Malformed,
    );
    check_with(
        "kline.1m.OKX.BTC-USDT",
        bar(),
        "x",
        json!([1]),
        Refusal::Malformed,
    );
    check_with(
        "kline.1m.OKX.BTC-USDT",
        bar(),
        "state",
        json!("open"),
        Refusal::Malformed,
    );
    let deep = format!(
        r#"{{"topic":"system:feed:okx","x":{}{}}}"#,
        "[".repeat(500),
        "]".repeat(500)
    );
    for payload in [
        &b"{garbage"[..],
        b"[1]",
        b"{}",
        b"{\"topic\":\"system:feed:okx\",\"x\":\"\xff\"}",
        b"{\"topic\":\"system:feed:okx\",\n\"x\":1}",
        b"{\"topic\":\"system:feed:okx\",\"x\":1e999}",
        b"{\"topic\":\"system:feed:okx\"}{\"op\":\"ack\"}",
        deep.as_bytes(),
    ] {
        assert_eq!(read("system.feed.okx", payload), Err(Refusal::Malformed));
    }
    let symbol = bar().to_string().into_bytes();
    let at = symbol
        .windows(3)
        .position(|part| part == b"OKX")
        .expect("it is there");
    let mut invalid = symbol;
    invalid[at] = 0xff;
    assert_eq!(
        read("kline.1m.OKX.BTC-USDT", &invalid),
        Err(Refusal::Malformed)
    );
    check_with(
        "system.feed.okx",
        status(),
        "x",
        json!("x".repeat(2_000)),
        Refusal::TooLong,
    );
}

#[test]
fn numbers_that_cannot_be_true_are_refused() {
    let latest_ms = NOW_MS + BOUNDS.future_max_ms;
    for (field, value) in [
        ("seq", json!(u64::MAX)),
        ("epoch", json!(u64::MAX)),
        (
            "epoch",
            json!(latest_ms.unsigned_abs() + EPOCH_AHEAD_MAX_MS + 1),
        ),
        ("start_ms", json!(i64::MAX)),
        ("start_ms", json!(i64::MIN)),
        ("start_ms", json!(NOW_MS + 1)),
        ("end_ms", json!(i64::MIN)),
        ("end_ms", json!(NOW_MS)),
        ("rev", json!(u32::MAX)),
        ("exchange", json!("x".repeat(TOPIC_LEN_MAX + 1))),
    ] {
        check_with(
            "kline.1m.OKX.BTC-USDT",
            bar(),
            field,
            value,
            Refusal::Implausible,
        );
    }
    let mut future = bar();
    for (start_ms, expected) in [
        (latest_ms, None),
        (latest_ms + 60_000, Some(Refusal::Ahead)),
    ] {
        future["start_ms"] = json!(start_ms);
        future["end_ms"] = json!(start_ms + 60_000);
        check("kline.1m.OKX.BTC-USDT", &future, expected);
    }
    for (field, value) in [
        ("end_ms", json!(i64::MAX)),
        ("end_ms", json!(NOW_MS + 1)),
        ("end_ms", json!(latest_ms + 60_000)),
        ("bars", json!(u64::MAX)),
        ("missing", json!(u64::MAX)),
    ] {
        check_with("boundary.1m", mark(), field, value, Refusal::Implausible);
    }
}

#[test]
fn an_epoch_that_publishers_believe_is_believed() {
    let mut message = bar();
    // Its publisher's clock was ahead, or that of one that it heard of, and is right again.
    message["epoch"] = json!(NOW_MS.unsigned_abs() + EPOCH_AHEAD_MAX_MS);
    check("kline.1m.OKX.BTC-USDT", &message, None);
}

#[test]
fn subjects_that_name_no_topic_or_no_timeframe_stand_for_nothing() {
    let long = format!("system.{}", "x".repeat(4_000));
    for subject_name in [
        "boundary.99y",
        "boundary.1s.x",
        "kline.1s",
        "kline.7s.A-B",
        &long,
        "x",
    ] {
        assert_eq!(Name::of_subject(subject_name), None);
    }
}

/// Values that were each somebody's bug.
fn extreme() -> impl Strategy<Value = Value> {
    prop_oneof![
        prop::sample::select(vec![
            json!(0),
            json!(1),
            json!(-1),
            json!(u64::MAX),
            json!(u64::MAX - 1),
            json!(i64::MAX),
            json!(i64::MIN),
            json!(u32::MAX),
            json!(1.5),
            json!(1e300),
            json!(""),
            json!("closed"),
            json!("kline:1m:OKX:BTC-USDT"),
            json!("\u{0}\u{2028}\""),
            json!(null),
            json!(true),
            json!([]),
            json!({}),
        ]),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ]
}

proptest! {
    /// Whatever is changed, it is refused, or it is an object of its topic whose numbers allow
    /// arithmetic.
    #[test]
    fn a_message_changed_anywhere_is_refused_or_true_to_its_subject(
        which in 0usize..4,
        changes in prop::collection::vec((any::<prop::sample::Index>(), extreme()), 1..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
        flip in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
    ) {
        let (subject_name, mut message) = [
            ("kline.1m.OKX.BTC-USDT", bar()),
            ("boundary.1m", mark()),
            ("system.feed.okx", status()),
            ("book.OKX.BTC-USDT", book()),
        ][which].clone();
        let object = message.as_object_mut().expect("an object");
        let fields: Vec<String> = object.keys().cloned().collect();
        for (field, value) in changes {
            object[field.get(&fields)] = value;
        }
        let mut payload = message.to_string().into_bytes();
        if let Some((at, byte)) = flip {
            let at = at.index(payload.len());
            payload[at] = byte;
        }
        if let Some(at) = cut {
            payload.truncate(at.index(payload.len()));
        }
        if let Ok(publication) = read(subject_name, &payload) {
            let value: Value = serde_json::from_slice(&payload).expect("valid JSON");
            prop_assert_eq!(value["topic"].as_str().map(|topic| topic.replace(':', ".")), Some(subject_name.to_owned()));
            let latest_ms = NOW_MS + BOUNDS.future_max_ms;
            match publication {
                Publication::Bar(head, _) => {
                    prop_assert_eq!(head.end_ms - head.start_ms, 60_000);
                    prop_assert!((0..=latest_ms).contains(&head.start_ms));
                    prop_assert!(head.seq <= SEQ_MAX && head.epoch <= latest_ms as u64);
                }
                Publication::Mark(mark) => {
                    prop_assert!((0..=latest_ms).contains(&mark.end_ms) && mark.bars <= BARS_MAX);
                }
                Publication::Placed(placed) => {
                    prop_assert!(placed.position.seq <= SEQ_MAX && placed.position.epoch > 0);
                }
                Publication::Status => {}
            }
        }
    }
}
