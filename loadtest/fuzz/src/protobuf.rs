//! Clients' requests in protobuf, compared with the same in JSON.

use std::collections::BTreeMap;

use arbitrary::{Result, Unstructured};
use market_core::protocol::{ErrorCode, Request};
use serde_json::{Map, Value, json};
use ws_gateway::fuzz::parse_protobuf;

use crate::Form;
use crate::requests::{LIMITS, WORDS, check_bounds};

/// A request means the same as in JSON.
pub fn protobuf_request(data: &[u8]) {
    match Form::of(data) {
        None => {}
        Some(Form::Raw(bytes)) => check_bounds(&parse_protobuf(bytes, LIMITS)),
        Some(Form::Made(mut u)) => {
            let _ = made(&mut u);
        }
    }
}

fn made(u: &mut Unstructured<'_>) -> Result<()> {
    let mut asked = Asked::default();
    if u.arbitrary()? {
        asked.id(text(u)?);
    }
    match u.int_in_range(0..=4u8)? {
        0 => {
            names(u, &mut asked)?;
            options(u, &mut asked)?;
            asked.ends("sub", 2);
        }
        1 => {
            names(u, &mut asked)?;
            asked.ends("unsub", 3);
        }
        2 => asked.ends("list", 4),
        3 => asked.ends("ping", 5),
        _ => {
            let token = text(u)?;
            put_bytes(&mut asked.body, 1, token.as_bytes());
            asked.fields.insert("token".to_owned(), token.into());
            asked.ends("auth", 6);
        }
    }
    let frame = asked.frame;
    let read = parse_protobuf(&frame, LIMITS);
    check_bounds(&read);
    if !asked.has_json {
        // JSON has no such number, so there is no equal request: it is refused.
        assert_eq!(read.expect_err("no number").code, ErrorCode::BadOption);
        return Ok(());
    }
    let json = Value::Object(asked.fields).to_string();
    match (read, Request::parse(&json, LIMITS)) {
        (Ok(read), Ok(expected)) => assert_eq!(read, expected, "{json}"),
        (Err(read), Err(expected)) => {
            assert_eq!(
                (read.code, &read.id, &read.topics),
                (expected.code, &expected.id, &expected.topics),
                "{json}"
            );
        }
        (read, expected) => panic!("{read:?}, and as JSON {expected:?}: {json}"),
    }
    // Cut anywhere, it is something else or nothing.
    let cut = u.int_in_range(0..=frame.len())?;
    check_bounds(&parse_protobuf(&frame[..cut], LIMITS));
    Ok(())
}

/// A request in both forms.
struct Asked {
    frame: Vec<u8>,
    body: Vec<u8>,
    fields: Map<String, Value>,
    /// Whether JSON can say it.
    has_json: bool,
}

impl Default for Asked {
    fn default() -> Self {
        Self {
            frame: Vec::new(),
            body: Vec::new(),
            fields: Map::new(),
            has_json: true,
        }
    }
}

impl Asked {
    fn id(&mut self, id: String) {
        put_bytes(&mut self.frame, 1, id.as_bytes());
        self.fields.insert("id".to_owned(), id.into());
    }

    fn ends(&mut self, op: &str, tag: u32) {
        self.fields.insert("op".to_owned(), op.into());
        let body = std::mem::take(&mut self.body);
        put_bytes(&mut self.frame, tag, &body);
    }
}

fn names(u: &mut Unstructured<'_>, asked: &mut Asked) -> Result<()> {
    for (tag, name) in [
        (1, "topics"),
        (2, "channels"),
        (3, "symbols"),
        (4, "exchanges"),
    ] {
        let mut values = Vec::new();
        for _ in 0..u.int_in_range(0..=4)? {
            let value = text(u)?;
            put_bytes(&mut asked.body, tag, value.as_bytes());
            values.push(Value::from(value));
        }
        if !values.is_empty() {
            asked.fields.insert(name.to_owned(), values.into());
        }
    }
    Ok(())
}

fn options(u: &mut Unstructured<'_>, asked: &mut Asked) -> Result<()> {
    if u.arbitrary()? {
        put_number(&mut asked.body, 5, 1);
        asked.fields.insert("closed_only".to_owned(), true.into());
    }
    if u.arbitrary()? {
        let fill = text(u)?;
        put_bytes(&mut asked.body, 6, fill.as_bytes());
        asked.fields.insert("fill".to_owned(), fill.into());
    }
    if u.arbitrary()? {
        let since = since(u, asked)?;
        asked.fields.insert("since".to_owned(), since);
    }
    // Last: if the rate is not a number, nothing else of the request may be wrong.
    if u.arbitrary()? {
        let rate = match u.arbitrary()? {
            true => *u.choose(&[0.0, -0.0, 0.1, 1.0, 1e3, 1e4, f64::NAN, f64::INFINITY, -1.0])?,
            false => u.arbitrary()?,
        };
        if !rate.is_finite() {
            *asked = Asked::default();
            asked.has_json = false;
            put_bytes(&mut asked.body, 1, b"kline:1m:A-B");
        }
        put_varint(&mut asked.body, 7 << 3 | 1);
        asked.body.extend_from_slice(&rate.to_le_bytes());
        asked.fields.insert("max_rate".to_owned(), json!(rate));
    }
    Ok(())
}

fn since(u: &mut Unstructured<'_>, asked: &mut Asked) -> Result<Value> {
    let epoch: u64 = u.arbitrary()?;
    let (mut seq, mut closed_ms) = (BTreeMap::new(), BTreeMap::new());
    for _ in 0..u.int_in_range(0..=3)? {
        seq.insert(text(u)?, u.arbitrary::<u64>()?);
    }
    for _ in 0..u.int_in_range(0..=3)? {
        closed_ms.insert(text(u)?, u.arbitrary::<i64>()?);
    }
    let mut body = Vec::new();
    put_number(&mut body, 1, epoch);
    for (topic, seq) in &seq {
        put_entry(&mut body, 2, topic, *seq);
    }
    for (topic, at) in &closed_ms {
        put_entry(&mut body, 3, topic, at.cast_unsigned());
    }
    put_bytes(&mut asked.body, 8, &body);
    Ok(json!({"epoch": epoch, "seq": seq, "closed_ms": closed_ms}))
}

fn text(u: &mut Unstructured<'_>) -> Result<String> {
    Ok(match u.ratio(3, 4)? {
        true => (*u.choose(WORDS)?).to_owned(),
        false => u.arbitrary::<&str>()?.to_owned(),
    })
}

/// Written by hand, so that our decoder is not tested with our encoder.
fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn put_number(out: &mut Vec<u8>, tag: u32, value: u64) {
    put_varint(out, u64::from(tag) << 3);
    put_varint(out, value);
}

fn put_bytes(out: &mut Vec<u8>, tag: u32, bytes: &[u8]) {
    put_varint(out, u64::from(tag) << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn put_entry(out: &mut Vec<u8>, tag: u32, key: &str, value: u64) {
    let mut entry = Vec::new();
    put_bytes(&mut entry, 1, key.as_bytes());
    put_number(&mut entry, 2, value);
    put_bytes(out, tag, &entry);
}
