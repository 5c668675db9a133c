//! OKX's frames, and its subscriptions.

use std::borrow::Cow;
use std::fmt;

use market_core::{Quote, Ticker, UnixMicros};
use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::Okx;
use super::trades::TradeRow;
use crate::exchange::value::{amount, level, price, quantity};
use crate::exchange::{
    DecodeError, Event, RefusalScope, Stream, SubscribeFrame, Venue, Wanted, scan::Scan,
};

/// The channel of the best bid and ask, at most every 10 ms.
const BEST: &str = "bbo-tbt";
/// The channel of the last 24 hours, at most every 100 ms.
const TICKERS: &str = "tickers";

/// The venue is about to upgrade and will close the connection.
const NOTICE_CLOSING: &str = "64008";

/// Any frame.
///
/// ```json
/// {"arg":{"channel":"trades","instId":"BTC-USDT"},"data":[{"instId":"BTC-USDT","tradeId":"130639474","px":"42219.9","sz":"0.12060306","side":"buy","ts":"1630048897897","count":"3"}]}
/// {"event":"subscribe","arg":{"channel":"trades","instId":"BTC-USDT"},"connId":"a4d3ae55"}
/// {"event":"error","code":"60012","msg":"Invalid request: ...","connId":"a4d3ae55"}
/// {"event":"notice","code":"64008","msg":"The connection will soon be closed for a service upgrade. Please reconnect.","connId":"a4d3ae55"}
/// ```
#[derive(Deserialize)]
struct Frame<'a> {
    event: Option<&'a str>,
    #[serde(borrow)]
    arg: Option<Arg<'a>>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    code: Option<&'a str>,
    #[serde(borrow)]
    msg: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Arg<'a> {
    channel: Option<&'a str>,
    #[serde(rename = "instId")]
    native: Option<&'a str>,
}

/// One row of `bbo-tbt`: the best ask and bid as `[price, quantity, "0", orders]`.
///
/// ```json
/// {"asks":[["8476.98","415","0","13"]],"bids":[["8476.97","256","0","12"]],"ts":"1597026383085","seqId":123456}
/// ```
#[derive(Deserialize)]
struct BestRow<'a> {
    #[serde(borrow)]
    asks: Vec<Vec<&'a str>>,
    #[serde(borrow)]
    bids: Vec<Vec<&'a str>>,
    ts: &'a str,
    #[serde(rename = "seqId")]
    update_id: Option<u64>,
}

/// One row of `tickers`.
///
/// ```json
/// {"instType":"SPOT","instId":"BTC-USDT","last":"9999.99","lastSz":"0.1","askPx":"9999.99","askSz":"11","bidPx":"8888.88","bidSz":"5","open24h":"9000","high24h":"10000","low24h":"8888.88","volCcy24h":"2222","vol24h":"2222","sodUtc0":"2222","sodUtc8":"2222","ts":"1597026383085"}
/// ```
#[derive(Deserialize)]
struct TickerRow<'a> {
    #[serde(rename = "instId")]
    native: &'a str,
    last: &'a str,
    #[serde(rename = "lastSz")]
    last_quantity: &'a str,
    #[serde(rename = "askPx")]
    ask: &'a str,
    #[serde(rename = "askSz")]
    ask_quantity: &'a str,
    #[serde(rename = "bidPx")]
    bid: &'a str,
    #[serde(rename = "bidSz")]
    bid_quantity: &'a str,
    open24h: &'a str,
    high24h: &'a str,
    low24h: &'a str,
    /// In the quote currency on spot.
    #[serde(rename = "volCcy24h")]
    quote_volume: &'a str,
    vol24h: &'a str,
    ts: &'a str,
}

impl Stream for Okx {
    fn subscribe(&self, natives: &[&str], wanted: Wanted, first_id: u64) -> Vec<SubscribeFrame> {
        control_frames("subscribe", natives, wanted, first_id)
    }

    fn decode(
        &self,
        frame: &str,
        received_us: UnixMicros,
        sink: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), DecodeError> {
        if frame == "pong" {
            sink(Event::Ignored);
            return Ok(());
        }
        if let Some(row) = scan_trade(frame) {
            let trade = row.trade(received_us)?;
            sink(Event::Trade {
                native: row.native,
                trade,
                stamped_ms: Some(trade.event_ms),
            });
            return Ok(());
        }
        let frame: Frame<'_> =
            serde_json::from_str(frame).map_err(|_| DecodeError::Malformed("frame"))?;
        let arg = frame.arg.as_ref();
        let channel = arg.and_then(|arg| arg.channel).unwrap_or_default();
        let is_trades = matches!(channel, "trades" | "trades-all");
        match (frame.event, frame.data) {
            (None, Some(rows)) if is_trades => emit_trades(rows.get(), received_us, sink),
            (None, Some(rows)) if channel == BEST => {
                let native = arg.and_then(|arg| arg.native);
                let native = native.ok_or(DecodeError::Malformed("quote without instId"))?;
                emit_quotes(native, rows.get(), received_us, sink)
            }
            (None, Some(rows)) if channel == TICKERS => emit_tickers(rows.get(), received_us, sink),
            (Some("subscribe"), _) if is_trades => {
                let native = arg.and_then(|arg| arg.native);
                let native = native.ok_or(DecodeError::Malformed("subscribe without instId"))?;
                sink(Event::SubscribedSymbol { native });
                Ok(())
            }
            (Some("error"), _) => {
                let message = frame.msg.as_deref().or(frame.code).unwrap_or("refused");
                sink(Event::Refused { id: None, message });
                Ok(())
            }
            (Some("notice"), _) if frame.code == Some(NOTICE_CLOSING) => {
                sink(Event::ClosingSoon);
                Ok(())
            }
            (
                Some(
                    "subscribe"
                    | "unsubscribe"
                    | "notice"
                    | "channel-conn-count"
                    | "channel-conn-count-error",
                ),
                _,
            )
            | (None, Some(_)) => {
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
        RefusalScope::Symbol
    }

    fn begins_with_last_trade(&self) -> bool {
        true
    }
}

/// One trade in the venue's own key order; `None` for anything else, also for several rows.
fn scan_trade(frame: &str) -> Option<TradeRow<'_>> {
    let mut scan = Scan::new(frame);
    scan.literal(r#"{"arg":{"channel":"trades"#)?;
    scan.eat("-all");
    scan.literal(r#"","instId":""#)?;
    scan.text()?;
    scan.literal(r#"},"data":[{"instId":""#)?;
    let native = scan.text()?;
    scan.literal(r#","tradeId":""#)?;
    let trade_id = scan.text()?;
    scan.literal(r#","px":""#)?;
    let px = scan.text()?;
    scan.literal(r#","sz":""#)?;
    let sz = scan.text()?;
    scan.literal(r#","side":""#)?;
    let side = scan.text()?;
    scan.literal(r#","ts":""#)?;
    let ts = scan.text()?;
    let count = if scan.eat(r#","count":""#) {
        Some(scan.text()?)
    } else {
        None
    };
    if scan.eat(r#","source":""#) {
        scan.text()?;
    }
    if scan.eat(r#","seqId":"#) {
        scan.number()?;
    }
    scan.literal("}]}")?;
    scan.end()?;
    Some(TradeRow {
        native,
        trade_id,
        px,
        sz,
        side,
        ts,
        count,
    })
}

fn emit_trades(
    rows: &str,
    received_us: UnixMicros,
    sink: &mut dyn FnMut(Event<'_>),
) -> Result<(), DecodeError> {
    struct Rows<'s> {
        received_us: UnixMicros,
        sink: &'s mut dyn FnMut(Event<'_>),
    }
    impl<'de> Visitor<'de> for Rows<'_> {
        type Value = Result<(), DecodeError>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("trades")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut rows: A) -> Result<Self::Value, A::Error> {
            let mut outcome = Ok(());
            while let Some(row) = rows.next_element::<TradeRow<'de>>()? {
                match row.trade(self.received_us) {
                    Ok(trade) => (self.sink)(Event::Trade {
                        native: row.native,
                        trade,
                        stamped_ms: Some(trade.event_ms),
                    }),
                    // The other trades of the frame are still good.
                    Err(error) => outcome = Err(error),
                }
            }
            Ok(outcome)
        }
    }
    let mut deserializer = serde_json::Deserializer::from_str(rows);
    deserializer
        .deserialize_seq(Rows { received_us, sink })
        .map_err(|_| DecodeError::Malformed("trades"))?
}

fn emit_quotes(
    native: &str,
    rows: &str,
    received_us: UnixMicros,
    sink: &mut dyn FnMut(Event<'_>),
) -> Result<(), DecodeError> {
    let rows: Vec<BestRow<'_>> =
        serde_json::from_str(rows).map_err(|_| DecodeError::Malformed("quote"))?;
    for row in rows {
        let best = |levels: &[Vec<&str>]| match levels.first().map(Vec::as_slice) {
            Some([price, quantity, ..]) => level(price, quantity),
            Some(_) => Err(DecodeError::Malformed("level of a quote")),
            None => Ok(None),
        };
        let quote = Quote {
            bid: best(&row.bids)?,
            ask: best(&row.asks)?,
            update_id: row.update_id,
            event_ms: row.ts.parse().ok(),
            received_us,
        };
        sink(Event::Quote { native, quote });
    }
    Ok(())
}

fn emit_tickers(
    rows: &str,
    received_us: UnixMicros,
    sink: &mut dyn FnMut(Event<'_>),
) -> Result<(), DecodeError> {
    let rows: Vec<TickerRow<'_>> =
        serde_json::from_str(rows).map_err(|_| DecodeError::Malformed("ticker"))?;
    for row in rows {
        // A text is empty while there is none.
        let some_price = |text: &str| match text {
            "" => Ok(None),
            text => price(text),
        };
        let some_quantity = |text: &str| match text {
            "" => Ok(None),
            text => quantity(text),
        };
        let Some(last) = some_price(row.last)? else {
            sink(Event::Ignored);
            continue;
        };
        let ticker = Ticker {
            open: some_price(row.open24h)?,
            high: some_price(row.high24h)?,
            low: some_price(row.low24h)?,
            last,
            last_quantity: some_quantity(row.last_quantity)?,
            volume: amount(row.vol24h)?,
            // Derivatives count contracts, and have their base currency here.
            quote_volume: match Okx.is_listable(row.native) {
                true => Some(amount(row.quote_volume)?),
                false => None,
            },
            count: None,
            ids: None,
            bid: some_price(row.bid)?,
            bid_quantity: some_quantity(row.bid_quantity)?,
            ask: some_price(row.ask)?,
            ask_quantity: some_quantity(row.ask_quantity)?,
            event_ms: row.ts.parse().ok(),
            received_us,
        };
        sink(Event::Ticker {
            native: row.native,
            ticker,
        });
    }
    Ok(())
}

fn control_frames(
    op: &str,
    natives: &[&str],
    wanted: Wanted,
    first_id: u64,
) -> Vec<SubscribeFrame> {
    let channels = [
        Some("trades"),
        wanted.quotes.then_some(BEST),
        wanted.tickers.then_some(TICKERS),
    ];
    let mut frames = Vec::new();
    for (id, chunk) in (first_id..).zip(natives.chunks(Okx.limits().streams_per_subscribe)) {
        let args: Vec<String> = chunk
            .iter()
            .flat_map(|native| {
                let named =
                    move |channel| format!(r#"{{"channel":"{channel}","instId":"{native}"}}"#);
                channels.into_iter().flatten().map(named)
            })
            .collect();
        frames.push(SubscribeFrame {
            id,
            text: format!(r#"{{"op":"{op}","args":[{}]}}"#, args.join(",")),
            natives: chunk.iter().map(|&native| native.to_owned()).collect(),
        });
    }
    frames
}
