//! Requests of any form: JSON of any shape in the places of fields, and counts of any size.

use proptest::prelude::*;
use serde_json::{Map, Value};

use super::*;
use crate::topic::TOPIC_LEN_MAX;

/// Any JSON, with the words of the protocol in it now and then.
fn json() -> impl Strategy<Value = Value> {
    let word = proptest::sample::select(vec![
        "sub",
        "unsub",
        "kline:1m:A-B",
        "kline_1m",
        "kline:1m:*",
        ">",
        "*",
        "okx",
        "A-B",
        "none",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        word.prop_map(Value::from),
        ".{0,40}".prop_map(Value::from),
        (0usize..70_000).prop_map(|len| Value::from("a".repeat(len))),
    ];
    leaf.prop_recursive(4, 64, 8, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            proptest::collection::vec((".{0,10}", inner), 0..8)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// Any values in the places of the fields.
fn request() -> impl Strategy<Value = Value> {
    let field = proptest::sample::select(vec![
        "id",
        "topics",
        "channels",
        "symbols",
        "exchanges",
        "closed_only",
        "fill",
        "max_rate",
        "since",
        "token",
        "seq",
        "epoch",
        "closed_ms",
        "other",
    ]);
    let texts = proptest::collection::vec("[A-Za-z0-9:_*>-]{0,20}|a{100,200}", 0..60);
    let value = prop_oneof![json(), texts.prop_map(Value::from)];
    let op = proptest::sample::select(vec!["sub", "unsub", "rate", "list", "ping", "auth"]);
    (op, proptest::collection::vec((field, value), 0..8)).prop_map(|(op, fields)| {
        let mut request: Map<String, Value> = fields
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        request.insert("op".to_owned(), op.into());
        Value::Object(request)
    })
}

/// Topics that are named, well-formed or not, and their bytes.
fn named(request: &Result<Request, RequestError>) -> (usize, usize) {
    let (selections, malformed) = match request {
        Ok(Request {
            op: Op::Sub(subscribe),
            ..
        }) => (&subscribe.selections[..], &subscribe.malformed[..]),
        Ok(Request {
            op: Op::Unsub(selections),
            ..
        }) => (&selections[..], &[][..]),
        Err(error) => {
            let bytes = error.topics.iter().map(String::len).sum();
            return (error.topics.len(), bytes);
        }
        Ok(_) => (&[][..], &[][..]),
    };
    let of = |selection: &Selection| match selection {
        Selection::Pattern(pattern) => pattern.as_str().len(),
        Selection::OfExchange { prefixed, .. } => prefixed.as_str().len(),
    };
    let well_formed: usize = selections.iter().map(of).sum();
    let others: usize = malformed.iter().map(|bad| bad.topic.len()).sum();
    (selections.len() + malformed.len(), well_formed + others)
}

/// The limits bound the result of a request, whatever it contains.
fn check(text: &str) -> Result<(), TestCaseError> {
    let limits = RequestLimits {
        topics_max: 100,
        wildcards_max: 10,
    };
    let request = Request::parse(text, limits);
    let (count, bytes) = named(&request);
    // A part that is too long is named beside the products of the other parts.
    prop_assert!(count <= 2 * limits.topics_max, "{count}");
    prop_assert!(bytes <= count * 4 * TOPIC_LEN_MAX, "{bytes}");
    if let Err(error) = request {
        prop_assert!(!error.message.is_empty());
        prop_assert!(error.message.len() <= 2_000, "{}", error.message.len());
        // The answer is JSON, whatever was asked.
        let answer = Reply::Error(error).encode();
        prop_assert!(serde_json::from_str::<Value>(&answer).is_ok(), "{answer}");
    }
    Ok(())
}

proptest! {
    #[test]
    fn requests_of_any_form_are_answered_within_bounds(request in request()) {
        check(&request.to_string())?;
    }

    #[test]
    fn a_field_that_comes_twice_or_is_cut_is_no_panic(
        first in request(),
        second in request(),
        cut in any::<proptest::sample::Index>(),
    ) {
        let (first, second) = (first.to_string(), second.to_string());
        let both = format!("{},{}", &first[..first.len() - 1], &second[1..]);
        check(&both)?;
        let mut end = cut.index(both.len());
        while !both.is_char_boundary(end) {
            end -= 1;
        }
        check(&both[..end])?;
    }

    #[test]
    fn json_of_any_depth_is_answered(depth in 0usize..20_000, is_object: bool) {
        let (open, close) = if is_object { ("{\"topics\":", "}") } else { ("[", "]") };
        check(&format!("{}1{}", open.repeat(depth), close.repeat(depth)))?;
        check(&format!(r#"{{"op":"sub","topics":{}1{}}}"#, open.repeat(depth), close.repeat(depth)))?;
    }
}
