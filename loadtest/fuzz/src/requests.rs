//! Clients' requests in JSON.

use arbitrary::Unstructured;
use market_core::protocol::{
    MaxRate, Op, Reply, Request, RequestError, RequestLimits, Selection, Since, Subscribe,
};
use market_core::topic::TOPIC_LEN_MAX;
use serde_json::{Map, Value, json};

use crate::Form;
use crate::json::{quoted, spaced, vary};

pub(crate) const LIMITS: RequestLimits = RequestLimits {
    topics_max: 100,
    wildcards_max: 10,
};
/// The longest message of an error.
const MESSAGE_BYTES_MAX: usize = 2_000;

/// Words of the protocol.
pub(crate) const WORDS: &[&str] = &[
    "sub",
    "unsub",
    "list",
    "ping",
    "auth",
    "rate",
    "kline:1m:A-B",
    "kline:1m:*",
    "kline:*:*",
    "kline:1M:BINANCE:BTC-USDT",
    "kline_1m",
    "ticker",
    "boundary:1s",
    "system:>",
    "*",
    ">",
    ":",
    "A-B",
    "BTC-USDT",
    "OKX",
    "okx",
    "none",
    "flat",
    "topics",
    "channels",
    "symbols",
    "exchanges",
    "seq",
    "since",
    "closed_ms",
    "epoch",
    "max_rate",
    "closed_only",
    "fill",
    "id",
    "op",
    "token",
];

const TEMPLATES: &[&str] = &[
    r#"{"op":"sub","id":7,"topics":["kline:1m:A-B","kline:1s:*"],"closed_only":true,"fill":"none","max_rate":2.5}"#,
    r#"{"op":"sub","id":"x","channels":["kline_1m","ticker"],"symbols":["A-B","*"],"exchanges":["okx","*"]}"#,
    r#"{"op":"sub","topics":["kline:1s:A-B","kline:1m:OKX:A-B"],"since":{"epoch":3,"seq":{"kline:1s:A-B":17},"closed_ms":{"kline:1m:OKX:A-B":60000}}}"#,
    r#"{"op":"unsub","id":null,"topics":["kline:1m:A-B"],"channels":["kline_1m"],"symbols":["A-B"]}"#,
    r#"{"op":"rate","id":-1.50,"max_rate":10}"#,
    r#"{"op":"auth","id":true,"token":"x.y.z"}"#,
    r#"{"op":"list"}"#,
    r#"{"op":"ping","id":1}"#,
];

/// The limits bound answers. The same request in another spelling, or written again from its parsed
/// form, is the same.
pub fn request(data: &[u8]) {
    match Form::of(data) {
        None => {}
        Some(Form::Raw(bytes)) => {
            let Ok(text) = std::str::from_utf8(bytes) else {
                return;
            };
            check(text);
        }
        Some(Form::Made(mut u)) => {
            let _ = made(&mut u);
        }
    }
}

fn made(u: &mut Unstructured<'_>) -> arbitrary::Result<()> {
    if u.ratio(1, 8)? {
        let mut query = Vec::new();
        for _ in 0..u.int_in_range(0..=5)? {
            let name = *u.choose(&["topics", "max_rate", "closed_only", "fill", "since"])?;
            let value = match u.arbitrary()? {
                true => (*u.choose(WORDS)?).to_owned(),
                false => u.arbitrary::<&str>()?.to_owned(),
            };
            query.push((name.to_owned(), value));
        }
        if let Some(request) = Request::from_query(&query, LIMITS).transpose() {
            check_bounds(&request);
        }
        return Ok(());
    }
    let template = u.choose(TEMPLATES)?;
    let mut text = vary(u, template, WORDS)?;
    if u.ratio(1, 16)? {
        // More than is allowed.
        let topics = vec![quoted(u.choose(WORDS)?); u.int_in_range(0..=300)?].join(",");
        text = text.replacen('[', &format!("[{topics},"), 1);
    }
    check(&text);
    Ok(())
}

fn check(text: &str) {
    let request = Request::parse(text, LIMITS);
    check_bounds(&request);
    let respelt = Request::parse(&spaced(text), LIMITS);
    match (&request, &respelt) {
        (Ok(request), Ok(respelt)) => assert_eq!(request, respelt),
        (Err(error), Err(respelt)) => {
            assert_eq!((error.code, &error.id), (respelt.code, &respelt.id));
        }
        _ => panic!("{request:?}, and with spaces {respelt:?}"),
    }
    if let Ok(mut request) = request {
        if let Op::Sub(subscribe) = &mut request.op {
            // They are not in what is written of it.
            subscribe.malformed.clear();
        }
        let Some(text) = encoded(&request) else {
            return;
        };
        assert_eq!(
            Request::parse(&text, LIMITS).as_ref(),
            Ok(&request),
            "{text}"
        );
    }
}

/// What comes of a request is bounded by the limits, whatever is in it.
pub(crate) fn check_bounds(request: &Result<Request, RequestError>) {
    let request = match request {
        Ok(request) => request,
        Err(error) => {
            assert!(error.message.len() <= MESSAGE_BYTES_MAX);
            assert!(error.topics.len() <= 2 * LIMITS.topics_max);
            // The answer is JSON, whatever was asked.
            let answer = Reply::Error(error.clone()).encode();
            serde_json::from_str::<serde::de::IgnoredAny>(&answer).expect("JSON");
            return;
        }
    };
    let (selections, malformed) = match &request.op {
        Op::Sub(subscribe) => (&subscribe.selections[..], &subscribe.malformed[..]),
        Op::Unsub(selections) => (&selections[..], &[][..]),
        _ => return,
    };
    // A part that is too long is named beside the products of the others.
    assert!(selections.len() + malformed.len() <= 2 * LIMITS.topics_max);
    let wildcards = selections.iter().filter(|it| it.is_wildcard()).count();
    assert!(wildcards <= LIMITS.wildcards_max);
    for bad in malformed {
        assert!(bad.topic.len() <= 4 * TOPIC_LEN_MAX && bad.message.len() <= MESSAGE_BYTES_MAX);
    }
}

/// The request as a client would write it; `None` if it would need several.
fn encoded(request: &Request) -> Option<String> {
    let mut fields = Map::new();
    let op = match &request.op {
        Op::Sub(subscribe) => {
            put_options(&mut fields, subscribe);
            put_selections(&mut fields, &subscribe.selections)?;
            "sub"
        }
        Op::Unsub(selections) => {
            put_selections(&mut fields, selections)?;
            "unsub"
        }
        Op::Rate(rate) => {
            put_rate(&mut fields, *rate);
            "rate"
        }
        Op::Auth(token) => {
            fields.insert("token".to_owned(), token.reveal().into());
            "auth"
        }
        Op::List => "list",
        Op::Ping => "ping",
    };
    fields.insert("op".to_owned(), op.into());
    let mut text = Value::Object(fields).to_string();
    if let Some(id) = &request.id {
        // As it was: a number keeps its spelling.
        text.insert_str(1, &format!("\"id\":{id},"));
    }
    Some(text)
}

fn put_options(fields: &mut Map<String, Value>, subscribe: &Subscribe) {
    fields.insert(
        "closed_only".to_owned(),
        subscribe.filter.closed_only.into(),
    );
    let fill = if subscribe.filter.no_fill {
        "none"
    } else {
        "flat"
    };
    fields.insert("fill".to_owned(), fill.into());
    if let Some(rate) = subscribe.max_rate {
        put_rate(fields, rate);
    }
    if let Some(Since {
        epoch,
        seq,
        closed_ms,
    }) = subscribe.since.as_deref()
    {
        let since = json!({"epoch": epoch, "seq": seq, "closed_ms": closed_ms});
        fields.insert("since".to_owned(), since);
    }
}

fn put_rate(fields: &mut Map<String, Value>, rate: MaxRate) {
    let rate = match rate {
        MaxRate::Unlimited => 0.0,
        MaxRate::PerSecond(rate) => rate,
    };
    fields.insert("max_rate".to_owned(), rate.into());
}

fn put_selections(fields: &mut Map<String, Value>, selections: &[Selection]) -> Option<()> {
    if let [
        Selection::OfExchange {
            exchange, plain, ..
        },
    ] = selections
    {
        let (channel, symbol) = plain.as_str().rsplit_once(':')?;
        fields.insert("channels".to_owned(), json!([channel]));
        fields.insert("symbols".to_owned(), json!([symbol]));
        fields.insert("exchanges".to_owned(), json!([&**exchange]));
        return Some(());
    }
    let topics: Option<Vec<&str>> = selections
        .iter()
        .map(|selection| match selection {
            Selection::Pattern(pattern) => Some(pattern.as_str()),
            Selection::OfExchange { .. } => None,
        })
        .collect();
    let topics = topics.filter(|topics| !topics.is_empty())?;
    fields.insert("topics".to_owned(), json!(topics));
    Some(())
}
