//! OKX's order books: a snapshot at each subscription, then changes of which each names the number
//! of the one before.
//!
//! The checksum of a frame is not compared: the venue has announced its end, and sends zeros.

use std::borrow::Cow;

use market_core::UnixMicros;
use market_core::book::{BookUpdate, LevelChange, UpdateNumbers};
use serde::Deserialize;

use super::Okx;
use crate::exchange::value::level_change;
use crate::exchange::{BookEvent, BookStream, DecodeError, SnapshotRequest, SubscribeFrame, Venue};

/// The channel of 400 levels, every 100 ms.
const CHANNEL: &str = "books";
/// The venue is about to upgrade and will close the connection.
const NOTICE_CLOSING: &str = "64008";
/// The number before that of a snapshot.
const NO_NUMBER: i64 = -1;

/// Any frame.
///
/// ```json
/// {"arg":{"channel":"books","instId":"BTC-USDT"},"action":"snapshot","data":[{"asks":[["8476.98","415","0","13"]],"bids":[["8476.97","256","0","12"]],"ts":"1597026383085","checksum":-855196043,"prevSeqId":-1,"seqId":123456}]}
/// {"event":"subscribe","arg":{"channel":"books","instId":"BTC-USDT"},"connId":"a4d3ae55"}
/// ```
#[derive(Deserialize)]
struct Frame<'a> {
    event: Option<&'a str>,
    #[serde(borrow)]
    arg: Option<Arg<'a>>,
    action: Option<&'a str>,
    #[serde(borrow)]
    data: Option<Vec<Row<'a>>>,
    code: Option<&'a str>,
    #[serde(borrow)]
    msg: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Arg<'a> {
    #[serde(rename = "instId")]
    native: Option<&'a str>,
}

/// A price, its quantity, a deprecated number, and the number of orders.
type Level<'a> = (&'a str, &'a str, &'a str, &'a str);

#[derive(Deserialize)]
struct Row<'a> {
    #[serde(borrow)]
    asks: Vec<Level<'a>>,
    #[serde(borrow)]
    bids: Vec<Level<'a>>,
    ts: &'a str,
    /// Captures of 2022 have none.
    #[serde(rename = "seqId")]
    number: Option<u64>,
    #[serde(rename = "prevSeqId")]
    previous: Option<i64>,
}

impl BookStream for Okx {
    fn subscribe_books(&self, natives: &[&str], first_id: u64) -> Vec<SubscribeFrame> {
        let chunks = natives.chunks(self.limits().streams_per_subscribe);
        let frame = |(id, chunk)| control_frame("subscribe", chunk, id);
        (first_id..).zip(chunks).map(frame).collect()
    }

    fn book_snapshot(&self, native: &str, first_id: u64) -> SnapshotRequest {
        let ops = ["unsubscribe", "subscribe"];
        let frame = |(id, op)| control_frame(op, &[native], id);
        SnapshotRequest::Frames((first_id..).zip(ops).map(frame).collect())
    }

    fn decode_books(
        &self,
        frame: &str,
        received_us: UnixMicros,
        sink: &mut dyn FnMut(BookEvent<'_>),
    ) -> Result<(), DecodeError> {
        if frame == "pong" {
            sink(BookEvent::Ignored);
            return Ok(());
        }
        let frame: Frame<'_> =
            serde_json::from_str(frame).map_err(|_| DecodeError::Malformed("frame"))?;
        match (frame.event, frame.action) {
            (None, Some(action)) => {
                let native = frame.arg.as_ref().and_then(|arg| arg.native);
                let native = native.ok_or(DecodeError::Malformed("book without instId"))?;
                let is_snapshot = match action {
                    "snapshot" => true,
                    "update" => false,
                    _ => return Err(DecodeError::Malformed("action of a book")),
                };
                // Without its rows, the changes are lost.
                let rows = frame.data.as_deref().unwrap_or_default();
                if rows.is_empty() {
                    return Err(DecodeError::Malformed("a book without its levels"));
                }
                for row in rows {
                    let update = row.update(is_snapshot, received_us)?;
                    sink(BookEvent::Update { native, update });
                }
            }
            (Some("subscribe"), _) => sink(BookEvent::Subscribed { id: None }),
            (Some("error"), _) => {
                let message = frame.msg.as_deref().or(frame.code).unwrap_or("refused");
                sink(BookEvent::Refused { id: None, message });
            }
            (Some("notice"), _) if frame.code == Some(NOTICE_CLOSING) => {
                sink(BookEvent::ClosingSoon);
            }
            (
                Some("unsubscribe" | "notice" | "channel-conn-count" | "channel-conn-count-error"),
                _,
            ) => sink(BookEvent::Ignored),
            _ => sink(BookEvent::Unknown),
        }
        Ok(())
    }
}

impl Row<'_> {
    fn update(
        &self,
        is_snapshot: bool,
        received_us: UnixMicros,
    ) -> Result<BookUpdate, DecodeError> {
        let numbers = match (self.number, self.previous) {
            (None, None) => UpdateNumbers::None,
            (Some(number), previous) => UpdateNumbers::Chain {
                // A snapshot begins the chain, whatever it says.
                previous: match previous {
                    _ if is_snapshot => None,
                    Some(NO_NUMBER) | None => None,
                    Some(previous) => Some(
                        u64::try_from(previous)
                            .map_err(|_| DecodeError::Malformed("number of a book"))?,
                    ),
                },
                number,
            },
            (None, Some(_)) => return Err(DecodeError::Malformed("number of a book")),
        };
        let side = |levels: &[Level<'_>]| -> Result<Vec<LevelChange>, DecodeError> {
            let change = |level: &Level<'_>| level_change(level.0, level.1);
            levels.iter().map(change).collect()
        };
        Ok(BookUpdate {
            is_snapshot,
            cut_after: None,
            numbers,
            bids: side(&self.bids)?,
            asks: side(&self.asks)?,
            event_ms: self.ts.parse().ok(),
            received_us,
        })
    }
}

fn control_frame(op: &str, natives: &[&str], id: u64) -> SubscribeFrame {
    let arg = |native: &&str| format!(r#"{{"channel":"{CHANNEL}","instId":"{native}"}}"#);
    let args: Vec<String> = natives.iter().map(arg).collect();
    SubscribeFrame {
        id,
        text: format!(r#"{{"op":"{op}","args":[{}]}}"#, args.join(",")),
        natives: natives.iter().map(|&native| native.to_owned()).collect(),
    }
}
