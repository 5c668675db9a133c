//! `GET /api/v1/streams/{name}/messages`: what a stream keeps, by subject and sequence.

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

use super::error::ApiError;
use super::state::Api;
use crate::stream_settings::{check_name, check_pattern};

/// Most messages of an answer: each one is a question to the server.
const LIMIT_MAX: u64 = 100;
const LIMIT_DEFAULT: u64 = 20;
/// Most bytes that are shown of a message.
const PREVIEW_BYTES_MAX: usize = 4_096;
/// Most headers that are shown of a message.
const HEADERS_MAX: usize = 32;

/// Which messages.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    /// A pattern of subjects.
    subject: Option<String>,
    /// The first sequence; without it, the newest messages of the stream.
    from_seq: Option<u64>,
    limit: Option<u64>,
}

pub(crate) async fn messages(
    State(api): State<Api>,
    name: Result<Path<String>, PathRejection>,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Json<Value>, ApiError> {
    let (Path(name), Query(wanted)) = (name?, wanted?);
    check_name(&name).map_err(|reason| ApiError::bad("bad_name", reason))?;
    let pattern = wanted.subject.as_deref().unwrap_or(">");
    if pattern != ">" {
        check_pattern(pattern).map_err(|reason| ApiError::bad("bad_subject", reason))?;
    }
    let limit = wanted.limit.unwrap_or(LIMIT_DEFAULT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(ApiError::bad(
            "bad_limit",
            format!("limit is 1 to {LIMIT_MAX}: ask again from next_seq for more"),
        ));
    }
    let running = api.jetstream.stream(&name).await?;
    let first = running["state"]["first_seq"].as_u64().unwrap_or(0);
    let last = running["state"]["last_seq"].as_u64().unwrap_or(0);
    let newest = last.saturating_add(1).saturating_sub(limit);
    let mut next = wanted.from_seq.unwrap_or(newest).max(first).max(1);
    let mut shown = Vec::new();
    while (shown.len() as u64) < limit && next <= last {
        let message = match api.jetstream.message(&name, pattern, next).await {
            Ok(message) => message,
            Err(error) if error.is_no_such_message() => {
                next = last.saturating_add(1);
                break;
            }
            Err(error) => return Err(error.into()),
        };
        let sequence = message["seq"].as_u64().unwrap_or(next).max(next);
        next = sequence.saturating_add(1);
        shown.push(entry(&message));
    }
    Ok(Json(json!({
        "stream": name,
        "first_seq": first,
        "last_seq": last,
        // Ask from here for what follows.
        "next_seq": next,
        "messages": shown,
    })))
}

fn entry(message: &Value) -> Value {
    let payload = decoded(&message["data"]);
    let preview = &payload[..payload.len().min(PREVIEW_BYTES_MAX)];
    let is_cut = preview.len() < payload.len();
    let mut entry = json!({
        "seq": message["seq"],
        "subject": message["subject"],
        "time": message["time"],
        "size": payload.len(),
        "truncated": is_cut,
        "headers": headers(&decoded(&message["hdrs"])),
    });
    match text(preview, is_cut) {
        Some(text) => entry["data"] = json!(text),
        None => entry["data_base64"] = json!(STANDARD.encode(preview)),
    }
    entry
}

/// The bytes as a text; a letter that the cut went through is left out.
fn text(bytes: &[u8], is_cut: bool) -> Option<&str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Some(text),
        Err(error) if is_cut && error.error_len().is_none() => {
            std::str::from_utf8(&bytes[..error.valid_up_to()]).ok()
        }
        Err(_) => None,
    }
}

fn decoded(field: &Value) -> Vec<u8> {
    field
        .as_str()
        .and_then(|text| STANDARD.decode(text).ok())
        .unwrap_or_default()
}

/// The headers of `NATS/1.0\r\nName: value\r\n…`.
fn headers(bytes: &[u8]) -> Value {
    let text = String::from_utf8_lossy(bytes);
    let lines = text
        .split("\r\n")
        .skip(1)
        .filter_map(|line| line.split_once(':'));
    let lines = lines.take(HEADERS_MAX);
    let pairs = lines.map(|(name, value)| json!([name, value.trim()]));
    Value::Array(pairs.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_shown_as_text_where_it_is_one_and_cut_between_letters() {
        let shown = |payload: &[u8]| entry(&json!({ "seq": 1, "data": STANDARD.encode(payload) }));
        assert_eq!(shown(b"Hello")["data"], "Hello");
        assert_eq!(shown(&[0xff, 0])["data_base64"], "/wA=");
        let long = format!("{}é", "x".repeat(PREVIEW_BYTES_MAX - 1));
        let cut = shown(long.as_bytes());
        assert_eq!(cut["truncated"], true);
        assert_eq!(cut["size"], PREVIEW_BYTES_MAX + 1);
        assert_eq!(
            cut["data"].as_str().map(str::len),
            Some(PREVIEW_BYTES_MAX - 1)
        );
    }

    #[test]
    fn headers_are_pairs_and_broken_ones_are_none() {
        assert_eq!(
            headers(b"NATS/1.0\r\nA: 1\r\nB:2\r\n\r\n"),
            json!([["A", "1"], ["B", "2"]])
        );
        assert_eq!(headers(b""), json!([]));
        assert_eq!(headers(b"\xff\xfe"), json!([]));
    }
}
