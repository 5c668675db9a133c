//! Binance's spot streams, so that clients that were written for Binance need another URL only.
//!
//! A connection has no subprotocol: its path chooses the dialect. Each event has a frame of its
//! own. Source: Binance spot API, web socket streams.

pub mod request;
pub mod stream;

use market_core::binance::{BookTicker, DayTicker, Kline, PartialDepth, TradeEvent};
use market_core::channel::{BOOK, QUOTE, TICKER, TRADE};
use market_core::protocol::{ErrorCode, Reply, RequestError};

use self::stream::MadeStream;
use crate::dialect::json::{self, topic_root};

/// The code of a frame that is not JSON.
const INVALID_JSON: i32 = 3;
/// The code of every other request that is refused.
const INVALID_REQUEST: i32 = 2;

/// The body of an update, after its opening brace; an array has none. A publication that Binance does not have is sent
/// as it is; no stream stands for its topic.
#[must_use]
pub fn body(object: &[u8]) -> Vec<u8> {
    if let Some(event) = stream::event_of(object) {
        return event.strip_prefix(b"{").unwrap_or(event).to_vec();
    }
    event(object).map_or_else(
        || json::body(object).to_vec(),
        |(_, event)| event.into_bytes().split_off(1),
    )
}

/// As [`body`], with the name of the stream.
#[must_use]
pub fn combined_body(object: &[u8]) -> Vec<u8> {
    event(object).map_or_else(
        || json::body(object).to_vec(),
        |(stream, event)| {
            MadeStream::publication(&stream, &event)
                .into_bytes()
                .split_off(1)
        },
    )
}

/// Appends the bytes before the body of an update. An array has none.
pub fn put_prefix(out: &mut Vec<u8>, skipped: u64, body: &[u8]) {
    if body.first() != Some(&b'[') {
        json::put_prefix(out, true, skipped);
    }
}

fn event(object: &[u8]) -> Option<(String, String)> {
    let root = topic_root(object);
    if root == TRADE.root {
        let trade = TradeEvent::read(object)?;
        Some((trade.stream()?, trade.event()?))
    } else if root == QUOTE.root {
        let quote = BookTicker::read(object)?;
        Some((quote.stream()?, quote.event()?))
    } else if root == TICKER.root {
        let ticker = DayTicker::read(object)?;
        Some((ticker.stream()?, ticker.event()?))
    } else if root == BOOK.root {
        let book = PartialDepth::read(object)?;
        Some((book.stream()?, book.event()))
    } else {
        let kline = Kline::read(object)?;
        Some((kline.stream()?, kline.event()?))
    }
}

/// The content of the frame with a reply; `None` for a reply that Binance does not have.
///
/// A subscription in the URL has no id, and no answer.
#[must_use]
pub fn reply(reply: &Reply) -> Option<String> {
    match reply {
        Reply::Ack(ack) => Some(result("null", ack.id.as_deref()?)),
        Reply::List(list) => {
            let streams: Vec<String> = list
                .subscriptions
                .iter()
                .filter_map(stream::name_of)
                .collect();
            let streams = serde_json::to_string(&streams).expect("strings are valid JSON");
            Some(result(&streams, list.id.as_deref()?))
        }
        Reply::Error(error) => Some(failure(error)),
        Reply::AuthAck(_) | Reply::AuthExpiring { .. } | Reply::Live(_) | Reply::Pong { .. } => {
            None
        }
    }
}

/// `{"result":…,"id":…}`
fn result(json: &str, id: &str) -> String {
    format!(r#"{{"result":{json},"id":{id}}}"#)
}

/// `{"code":2,"msg":"…","id":…}`
fn failure(error: &RequestError) -> String {
    let code = match error.code {
        ErrorCode::InvalidJson => INVALID_JSON,
        _ => INVALID_REQUEST,
    };
    coded_failure(code, &error.message, error.id.as_deref())
}

fn coded_failure(code: i32, message: &str, id: Option<&str>) -> String {
    let message = serde_json::to_string(message).expect("a string is valid JSON");
    let id = id.unwrap_or("null");
    format!(r#"{{"code":{code},"msg":{message},"id":{id}}}"#)
}

#[cfg(test)]
mod tests;
