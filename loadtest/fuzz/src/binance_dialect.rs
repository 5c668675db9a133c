//! Requests of clients that were written for Binance: text frames, and queries of URLs.

use std::fmt::Write as _;

use arbitrary::Unstructured;
use history::fuzz::{Klines, klines};
use serde_json::Value;
use ws_gateway::fuzz::{BinanceAsked, binance_refusal, parse_binance};

use crate::Form;
use crate::json::{spaced, vary};
use crate::requests::{LIMITS, check_bounds};

const WORDS: &[&str] = &[
    "SUBSCRIBE",
    "UNSUBSCRIBE",
    "LIST_SUBSCRIPTIONS",
    "SET_PROPERTY",
    "GET_PROPERTY",
    "combined",
    "method",
    "params",
    "id",
    "btcusdt@kline_1m",
    "okx_btcusdt@kline_1M",
    "btcusdt@kline_7m",
    "btcusdt@trade",
    "!miniTicker@arr",
    "@kline_1m",
    "@",
];

const TEMPLATES: &[&str] = &[
    r#"{"method":"SUBSCRIBE","params":["btcusdt@kline_1m","ethusdt@kline_1s"],"id":1}"#,
    r#"{"method":"UNSUBSCRIBE","params":["btcusdt@kline_1m"],"id":"x"}"#,
    r#"{"method":"LIST_SUBSCRIPTIONS","id":-3}"#,
    r#"{"method":"SET_PROPERTY","params":["combined",true],"id":5}"#,
    r#"{"method":"GET_PROPERTY","params":["combined"],"id":null}"#,
];

/// The limits bound answers, answers are JSON with the id of the request, and the same request in
/// another spelling is the same.
pub fn binance_request(data: &[u8]) {
    match Form::of(data) {
        None => {}
        Some(Form::Raw(bytes)) => {
            if let Ok(text) = std::str::from_utf8(bytes) {
                check_request(text);
            }
        }
        Some(Form::Made(mut u)) => {
            let _ = made_request(&mut u);
        }
    }
}

fn made_request(u: &mut Unstructured<'_>) -> arbitrary::Result<()> {
    let template = u.choose(TEMPLATES)?;
    let mut text = vary(u, template, WORDS)?;
    if u.ratio(1, 16)? {
        // More than is allowed.
        let streams = vec![r#""btcusdt@kline_1m""#; u.int_in_range(0..=300)?].join(",");
        text = text.replacen('[', &format!("[{streams},"), 1);
    }
    check_request(&text);
    Ok(())
}

fn check_request(text: &str) {
    let asked = parse_binance(text, LIMITS);
    let respelt = parse_binance(&spaced(text), LIMITS);
    match (&asked, &respelt) {
        (BinanceAsked::Request(Err(error)), BinanceAsked::Request(Err(respelt))) => {
            assert_eq!((error.code, &error.id), (respelt.code, &respelt.id));
        }
        _ => assert_eq!(asked, respelt),
    }
    let id = match &asked {
        BinanceAsked::Request(request) => {
            check_bounds(request);
            match request {
                Ok(request) => request.id.clone(),
                Err(error) => {
                    let answer = binance_refusal(error.clone()).expect("an answer");
                    let answer: Value = serde_json::from_str(&answer).expect("JSON");
                    assert!(answer["error"]["code"].is_i64() || answer["code"].is_i64());
                    error.id.clone()
                }
            }
        }
        BinanceAsked::Property(_, answer) => {
            let answer: Value = serde_json::from_str(answer).expect("JSON");
            assert!(answer.get("id").is_some(), "{answer}");
            None
        }
    };
    // It is repeated as it came.
    if let Some(id) = id {
        assert!(
            id.len() <= 64 && serde_json::from_str::<Value>(&id).is_ok(),
            "{id}"
        );
    }
}

const NAMES: &[&str] = &[
    "symbol",
    "interval",
    "startTime",
    "endTime",
    "limit",
    "timeZone",
    "symbols",
    "",
];

const VALUES: &[&str] = &[
    "BTCUSDT",
    "1m",
    "1M",
    "1s",
    "7m",
    "0",
    "-1",
    "1",
    "500",
    "1001",
    "1763697600000",
    "1763697600000000",
    "9223372036854775807",
    "-9223372036854775808",
    "18446744073709551616",
    "1e3",
    "%31m",
    "%",
    "%ff",
    "+0:00",
    "8",
    "",
];

/// What is asked for is bounded, a refusal is JSON with a code, and the same query with encoded
/// letters is the same.
pub fn binance_query(data: &[u8]) {
    match Form::of(data) {
        None => {}
        Some(Form::Raw(bytes)) => {
            if let Ok(query) = std::str::from_utf8(bytes) {
                check_query(query);
            }
        }
        Some(Form::Made(mut u)) => {
            let _ = made_query(&mut u);
        }
    }
}

fn made_query(u: &mut Unstructured<'_>) -> arbitrary::Result<()> {
    let mut query = String::from("interval=1m");
    for _ in 0..u.int_in_range(0..=6)? {
        let name = u.choose(NAMES)?;
        let value = match u.int_in_range(0..=3u8)? {
            0 => u.arbitrary::<i64>()?.to_string(),
            1 => encoded(u.arbitrary()?),
            _ => (*u.choose(VALUES)?).to_owned(),
        };
        let pair = format!("{name}={value}");
        match u.arbitrary()? {
            true => query.push_str(&format!("&{pair}")),
            false => query = format!("{pair}&{query}"),
        }
    }
    check_query(&query);
    Ok(())
}

/// Every byte in the encoding of URLs.
fn encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        let _ = write!(out, "%{byte:02X}");
    }
    out
}

/// The same query with its letters and digits encoded.
fn respelt(query: &str) -> String {
    let mut out = String::new();
    let mut rest = query.chars();
    while let Some(letter) = rest.next() {
        match letter {
            // What is encoded already stays.
            '%' => {
                out.push(letter);
                out.extend(rest.by_ref().take(2));
            }
            letter if letter.is_ascii_alphanumeric() => {
                out.push_str(&encoded(letter.encode_utf8(&mut [0; 4])))
            }
            letter => out.push(letter),
        }
    }
    out
}

fn check_query(query: &str) {
    let Some(read) = klines(query) else {
        return;
    };
    match &read {
        Ok(Klines {
            from_ms,
            to_ms,
            limit,
            ..
        }) => {
            assert!((1..=1_000).contains(limit), "{limit}");
            // Microseconds have become milliseconds.
            let times = [*from_ms, *to_ms];
            assert!(
                times
                    .iter()
                    .flatten()
                    .all(|time| *time <= 9_223_372_036_854_776)
            );
        }
        Err(refused) => {
            assert_eq!(refused.status, 400);
            let body: Value = serde_json::from_str(&refused.body).expect("JSON");
            assert!(body["code"].is_i64() && body["msg"].is_string());
            assert!(refused.body.len() <= 500, "{}", refused.body);
        }
    }
    let Some(again) = klines(&respelt(query)) else {
        panic!("{query} cannot be spelt otherwise");
    };
    match (&read, &again) {
        (Ok(read), Ok(again)) => assert_eq!(read, again, "{query}"),
        (Err(read), Err(again)) => assert_eq!(read.body, again.body, "{query}"),
        _ => panic!("{read:?}, and encoded {again:?}"),
    }
}
