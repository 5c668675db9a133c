//! Messages from the bus to a gateway.

use arbitrary::{Result, Unstructured};
use serde_json::{Value, json};
use ws_gateway::fuzz::Receiver;

use crate::Form;
use crate::json::vary;

const MINUTE_MS: i64 = 60_000;
const SUBJECTS: &[&str] = &[
    "kline.1m.BTC-USDT",
    "closed.1m.BTC-USDT",
    "kline.1m.OKX.BTC-USDT",
    "kline.1M.BTC-USDT",
    "kline.1s.ETH-USDT",
    "boundary.1m",
    "boundary.1M",
    "system.feed.okx",
    "kline.1m",
    "kline.7y.A-B",
    "state.marketdata.okx.A-B",
];
const WORDS: &[&str] = &[
    "kline:1m:BTC-USDT",
    "kline:1m:OKX:BTC-USDT",
    "kline:1M:BTC-USDT",
    "boundary:1m",
    "boundary:1M",
    "boundary",
    "closed",
    "forming",
    "filled",
    "gap",
    "okx",
    "binance",
    "1m",
    "1M",
    "op",
    "ack",
    "topic",
    "skipped",
    "exchange",
    "start_ms",
    "end_ms",
    "seq",
    "epoch",
    "rev",
    "system:feed:okx",
];

/// Whatever came before: a newer bar, a mark and a status are accepted and reach the clients of
/// both subprotocols, and clients can read everything that they get.
pub fn bus_payloads(data: &[u8]) {
    let mut receiver = Receiver::new();
    match Form::of(data) {
        None => return,
        Some(Form::Raw(bytes)) => {
            // A subject, a line break, and the payload.
            let end = bytes.iter().position(|&byte| byte == b'\n');
            let (subject_name, payload) = bytes.split_at(end.unwrap_or(bytes.len()));
            let Ok(subject_name) = std::str::from_utf8(subject_name) else {
                return;
            };
            receiver.take(subject_name, payload.get(1..).unwrap_or_default(), true);
            deliver(&mut receiver);
        }
        Some(Form::Made(mut u)) => {
            let _ = made(&mut u, &mut receiver);
        }
    }
    deliver(&mut receiver);
    check_goes_on(&mut receiver);
}

fn made(u: &mut Unstructured<'_>, receiver: &mut Receiver) -> Result<()> {
    let latest_ms = receiver.latest_ms();
    for _ in 0..u.int_in_range(1..=16)? {
        if u.is_empty() {
            break;
        }
        let subject_name = match u.ratio(1, 16)? {
            true => u.arbitrary::<&str>()?,
            false => *u.choose(SUBJECTS)?,
        };
        let start_ms = (latest_ms / MINUTE_MS - u.int_in_range(1..=200)?) * MINUTE_MS;
        let template = match subject_name.split('.').next() {
            Some("boundary") => mark(start_ms),
            Some("system") => json!({"topic": "system:feed:okx", "state": "live", "age_ms": 3}),
            _ => {
                let mut bar = bar(latest_ms - 5_000, u.int_in_range(0..=9)?, start_ms);
                bar["rev"] = u.int_in_range(0..=3)?.into();
                if u.arbitrary()? {
                    bar["state"] = "closed".into();
                }
                let rest = subject_name.split_once('.').map_or("", |(_, rest)| rest);
                bar["topic"] = format!("kline:{}", rest.replace('.', ":")).into();
                bar
            }
        };
        let payload = vary(u, &template.to_string(), WORDS)?;
        receiver.take(subject_name, payload.as_bytes(), u.arbitrary()?);
        if u.arbitrary()? {
            deliver(receiver);
        }
    }
    Ok(())
}

fn bar(epoch: i64, seq: u64, start_ms: i64) -> Value {
    json!({
        "topic": "kline:1m:BTC-USDT", "seq": seq, "epoch": epoch, "exchange": "binance",
        "symbol": "BTC-USDT", "interval": "1m", "start_ms": start_ms, "end_ms": start_ms + MINUTE_MS,
        "open": "1", "high": "2", "low": "1", "close": "2", "volume": "3", "quote_volume": "5",
        "taker_buy_volume": "0", "taker_buy_quote_volume": "0", "count": 2, "first_id": "4",
        "last_id": "5", "state": "forming", "rev": 0, "quality": "complete", "event_ms": null,
        "received_us": null, "published_us": 1,
    })
}

fn mark(end_ms: i64) -> Value {
    json!({
        "op": "boundary", "topic": "boundary:1m", "interval": "1m", "end_ms": end_ms, "bars": 0,
        "missing": 0, "published_us": 1,
    })
}

/// The clients' messages: each object must be readable.
fn deliver(receiver: &mut Receiver) -> Vec<String> {
    let delivered = receiver.deliver();
    for object in &delivered.json {
        let value: Value = serde_json::from_str(object).expect("an object is JSON");
        assert!(value["topic"].is_string(), "{object}");
    }
    assert_eq!(delivered.json.len(), delivered.protobuf);
    delivered.json
}

fn check_goes_on(receiver: &mut Receiver) {
    // No hostile bar names an epoch as late as this.
    let epoch = receiver.latest_ms();
    let start_ms = (epoch / MINUTE_MS) * MINUTE_MS;
    let mut closed = bar(epoch, 2, start_ms);
    closed["state"] = "closed".into();
    for (subject_name, object) in [
        ("kline.1m.BTC-USDT", bar(epoch, 1, start_ms)),
        ("kline.1m.BTC-USDT", closed),
        ("boundary.1m", mark(start_ms)),
        (
            "system.feed.okx",
            json!({"topic": "system:feed:okx", "state": "last"}),
        ),
    ] {
        let payload = object.to_string();
        receiver.take(subject_name, payload.as_bytes(), true);
        let delivered = deliver(receiver);
        // What was skipped stands before the rest of it.
        let is_there = delivered.iter().any(|got| got.ends_with(&payload[1..]));
        assert!(is_there, "{payload} is not among {delivered:?}");
    }
}
