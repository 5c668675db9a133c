//! Coinbase's frames, and its subscriptions.

use std::borrow::Cow;

use market_core::{Price, PriceLevel, Quantity, Quote, Ticker, UnixMicros};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Coinbase, taker_side};
use crate::exchange::value::{amount, price, quantity};
use crate::exchange::{
    DecodeError, Event, RefusalScope, Stream, SubscribeFrame, Venue, Wanted, iso_time, scan::Scan,
    trade_of,
};

/// Any frame; its fields depend on `type`.
///
/// ```json
/// {"type":"match","trade_id":10,"maker_order_id":"ac92","taker_order_id":"132f","side":"sell","size":"5.23512","price":"400.23","product_id":"BTC-USD","sequence":50,"time":"2014-11-07T08:19:27.028459Z"}
/// {"type":"ticker","sequence":37475248783,"product_id":"ETH-USD","price":"1285.22","open_24h":"1310.79","volume_24h":"245532.79269678","low_24h":"1280.52","high_24h":"1313.8","volume_30d":"9788783.60117027","best_bid":"1285.04","best_bid_size":"0.46688654","best_ask":"1285.27","best_ask_size":"1.56637040","side":"buy","time":"2022-10-19T23:28:22.061769Z","trade_id":370843401,"last_size":"11.4396987"}
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

/// The fields of a `ticker` beside those of any frame. Old captures have no sizes.
#[derive(Deserialize)]
struct DayTicker<'a> {
    product_id: &'a str,
    price: &'a str,
    open_24h: &'a str,
    volume_24h: &'a str,
    low_24h: &'a str,
    high_24h: &'a str,
    best_bid: Option<&'a str>,
    best_bid_size: Option<&'a str>,
    best_ask: Option<&'a str>,
    best_ask_size: Option<&'a str>,
    time: Option<&'a str>,
    last_size: Option<&'a str>,
}

#[derive(Deserialize)]
struct Channel<'a> {
    name: &'a str,
    #[serde(borrow, default)]
    product_ids: Vec<&'a str>,
}

impl Stream for Coinbase {
    fn subscribe(&self, natives: &[&str], wanted: Wanted, first_id: u64) -> Vec<SubscribeFrame> {
        control_frames("subscribe", natives, wanted, first_id)
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
        let text = frame;
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
            "ticker" => {
                let ticker =
                    serde_json::from_str(text).map_err(|_| DecodeError::Malformed("ticker"))?;
                emit_ticker(&ticker, received_us, sink)
            }
            "snapshot" | "l2update" | "status" | "received" | "open" | "done" | "change"
            | "activate" | "auction" => {
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

/// A `ticker` is the last 24 hours, and the best bid and ask after the trade that caused it.
fn emit_ticker(
    frame: &DayTicker<'_>,
    received_us: UnixMicros,
    sink: &mut dyn FnMut(Event<'_>),
) -> Result<(), DecodeError> {
    let native = frame.product_id;
    let event_ms = frame.time.and_then(iso_time::parse);
    // A price is empty while there is none.
    let best_price = |text: Option<&str>| match text {
        None | Some("") => Ok(None),
        Some(text) => price(text),
    };
    let best_quantity = |text: Option<&str>| match text {
        None | Some("") => Ok(None),
        Some(text) => quantity(text),
    };
    let (bid, bid_quantity) = (
        best_price(frame.best_bid)?,
        best_quantity(frame.best_bid_size)?,
    );
    let (ask, ask_quantity) = (
        best_price(frame.best_ask)?,
        best_quantity(frame.best_ask_size)?,
    );
    let level = |price: Option<Price>, quantity: Option<Quantity>| {
        let (price, quantity) = price.zip(quantity)?;
        Some(PriceLevel { price, quantity })
    };
    let (bid_level, ask_level) = (level(bid, bid_quantity), level(ask, ask_quantity));
    if frame.best_bid_size.is_some() && frame.best_ask_size.is_some() {
        sink(Event::Quote {
            native,
            quote: Quote {
                bid: bid_level,
                ask: ask_level,
                update_id: None,
                event_ms,
                received_us,
            },
        });
    }
    let Some(last) = price(frame.price)? else {
        sink(Event::Ignored);
        return Ok(());
    };
    sink(Event::Ticker {
        native,
        ticker: Ticker {
            open: price(frame.open_24h)?,
            high: price(frame.high_24h)?,
            low: price(frame.low_24h)?,
            last,
            last_quantity: best_quantity(frame.last_size)?,
            volume: amount(frame.volume_24h)?,
            quote_volume: None,
            count: None,
            ids: None,
            bid,
            bid_quantity,
            ask,
            ask_quantity,
            event_ms,
            received_us,
        },
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

fn control_frames(
    kind: &str,
    natives: &[&str],
    wanted: Wanted,
    first_id: u64,
) -> Vec<SubscribeFrame> {
    // A ticker has both.
    let ticker = match wanted.quotes || wanted.tickers {
        true => r#","ticker""#,
        false => "",
    };
    let mut frames = Vec::new();
    for (id, chunk) in (first_id..).zip(natives.chunks(Coinbase.limits().streams_per_subscribe)) {
        let products: Vec<String> = chunk.iter().map(|native| format!("\"{native}\"")).collect();
        frames.push(SubscribeFrame {
            id,
            text: format!(
                r#"{{"type":"{kind}","product_ids":[{}],"channels":["matches","heartbeat"{ticker}]}}"#,
                products.join(",")
            ),
            natives: chunk.iter().map(|&native| native.to_owned()).collect(),
        });
    }
    frames
}
