//! The subprotocol `klinecast.protobuf.v1`: objects as messages of a published schema, and its
//! requests. A frame is a `Batch`: each message is a field of it, so a message is encoded once for
//! all its frames.

pub mod schema;

use market_core::channel::{BOOK, QUOTE, TICKER, TRADE};
use market_core::protocol::{
    ErrorCode, OpFields, OptionFields, PastFields, Reply, Request, RequestError, RequestLimits,
    Since, Token, TopicFields,
};
use prost::Message as _;
use prost::encoding::{WireType, encode_key, encode_varint};

use crate::dialect::json::topic_root;
use schema::{Content, Mark, Message, Op};

/// Appends the bytes before a message in a frame: its key and length, and the number of skipped
/// closed bars, which is the message's first field.
pub fn put_prefix(out: &mut Vec<u8>, skipped: u64, body_bytes: usize) {
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

/// An update from the bus, as a message.
#[must_use]
pub fn update(json: &[u8]) -> Vec<u8> {
    let read = match topic_root(json) {
        root if root == TRADE.root => trade(json),
        root if root == QUOTE.root => quote(json),
        root if root == TICKER.root => ticker(json),
        root if root == BOOK.root => book(json),
        _ => bar(json).or_else(|| mark(json)),
    };
    let message = read.unwrap_or_else(|| {
        let text = String::from_utf8_lossy(json).into_owned();
        of(Content::Json(text))
    });
    message.encode_to_vec()
}

/// A reply as a message.
#[must_use]
pub fn reply(reply: &Reply) -> Vec<u8> {
    let content = match reply {
        Reply::Ack(ack) => Content::Ack(schema::Ack {
            id: id(ack.id.as_deref()),
            topics: texts(&ack.topics),
            pending: texts(&ack.pending),
            not_resumed: texts(&ack.not_resumed),
            not_subscribed: texts(&ack.not_subscribed),
            ..schema::Ack::default()
        }),
        Reply::AuthAck(ack) => Content::Ack(schema::Ack {
            id: id(ack.id.as_deref()),
            expires_ms: Some(ack.expires_ms),
            unsubscribed: texts(&ack.unsubscribed),
            ..schema::Ack::default()
        }),
        &Reply::AuthExpiring { expires_ms } => {
            Content::AuthExpiring(schema::AuthExpiring { expires_ms })
        }
        Reply::Error(error) => Content::Error(schema::Error {
            id: id(error.id.as_deref()),
            code: error.code.as_str().to_owned(),
            message: error.message.clone(),
            topics: error.topics.clone(),
        }),
        Reply::List(list) => Content::List(schema::List {
            id: id(list.id.as_deref()),
            subscriptions: texts(&list.subscriptions),
            topics: texts(&list.topics),
            truncated: list.is_truncated,
        }),
        Reply::Live(live) => Content::Live(schema::Live {
            topic: live.topic.to_string(),
            recovered: live.unrecovered.is_none(),
            reason: live.unrecovered.map(|reason| reason.as_str().to_owned()),
            token: live.token.map(|token| token.to_string()),
            missing: (live.missing > 0).then_some(live.missing),
        }),
        Reply::Pong { id: echo } => Content::Pong(schema::Pong {
            id: id(echo.as_deref()),
        }),
    };
    of(content).encode_to_vec()
}

fn of(content: Content) -> Message {
    Message {
        skipped: 0,
        content: Some(content),
    }
}

/// The echo of an id: a string's content, or the JSON of any other value.
fn id(json: Option<&str>) -> Option<String> {
    json.map(|json| serde_json::from_str(json).unwrap_or_else(|_| json.to_owned()))
}

fn texts<T: ToString>(values: &[T]) -> Vec<String> {
    values.iter().map(T::to_string).collect()
}

fn bar(json: &[u8]) -> Option<Message> {
    let bar = serde_json::from_slice(json).ok()?;
    Some(of(Content::Bar(Box::new(bar))))
}

fn trade(json: &[u8]) -> Option<Message> {
    let trade = serde_json::from_slice(json).ok()?;
    Some(of(Content::Trade(Box::new(trade))))
}

fn quote(json: &[u8]) -> Option<Message> {
    let quote = serde_json::from_slice(json).ok()?;
    Some(of(Content::Quote(Box::new(quote))))
}

fn ticker(json: &[u8]) -> Option<Message> {
    let ticker = serde_json::from_slice(json).ok()?;
    Some(of(Content::Ticker(Box::new(ticker))))
}

fn book(json: &[u8]) -> Option<Message> {
    let book = serde_json::from_slice(json).ok()?;
    Some(of(Content::Book(Box::new(book))))
}

/// Publications other than bars; `None` if one contains something that the schema lacks.
fn mark(json: &[u8]) -> Option<Message> {
    match serde_json::from_slice(json).ok()? {
        Mark::Boundary(boundary) => Some(of(Content::Boundary(boundary))),
        Mark::Skipped { topic, skipped } => Some(Message {
            skipped,
            content: Some(Content::SkippedOnly(schema::Skipped { topic })),
        }),
    }
}

/// Reads a client's binary frame.
///
/// # Errors
/// As for [`Request::parse`].
pub fn parse_request(frame: &[u8], limits: RequestLimits) -> Result<Request, RequestError> {
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
    let op = match op {
        Op::Sub(wanted) => OpFields::Sub(
            TopicFields {
                topics: Some(wanted.topics),
                channels: Some(wanted.channels),
                symbols: Some(wanted.symbols),
                exchanges: Some(wanted.exchanges),
            },
            Box::new(OptionFields {
                closed_only: wanted.closed_only,
                fill: wanted.fill,
                max_rate: wanted.max_rate,
                depth: wanted.depth.map(u64::from),
                changes: wanted.changes,
                since: wanted.since.map(|since| Since {
                    epoch: since.epoch,
                    seq: since.seq,
                    closed_ms: since.closed_ms,
                }),
                from: wanted.from.map(|from| PastFields {
                    last: from.last,
                    ms: from.ms,
                    speed: from.speed,
                    token: from.token,
                }),
            }),
        ),
        Op::Unsub(named) => OpFields::Unsub(TopicFields {
            topics: Some(named.topics),
            channels: Some(named.channels),
            symbols: Some(named.symbols),
            exchanges: Some(named.exchanges),
        }),
        Op::List(schema::Empty {}) => OpFields::List,
        Op::Ping(schema::Empty {}) => OpFields::Ping,
        Op::Auth(auth) => OpFields::Auth(Token::new(auth.token)),
    };
    Request::from_fields(request.id.as_deref(), op, limits)
}

#[cfg(test)]
mod tests;
