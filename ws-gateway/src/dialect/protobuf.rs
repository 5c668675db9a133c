//! The subprotocol `klinecast.protobuf.v1`: objects as messages of a published schema, and its
//! requests. A frame is a `Batch`: each message is a field of it, so a message is encoded once for
//! all its frames.

pub(crate) mod schema;

use market_core::protocol::{ErrorCode, Request, RequestError, RequestLimits};
use prost::Message as _;
use prost::encoding::{WireType, encode_key, encode_varint};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use schema::{Content, Message, Said};

/// Appends the bytes before a message in a frame: its key and length, and the number of skipped
/// closed bars, which is the message's first field.
pub(crate) fn put_prefix(out: &mut Vec<u8>, skipped: u64, body_bytes: usize) {
    let skipped_bytes = match skipped {
        0 => 0,
        skipped => 1 + prost::encoding::encoded_len_varint(skipped),
    };
    encode_key(1, WireType::LengthDelimited, out);
    encode_varint((skipped_bytes + body_bytes) as u64, out);
    if skipped > 0 {
        encode_key(1, WireType::Varint, out);
        encode_varint(skipped, out);
    }
}

/// A JSON object as a message.
#[must_use]
pub(crate) fn encode(json: &[u8]) -> Vec<u8> {
    let message = bar(json).or_else(|| said(json)).unwrap_or_else(|| {
        let text = String::from_utf8_lossy(json).into_owned();
        of(Content::Json(text))
    });
    message.encode_to_vec()
}

fn of(content: Content) -> Message {
    Message {
        skipped: 0,
        content: Some(content),
    }
}

fn bar(json: &[u8]) -> Option<Message> {
    let bar = serde_json::from_slice(json).ok()?;
    Some(of(Content::Bar(Box::new(bar))))
}

#[derive(Deserialize)]
struct Identified<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'a RawValue>,
}

/// Keeps a `null` apart from a missing field.
fn present<'de: 'a, 'a, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// A gateway's messages other than bars; `None` if one contains something that the schema lacks.
fn said(json: &[u8]) -> Option<Message> {
    let said = serde_json::from_slice(json).ok()?;
    let id = serde_json::from_slice::<Identified<'_>>(json)
        .ok()?
        .id
        .map(|id| {
            // A string's content, or the JSON of any other value.
            serde_json::from_str(id.get()).unwrap_or_else(|_| id.get().to_owned())
        });
    let content = match said {
        Said::Ack(ack) => Content::Ack(schema::Ack { id, ..ack }),
        Said::Error(error) => Content::Error(schema::Error { id, ..error }),
        Said::Boundary(boundary) => Content::Boundary(boundary),
        Said::Pong(mut pong) => {
            pong.id = id;
            Content::Pong(pong)
        }
        Said::List(list) => Content::List(schema::List { id, ..list }),
        Said::AuthExpiring(expiring) => Content::AuthExpiring(expiring),
        Said::Skipped { topic, skipped } => {
            return Some(Message {
                skipped,
                content: Some(Content::SkippedOnly(schema::Skipped { topic })),
            });
        }
    };
    Some(of(content))
}

/// Reads a client's binary frame.
///
/// # Errors
/// As for [`Request::parse`].
pub(crate) fn parse_request(frame: &[u8], limits: RequestLimits) -> Result<Request, RequestError> {
    let malformed = |message: &str| RequestError {
        id: None,
        code: ErrorCode::BadRequest,
        message: message.to_owned(),
        topics: Vec::new(),
    };
    let request = schema::Request::decode(frame)
        .map_err(|_| malformed("a binary frame is to be one klinecast.v1.Request"))?;
    let op = request
        .op
        .ok_or_else(|| malformed("the Request has no op: set sub, unsub, list, ping or auth"))?;
    // It has the content and the names of the JSON request, so one parser reads both.
    let asked = Asked { id: request.id, op };
    let json = serde_json::to_string(&asked).expect("strings and numbers are valid JSON");
    Request::parse(&json, limits)
}

#[derive(serde::Serialize)]
struct Asked {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(flatten)]
    op: schema::Op,
}

#[cfg(test)]
mod tests;
