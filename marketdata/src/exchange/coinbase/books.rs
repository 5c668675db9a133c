//! Coinbase's order books: a snapshot at each subscription, then changes without numbers.

use std::borrow::Cow;

use market_core::UnixMicros;
use market_core::book::{BookUpdate, LevelChange, UpdateNumbers};
use serde::Deserialize;

use super::Coinbase;
use crate::exchange::value::level_change;
use crate::exchange::{
    BookEvent, BookStream, DecodeError, SnapshotRequest, SubscribeFrame, Venue, iso_time,
};

/// The channel of books: every 50 ms. Others need a key.
const CHANNEL: &str = "level2_batch";

/// Any frame; its fields depend on `type`.
///
/// ```json
/// {"type":"snapshot","product_id":"BTC-USD","bids":[["10101.10","0.45054140"]],"asks":[["10102.55","0.57753524"]]}
/// {"type":"l2update","product_id":"BTC-USD","changes":[["buy","10101.80000000","0.162567"]],"time":"2019-08-14T20:42:27.966Z"}
/// ```
#[derive(Deserialize)]
struct Frame<'a> {
    r#type: &'a str,
    product_id: Option<&'a str>,
    time: Option<&'a str>,
    #[serde(borrow)]
    bids: Option<Vec<(&'a str, &'a str)>>,
    #[serde(borrow)]
    asks: Option<Vec<(&'a str, &'a str)>>,
    #[serde(borrow)]
    changes: Option<Vec<(&'a str, &'a str, &'a str)>>,
    #[serde(borrow)]
    message: Option<Cow<'a, str>>,
    #[serde(borrow)]
    reason: Option<Cow<'a, str>>,
}

impl BookStream for Coinbase {
    fn subscribe_books(&self, natives: &[&str], first_id: u64) -> Vec<SubscribeFrame> {
        let chunks = natives.chunks(self.limits().streams_per_subscribe);
        let channels = format!("\"{CHANNEL}\",\"heartbeat\"");
        let frame = |(id, chunk)| control_frame("subscribe", chunk, &channels, id);
        (first_id..).zip(chunks).map(frame).collect()
    }

    fn book_snapshot(&self, native: &str, first_id: u64) -> SnapshotRequest {
        let channel = format!("\"{CHANNEL}\"");
        let kinds = ["unsubscribe", "subscribe"];
        let frame = |(id, kind)| control_frame(kind, &[native], &channel, id);
        SnapshotRequest::Frames((first_id..).zip(kinds).map(frame).collect())
    }

    fn decode_books(
        &self,
        frame: &str,
        received_us: UnixMicros,
        sink: &mut dyn FnMut(BookEvent<'_>),
    ) -> Result<(), DecodeError> {
        let frame: Frame<'_> =
            serde_json::from_str(frame).map_err(|_| DecodeError::Malformed("frame"))?;
        match frame.r#type {
            "l2update" | "snapshot" => return emit(&frame, received_us, sink),
            "subscriptions" => sink(BookEvent::Subscribed { id: None }),
            "error" => {
                let message = frame.reason.as_deref().or(frame.message.as_deref());
                sink(BookEvent::Refused {
                    id: None,
                    message: message.unwrap_or("refused"),
                });
            }
            "heartbeat" => sink(BookEvent::Ignored),
            _ => sink(BookEvent::Unknown),
        }
        Ok(())
    }
}

fn emit(
    frame: &Frame<'_>,
    received_us: UnixMicros,
    sink: &mut dyn FnMut(BookEvent<'_>),
) -> Result<(), DecodeError> {
    let native = frame
        .product_id
        .ok_or(DecodeError::Malformed("a book without product_id"))?;
    let rows = |rows: &[(&str, &str)]| -> Result<Vec<LevelChange>, DecodeError> {
        let change = |&(price, quantity): &(&str, &str)| level_change(price, quantity);
        rows.iter().map(change).collect()
    };
    let is_snapshot = frame.r#type == "snapshot";
    let (mut bids, mut asks) = (Vec::new(), Vec::new());
    // What is left out may have been lost. A snapshot of an empty side has an empty list.
    match (is_snapshot, &frame.bids, &frame.asks, &frame.changes) {
        (true, Some(all_bids), Some(all_asks), None) => {
            (bids, asks) = (rows(all_bids)?, rows(all_asks)?);
        }
        (false, None, None, Some(changes)) => {
            for &(side, price, quantity) in changes {
                let change = level_change(price, quantity)?;
                match side {
                    "buy" => bids.push(change),
                    "sell" => asks.push(change),
                    _ => return Err(DecodeError::Malformed("side of a book")),
                }
            }
        }
        _ => return Err(DecodeError::Malformed("a book without its levels")),
    }
    let update = BookUpdate {
        is_snapshot,
        cut_after: None,
        numbers: UpdateNumbers::None,
        bids,
        asks,
        event_ms: frame.time.and_then(iso_time::parse),
        received_us,
    };
    sink(BookEvent::Update { native, update });
    Ok(())
}

fn control_frame(kind: &str, natives: &[&str], channels: &str, id: u64) -> SubscribeFrame {
    let products: Vec<String> = natives
        .iter()
        .map(|native| format!("\"{native}\""))
        .collect();
    SubscribeFrame {
        id,
        text: format!(
            r#"{{"type":"{kind}","product_ids":[{}],"channels":[{channels}]}}"#,
            products.join(",")
        ),
        natives: natives.iter().map(|&native| native.to_owned()).collect(),
    }
}
