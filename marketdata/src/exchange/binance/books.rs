//! Binance's order books: changes with ranges of numbers, and a snapshot over REST.

use std::borrow::Cow;

use market_core::book::{BookUpdate, LevelChange, UpdateNumbers};
use market_core::{UnixMicros, UnixMillis};
use serde::Deserialize;
use serde_json::value::RawValue;
use venue_files::to_millis;

use super::Binance;
use crate::exchange::value::level_change;
use crate::exchange::{
    BookEvent, BookStream, DecodeError, RestRequest, SnapshotRequest, SubscribeFrame, Venue,
};

/// Levels of each side in a snapshot: with more of them, one request would cost five times as much.
const SNAPSHOT_LEVELS: usize = 1_000;
/// The cost of a request with so many.
const SNAPSHOT_WEIGHT: u32 = 50;

/// A price with its new quantity.
type Row<'a> = (&'a str, &'a str);

/// Any frame. Most are changes of a book, so these are read in one pass.
///
/// ```json
/// {"e":"depthUpdate","E":1723161255208,"s":"BTCUSDT","U":50093239189,"u":50093239202,"b":[["61737.63000000","0.00000000"]],"a":[["61837.64000000","1.54698000"]]}
/// {"stream":"btcusdt@depth@100ms","data":{"e":"depthUpdate","E":1723161255208,"s":"BTCUSDT","U":1,"u":2,"b":[],"a":[]}}
/// {"result":null,"id":1}
/// ```
#[derive(Deserialize)]
struct Frame<'a> {
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    e: Option<Cow<'a, str>>,
    #[serde(rename = "E")]
    sent: Option<i64>,
    #[serde(borrow)]
    s: Option<Cow<'a, str>>,
    #[serde(rename = "U")]
    first: Option<u64>,
    u: Option<u64>,
    #[serde(borrow)]
    b: Option<Vec<Row<'a>>>,
    #[serde(borrow)]
    a: Option<Vec<Row<'a>>>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    code: Option<i64>,
    #[serde(borrow)]
    msg: Option<Cow<'a, str>>,
    #[serde(borrow)]
    error: Option<Refusal<'a>>,
}

#[derive(Deserialize)]
struct Refusal<'a> {
    #[serde(borrow)]
    msg: Option<Cow<'a, str>>,
}

/// The answer of `/api/v3/depth`.
///
/// ```json
/// {"lastUpdateId":50093239218,"bids":[["61837.63000000","3.78826000"]],"asks":[["61837.64000000","1.54698000"]]}
/// ```
#[derive(Deserialize)]
struct Snapshot<'a> {
    #[serde(rename = "lastUpdateId")]
    last_id: u64,
    #[serde(borrow)]
    bids: Vec<Row<'a>>,
    #[serde(borrow)]
    asks: Vec<Row<'a>>,
}

impl BookStream for Binance {
    fn subscribe_books(&self, natives: &[&str], first_id: u64) -> Vec<SubscribeFrame> {
        let chunks = natives.chunks(self.limits().streams_per_subscribe);
        let frame = |(id, chunk): (u64, &[&str])| {
            let named = |native: &&str| format!("\"{}@depth@100ms\"", native.to_ascii_lowercase());
            let params: Vec<String> = chunk.iter().map(named).collect();
            SubscribeFrame {
                id,
                text: format!(
                    r#"{{"method":"SUBSCRIBE","params":[{}],"id":{id}}}"#,
                    params.join(",")
                ),
                natives: chunk.iter().map(|&native| native.to_owned()).collect(),
            }
        };
        (first_id..).zip(chunks).map(frame).collect()
    }

    fn book_snapshot(&self, native: &str, _first_id: u64) -> SnapshotRequest {
        SnapshotRequest::Rest(RestRequest {
            path_and_query: format!("/api/v3/depth?symbol={native}&limit={SNAPSHOT_LEVELS}"),
            weight: SNAPSHOT_WEIGHT,
        })
    }

    fn parse_book_snapshot(
        &self,
        body: &[u8],
        received_us: UnixMicros,
    ) -> Result<BookUpdate, DecodeError> {
        let snapshot: Snapshot<'_> =
            serde_json::from_slice(body).map_err(|_| DecodeError::Malformed("book"))?;
        Ok(BookUpdate {
            is_snapshot: true,
            cut_after: Some(SNAPSHOT_LEVELS),
            numbers: UpdateNumbers::Range {
                first: snapshot.last_id,
                last: snapshot.last_id,
            },
            bids: side(&snapshot.bids)?,
            asks: side(&snapshot.asks)?,
            event_ms: None,
            received_us,
        })
    }

    fn decode_books(
        &self,
        frame: &str,
        received_us: UnixMicros,
        sink: &mut dyn FnMut(BookEvent<'_>),
    ) -> Result<(), DecodeError> {
        decode(frame, received_us, sink, true)
    }
}

fn decode(
    frame: &str,
    received_us: UnixMicros,
    sink: &mut dyn FnMut(BookEvent<'_>),
    may_be_combined: bool,
) -> Result<(), DecodeError> {
    let frame: Frame<'_> =
        serde_json::from_str(frame).map_err(|_| DecodeError::Malformed("frame"))?;
    if let Some(inner) = frame.data.filter(|_| may_be_combined) {
        return decode(inner.get(), received_us, sink, false);
    }
    match (frame.e.as_deref(), frame.code, frame.id) {
        (Some("depthUpdate"), _, _) => return emit(&frame, received_us, sink),
        (Some("serverShutdown"), _, _) => sink(BookEvent::ClosingSoon),
        (Some(_), _, _) => sink(BookEvent::Ignored),
        (None, Some(_), _) => refused(frame.id, frame.msg.as_deref(), sink),
        (None, None, _) if frame.error.is_some() => {
            let message = frame.error.as_ref().and_then(|error| error.msg.as_deref());
            refused(frame.id, message, sink);
        }
        (None, None, Some(_)) => sink(BookEvent::Subscribed {
            id: id_of(frame.id),
        }),
        (None, None, None) => sink(BookEvent::Unknown),
    }
    Ok(())
}

fn id_of(id: Option<&RawValue>) -> Option<u64> {
    id.and_then(|id| id.get().parse().ok())
}

fn refused(id: Option<&RawValue>, message: Option<&str>, sink: &mut dyn FnMut(BookEvent<'_>)) {
    sink(BookEvent::Refused {
        id: id_of(id),
        message: message.unwrap_or("refused"),
    });
}

fn emit(
    frame: &Frame<'_>,
    received_us: UnixMicros,
    sink: &mut dyn FnMut(BookEvent<'_>),
) -> Result<(), DecodeError> {
    let (Some(native), Some(first), Some(last)) = (frame.s.as_deref(), frame.first, frame.u) else {
        return Err(DecodeError::Malformed("a change of a book without numbers"));
    };
    // A side that is left out may have been lost. One without changes is empty.
    let (Some(bids), Some(asks)) = (&frame.b, &frame.a) else {
        return Err(DecodeError::Malformed("a change of a book without a side"));
    };
    if first > last {
        return Err(DecodeError::Malformed("numbers of a book"));
    }
    let event_ms: Option<UnixMillis> = frame.sent.map(to_millis);
    let update = BookUpdate {
        is_snapshot: false,
        cut_after: None,
        numbers: UpdateNumbers::Range { first, last },
        bids: side(bids)?,
        asks: side(asks)?,
        event_ms,
        received_us,
    };
    sink(BookEvent::Update { native, update });
    Ok(())
}

fn side(rows: &[Row<'_>]) -> Result<Vec<LevelChange>, DecodeError> {
    let change = |&(price, quantity): &Row<'_>| level_change(price, quantity);
    rows.iter().map(change).collect()
}
