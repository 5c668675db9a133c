//! Coinbase's frames, and its subscriptions.

use std::borrow::Cow;

use market_core::UnixMicros;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Coinbase, taker_side};
use crate::exchange::{
    DecodeError, Event, RefusalScope, Stream, SubscribeFrame, Venue, iso_time, scan::Scan, trade_of,
};

/// Any frame; its fields depend on `type`.
///
/// ```json
/// {"type":"match","trade_id":10,"maker_order_id":"ac92","taker_order_id":"132f","side":"sell","size":"5.23512","price":"400.23","product_id":"BTC-USD","sequence":50,"time":"2014-11-07T08:19:27.028459Z"}
/// {"type":"heartbeat","sequence":90,"last_trade_id":20,"product_id":"BTC-USD","time":"2014-11-07T08:19:28.464459Z"}
/// {"type":"subscriptions","channels":[{"name":"matches","product_ids":["BTC-USD"]}]}
/// {"type":"error","message":"Failed to subscribe","reason":"XYZ-USD is not a valid product"}
/// ```
#[derive(Deserialize)]
struct Frame<'a> {
    r#type: &'a str,
    trade_id: Option<u64>,
    time: Option<&'a str>,
    product_id: Option<&'a str>,
    size: Option<&'a str>,
    price: Option<&'a str>,
    /// The maker's side.
    side: Option<&'a str>,
    #[serde(borrow)]
    message: Option<Cow<'a, str>>,
    #[serde(borrow)]
    reason: Option<Cow<'a, str>>,
    #[serde(borrow)]
    channels: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Channel<'a> {
    name: &'a str,
    #[serde(borrow, default)]
    product_ids: Vec<&'a str>,
}

impl Stream for Coinbase {
    fn subscribe(&self, natives: &[&str], first_id: u64) -> Vec<SubscribeFrame> {
        control_frames("subscribe", natives, first_id)
    }

    fn decode(
        &self,
        frame: &str,
        received_us: UnixMicros,
        sink: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), DecodeError> {
        if let Some(frame) = scan_match(frame) {
            return emit_trade(&frame, received_us, sink);
        }
        let frame: Frame<'_> =
            serde_json::from_str(frame).map_err(|_| DecodeError::Malformed("frame"))?;
        match frame.r#type {
            "match" | "last_match" => emit_trade(&frame, received_us, sink),
            "heartbeat" => {
                let time = frame.time.and_then(iso_time::parse);
                let stamped_ms = time.ok_or(DecodeError::Malformed("heartbeat without time"))?;
                sink(Event::Time { stamped_ms });
                Ok(())
            }
            "subscriptions" => emit_subscriptions(&frame, sink),
            "error" => {
                let message = frame.reason.as_deref().or(frame.message.as_deref());
                sink(Event::Refused {
                    id: None,
                    message: message.unwrap_or("refused"),
                });
                Ok(())
            }
            "ticker" | "snapshot" | "l2update" | "status" | "received" | "open" | "done"
            | "change" | "activate" | "auction" => {
                sink(Event::Ignored);
                Ok(())
            }
            _ => {
                sink(Event::Unknown);
                Ok(())
            }
        }
    }

    fn refusal_scope(&self) -> RefusalScope {
        RefusalScope::Frame
    }

    /// USDC books are one with the USD books, and the venue may use either name in its answer.
    fn answers_as(&self, native: &str) -> Option<String> {
        native
            .strip_suffix("-USDC")
            .map(|base| format!("{base}-USD"))
    }
}

/// A match in the venue's own key order; `None` for anything else.
fn scan_match(frame: &str) -> Option<Frame<'_>> {
    let mut scan = Scan::new(frame);
    let is_last = !scan.eat(r#"{"type":"match","trade_id":"#);
    if is_last {
        scan.literal(r#"{"type":"last_match","trade_id":"#)?;
    }
    let trade_id = scan.number()?;
    scan.literal(r#","maker_order_id":""#)?;
    scan.text()?;
    scan.literal(r#","taker_order_id":""#)?;
    scan.text()?;
    scan.literal(r#","side":""#)?;
    let side = scan.text()?;
    scan.literal(r#","size":""#)?;
    let size = scan.text()?;
    scan.literal(r#","price":""#)?;
    let price = scan.text()?;
    scan.literal(r#","product_id":""#)?;
    let product_id = scan.text()?;
    scan.literal(r#","sequence":"#)?;
    scan.number()?;
    scan.literal(r#","time":""#)?;
    let time = scan.text()?;
    scan.literal("}")?;
    scan.end()?;
    Some(Frame {
        r#type: if is_last { "last_match" } else { "match" },
        trade_id: Some(trade_id),
        time: Some(time),
        product_id: Some(product_id),
        size: Some(size),
        price: Some(price),
        side: Some(side),
        message: None,
        reason: None,
        channels: None,
    })
}

fn emit_trade(
    frame: &Frame<'_>,
    received_us: UnixMicros,
    sink: &mut dyn FnMut(Event<'_>),
) -> Result<(), DecodeError> {
    let (Some(id), Some(time), Some(native), Some(size), Some(price), Some(side)) = (
        frame.trade_id,
        frame.time,
        frame.product_id,
        frame.size,
        frame.price,
        frame.side,
    ) else {
        return Err(DecodeError::Malformed("a trade that lacks a field"));
    };
    let event_ms = iso_time::parse(time).ok_or(DecodeError::Malformed("time of a trade"))?;
    let trade = trade_of(
        (id, id),
        event_ms,
        price,
        size,
        taker_side(side)?,
        received_us,
    )?;
    // `last_match` repeats the newest trade from before the subscription, however old. It is a
    // normal trade if it was not seen yet, but not a sample of the venue's clock.
    let stamped_ms = (frame.r#type == "match").then_some(event_ms);
    sink(Event::Trade {
        native,
        trade,
        stamped_ms,
    });
    Ok(())
}

fn emit_subscriptions(
    frame: &Frame<'_>,
    sink: &mut dyn FnMut(Event<'_>),
) -> Result<(), DecodeError> {
    let channels: Vec<Channel<'_>> = frame
        .channels
        .map_or(Ok(Vec::new()), |channels| {
            serde_json::from_str(channels.get())
        })
        .map_err(|_| DecodeError::Malformed("subscriptions"))?;
    for channel in channels.iter().filter(|channel| channel.name == "matches") {
        for &native in &channel.product_ids {
            sink(Event::SubscribedSymbol { native });
        }
    }
    sink(Event::Ignored);
    Ok(())
}

fn control_frames(kind: &str, natives: &[&str], first_id: u64) -> Vec<SubscribeFrame> {
    let mut frames = Vec::new();
    for (id, chunk) in (first_id..).zip(natives.chunks(Coinbase.limits().streams_per_subscribe)) {
        let products: Vec<String> = chunk.iter().map(|native| format!("\"{native}\"")).collect();
        frames.push(SubscribeFrame {
            id,
            text: format!(
                r#"{{"type":"{kind}","product_ids":[{}],"channels":["matches","heartbeat"]}}"#,
                products.join(",")
            ),
            natives: chunk.iter().map(|&native| native.to_owned()).collect(),
        });
    }
    frames
}
