//! Binance's frames, and its subscriptions.

use std::borrow::Cow;

use market_core::{Quote, Ticker, UnixMicros};
use serde::Deserialize;
use serde_json::value::RawValue;

use venue_files::binance::aggressor_side;
use venue_files::to_millis;

use super::Binance;
use crate::exchange::value::{amount, level, price, quantity};
use crate::exchange::{
    DecodeError, Event, RefusalScope, Stream, SubscribeFrame, Venue, Wanted, scan::Scan, trade_of,
};

/// One `trade` or `aggTrade` event.
///
/// ```json
/// {"e":"trade","E":1723161255343,"s":"BTCUSDT","t":3735683259,"p":"61837.63000000","q":"0.02000000","T":1723161255342,"m":true,"M":true}
/// {"e":"aggTrade","E":1626992741500,"s":"BTCUSDT","a":17,"p":"61837.63","q":"0.050","f":100,"l":102,"T":1626992741499,"m":false,"M":true}
/// ```
#[derive(Deserialize)]
struct TradeEvent<'a> {
    e: &'a str,
    #[serde(rename = "E")]
    sent: i64,
    s: &'a str,
    t: Option<u64>,
    f: Option<u64>,
    l: Option<u64>,
    p: &'a str,
    q: &'a str,
    #[serde(rename = "T")]
    traded: i64,
    /// The buyer is the maker: the taker sold.
    m: bool,
    /// Futures only: `MARKET`, or a value for trades outside the market (`INSURANCE_FUND`, `ADL`,
    /// `NA`).
    #[serde(rename = "X")]
    kind: Option<&'a str>,
}

/// One `bookTicker` event, which has no type and no time.
///
/// ```json
/// {"u":50093239212,"s":"BTCUSDT","b":"61837.63000000","B":"3.78826000","a":"61837.64000000","A":"1.54698000"}
/// ```
#[derive(Deserialize)]
struct BookTicker<'a> {
    u: u64,
    s: &'a str,
    b: &'a str,
    #[serde(rename = "B")]
    bid_quantity: &'a str,
    a: &'a str,
    #[serde(rename = "A")]
    ask_quantity: &'a str,
}

/// One `24hrTicker` event.
///
/// ```json
/// {"e":"24hrTicker","E":1672515782136,"s":"BNBBTC","p":"0.0015","P":"250.00","w":"0.0018","x":"0.0009","c":"0.0025","Q":"10","b":"0.0024","B":"10","a":"0.0026","A":"100","o":"0.0010","h":"0.0025","l":"0.0010","v":"10000","q":"18","O":0,"C":86400000,"F":0,"L":18150,"n":18151}
/// ```
#[derive(Deserialize)]
struct DayTicker<'a> {
    #[serde(rename = "E")]
    sent: i64,
    s: &'a str,
    o: &'a str,
    h: &'a str,
    l: &'a str,
    c: &'a str,
    #[serde(rename = "Q")]
    last_quantity: &'a str,
    v: &'a str,
    q: &'a str,
    b: &'a str,
    #[serde(rename = "B")]
    bid_quantity: &'a str,
    a: &'a str,
    #[serde(rename = "A")]
    ask_quantity: &'a str,
    n: u64,
    #[serde(rename = "F")]
    first_id: i64,
    #[serde(rename = "L")]
    last_id: i64,
}

/// The fields that any frame may have at its top level.
///
/// ```json
/// {"result":null,"id":1}
/// {"code":2,"msg":"Invalid request: unknown variant `SUB`","id":1}
/// {"error":{"code":2,"msg":"Invalid request"},"id":1}
/// {"e":"serverShutdown","E":1770123456789}
/// {"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1770123456789}}
/// ```
#[derive(Deserialize)]
struct AnyFrame<'a> {
    /// `bookTicker` has no `e`: it is known by its number and its quantity.
    #[serde(borrow)]
    u: Option<&'a RawValue>,
    #[serde(borrow, rename = "A")]
    ask_quantity: Option<&'a RawValue>,
    #[serde(borrow)]
    stream: Option<Cow<'a, str>>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    e: Option<Cow<'a, str>>,
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

impl Stream for Binance {
    fn subscribe(&self, natives: &[&str], wanted: Wanted, first_id: u64) -> Vec<SubscribeFrame> {
        control_frames("SUBSCRIBE", natives, wanted, first_id)
    }

    fn decode(
        &self,
        frame: &str,
        received_us: UnixMicros,
        sink: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), DecodeError> {
        if let Some(event) = scan_trade(frame) {
            return emit_trade(&event, received_us, sink);
        }
        if let Some(event) = scan_book_ticker(frame) {
            return emit_quote(&event, received_us, sink);
        }
        decode_any(frame, received_us, sink, true)
    }

    fn refusal_scope(&self) -> RefusalScope {
        RefusalScope::Frame
    }
}

/// A trade in the venue's own key order, which nearly all frames have; `None` for anything else.
fn scan_trade(frame: &str) -> Option<TradeEvent<'_>> {
    let mut scan = Scan::new(frame);
    let is_combined = scan.eat(r#"{"stream":""#);
    if is_combined {
        scan.text()?;
        scan.literal(r#","data":"#)?;
    }
    let is_aggregate = !scan.eat(r#"{"e":"trade","E":"#);
    if is_aggregate {
        scan.literal(r#"{"e":"aggTrade","E":"#)?;
    }
    let sent = scan.time()?;
    scan.literal(r#","s":""#)?;
    let s = scan.text()?;
    scan.literal(if is_aggregate { r#","a":"# } else { r#","t":"# })?;
    let id = scan.number()?;
    scan.literal(r#","p":""#)?;
    let p = scan.text()?;
    scan.literal(r#","q":""#)?;
    let q = scan.text()?;
    let (mut f, mut l) = (None, None);
    if is_aggregate {
        scan.literal(r#","f":"#)?;
        f = Some(scan.number()?);
        scan.literal(r#","l":"#)?;
        l = Some(scan.number()?);
    }
    scan.literal(r#","T":"#)?;
    let traded = scan.time()?;
    let kind = if scan.eat(r#","X":""#) {
        Some(scan.text()?)
    } else {
        None
    };
    scan.literal(r#","m":"#)?;
    let m = scan.boolean()?;
    if scan.eat(r#","M":"#) {
        scan.boolean()?;
    }
    scan.literal(if is_combined { "}}" } else { "}" })?;
    scan.end()?;
    Some(TradeEvent {
        e: if is_aggregate { "aggTrade" } else { "trade" },
        sent,
        s,
        t: (!is_aggregate).then_some(id),
        f,
        l,
        p,
        q,
        traded,
        m,
        kind,
    })
}

/// A `bookTicker` in the venue's own key order; `None` for anything else.
fn scan_book_ticker(frame: &str) -> Option<BookTicker<'_>> {
    let mut scan = Scan::new(frame);
    let is_combined = scan.eat(r#"{"stream":""#);
    if is_combined {
        scan.text()?;
        scan.literal(r#","data":"#)?;
    }
    scan.literal(r#"{"u":"#)?;
    let u = scan.number()?;
    scan.literal(r#","s":""#)?;
    let s = scan.text()?;
    scan.literal(r#","b":""#)?;
    let b = scan.text()?;
    scan.literal(r#","B":""#)?;
    let bid_quantity = scan.text()?;
    scan.literal(r#","a":""#)?;
    let a = scan.text()?;
    scan.literal(r#","A":""#)?;
    let ask_quantity = scan.text()?;
    scan.literal(if is_combined { "}}" } else { "}" })?;
    scan.end()?;
    Some(BookTicker {
        u,
        s,
        b,
        bid_quantity,
        a,
        ask_quantity,
    })
}

fn emit_quote(
    event: &BookTicker<'_>,
    received_us: UnixMicros,
    sink: &mut dyn FnMut(Event<'_>),
) -> Result<(), DecodeError> {
    let quote = Quote {
        bid: level(event.b, event.bid_quantity)?,
        ask: level(event.a, event.ask_quantity)?,
        update_id: Some(event.u),
        event_ms: None,
        received_us,
    };
    sink(Event::Quote {
        native: event.s,
        quote,
    });
    Ok(())
}

fn emit_ticker(
    event: &DayTicker<'_>,
    received_us: UnixMicros,
    sink: &mut dyn FnMut(Event<'_>),
) -> Result<(), DecodeError> {
    // A symbol that has never traded has no last price, so it has no ticker.
    let Some(last) = price(event.c)? else {
        sink(Event::Ignored);
        return Ok(());
    };
    let ids = (u64::try_from(event.first_id), u64::try_from(event.last_id));
    let ticker = Ticker {
        open: price(event.o)?,
        high: price(event.h)?,
        low: price(event.l)?,
        last,
        last_quantity: quantity(event.last_quantity)?,
        volume: amount(event.v)?,
        quote_volume: Some(amount(event.q)?),
        count: Some(event.n),
        ids: match ids {
            (Ok(first), Ok(last)) => Some((first, last)),
            _ => None,
        },
        bid: price(event.b)?,
        bid_quantity: quantity(event.bid_quantity)?,
        ask: price(event.a)?,
        ask_quantity: quantity(event.ask_quantity)?,
        event_ms: Some(to_millis(event.sent)),
        received_us,
    };
    sink(Event::Ticker {
        native: event.s,
        ticker,
    });
    Ok(())
}

fn emit_trade(
    event: &TradeEvent<'_>,
    received_us: UnixMicros,
    sink: &mut dyn FnMut(Event<'_>),
) -> Result<(), DecodeError> {
    if event.kind.is_some_and(|kind| kind != "MARKET") {
        sink(Event::NotForBars);
        return Ok(());
    }
    let ids = match (event.e, event.t, event.f, event.l) {
        ("trade", Some(id), _, _) => (id, id),
        ("aggTrade", _, Some(first), Some(last)) => (first, last),
        _ => return Err(DecodeError::Malformed("a trade without an id")),
    };
    let trade = trade_of(
        ids,
        to_millis(event.traded),
        event.p,
        event.q,
        aggressor_side(event.m),
        received_us,
    )?;
    sink(Event::Trade {
        native: event.s,
        trade,
        stamped_ms: Some(to_millis(event.sent)),
    });
    Ok(())
}

fn decode_any(
    frame: &str,
    received_us: UnixMicros,
    sink: &mut dyn FnMut(Event<'_>),
    may_be_combined: bool,
) -> Result<(), DecodeError> {
    let any: AnyFrame<'_> =
        serde_json::from_str(frame).map_err(|_| DecodeError::Malformed("frame"))?;
    if let Some(refusal) = any.error {
        let message = refusal.msg.as_deref().unwrap_or("refused");
        sink(Event::Refused {
            id: id_of(any.id),
            message,
        });
        return Ok(());
    }
    if any.code.is_some() {
        let message = any.msg.as_deref().unwrap_or("refused");
        sink(Event::Refused {
            id: id_of(any.id),
            message,
        });
        return Ok(());
    }
    match any.e.as_deref() {
        Some("trade" | "aggTrade") => {
            let event = serde_json::from_str(frame).map_err(|_| DecodeError::Malformed("trade"))?;
            return emit_trade(&event, received_us, sink);
        }
        Some("serverShutdown") => {
            sink(Event::ClosingSoon);
            return Ok(());
        }
        Some("24hrTicker") => {
            let event =
                serde_json::from_str(frame).map_err(|_| DecodeError::Malformed("ticker"))?;
            return emit_ticker(&event, received_us, sink);
        }
        Some(_) => {
            sink(Event::Ignored);
            return Ok(());
        }
        None if any.u.is_some() && any.ask_quantity.is_some() => {
            let event = serde_json::from_str(frame).map_err(|_| DecodeError::Malformed("quote"))?;
            return emit_quote(&event, received_us, sink);
        }
        None => {}
    }
    match (any.stream.as_deref(), any.data, any.id) {
        (Some("!serverShutdown"), _, _) => sink(Event::ClosingSoon),
        (Some(_), Some(inner), _) if may_be_combined => {
            // A depth snapshot of spot carries no event type, so an unknown inner frame belongs to a
            // stream that we do not need.
            return decode_any(
                inner.get(),
                received_us,
                &mut |event| {
                    sink(if event == Event::Unknown {
                        Event::Ignored
                    } else {
                        event
                    });
                },
                false,
            );
        }
        (None, None, Some(id)) => match id_of(Some(id)) {
            Some(id) => sink(Event::SubscribedFrame { id }),
            None => sink(Event::Ignored),
        },
        _ => sink(Event::Unknown),
    }
    Ok(())
}

fn id_of(id: Option<&RawValue>) -> Option<u64> {
    id.and_then(|id| id.get().parse().ok())
}

fn control_frames(
    method: &str,
    natives: &[&str],
    wanted: Wanted,
    first_id: u64,
) -> Vec<SubscribeFrame> {
    let kinds = [
        Some("trade"),
        wanted.quotes.then_some("bookTicker"),
        wanted.tickers.then_some("ticker"),
    ];
    let mut frames = Vec::new();
    for (id, chunk) in (first_id..).zip(natives.chunks(Binance.limits().streams_per_subscribe)) {
        let params: Vec<String> = chunk
            .iter()
            .flat_map(|native| {
                let native = native.to_ascii_lowercase();
                let named = move |kind: &str| format!("\"{native}@{kind}\"");
                kinds.into_iter().flatten().map(named)
            })
            .collect();
        frames.push(SubscribeFrame {
            id,
            text: format!(
                r#"{{"method":"{method}","params":[{}],"id":{id}}}"#,
                params.join(",")
            ),
            natives: chunk.iter().map(|&native| native.to_owned()).collect(),
        });
    }
    frames
}
