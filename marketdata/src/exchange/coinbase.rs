//! Coinbase Exchange: channels `matches` and `heartbeat`.
//!
//! Source: <https://docs.cdp.coinbase.com/exchange/websocket-feed/channels> and the REST pages
//! `products/{id}/trades`, `products/{id}/candles`. The samples are in `fixtures/coinbase/`.
//!
//! `sequence` counts every event of the product's feed, so it jumps on these channels; only
//! `trade_id` shows gaps. A heartbeat's `last_trade_id` is sometimes always 0
//! (preichenberger/go-coinbasepro#89), so it is ignored.

use std::borrow::Cow;
use std::collections::HashSet;

use market_core::{AggressorSide, Timeframe, Trade, UnixMicros, UnixMillis};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    DecodeError, Endpoints, Event, Exchange, Keepalive, Limits, PageAsk, Paging, PagingDirection,
    RefusalScope, RestFault, RestRequest, SubscribeFrame, TradesPage, VenueBar, iso_time,
    scan::Scan, trade_of,
};

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct Coinbase;

const ROWS_MAX: usize = 1_000;
/// Timeframes of the venue's own bars, in seconds.
const GRANULARITIES: [(&str, u32); 5] = [
    ("1m", 60),
    ("5m", 300),
    ("15m", 900),
    ("1h", 3_600),
    ("1d", 86_400),
];

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

/// One row of `/products/{id}/trades`, newest first; `side` is the maker's.
///
/// ```json
/// {"trade_id":74,"side":"sell","size":"0.01000000","price":"10.00000000","time":"2014-11-07T22:19:28.578544Z"}
/// ```
#[derive(Deserialize)]
struct TradeRow<'a> {
    trade_id: u64,
    side: &'a str,
    size: &'a str,
    price: &'a str,
    time: &'a str,
}

/// A REST refusal.
///
/// ```json
/// {"message":"NotFound"}
/// ```
#[derive(Deserialize)]
struct RestRefusal<'a> {
    #[serde(borrow)]
    message: Cow<'a, str>,
}

impl TradeRow<'_> {
    fn trade(&self, received_us: UnixMicros) -> Result<Trade, DecodeError> {
        let event_ms =
            iso_time::parse(self.time).ok_or(DecodeError::Malformed("time of a trade"))?;
        trade_of(
            (self.trade_id, self.trade_id),
            event_ms,
            self.price,
            self.size,
            taker_side(self.side)?,
            received_us,
        )
    }
}

/// One row of `/products/{id}/candles`, newest first: `[time, low, high, open, close, volume]`,
/// as numbers.
///
/// ```json
/// [1415398768,0.32,4.2,0.35,4.2,12.3]
/// ```
#[derive(Deserialize)]
struct BarRow<'a>(
    i64,
    #[serde(borrow)] &'a RawValue,
    #[serde(borrow)] &'a RawValue,
    #[serde(borrow)] &'a RawValue,
    #[serde(borrow)] &'a RawValue,
    #[serde(borrow)] &'a RawValue,
);

/// One row of `/products`.
///
/// ```json
/// {"id":"BTC-USD","base_currency":"BTC","quote_currency":"USD","status":"online"}
/// ```
#[derive(Deserialize)]
struct ProductRow {
    id: String,
    status: Option<String>,
}

impl Exchange for Coinbase {
    fn name(&self) -> &'static str {
        "coinbase"
    }

    fn endpoints(&self) -> Endpoints {
        Endpoints {
            websocket: "wss://ws-feed.exchange.coinbase.com".to_owned(),
            rest: "https://api.exchange.coinbase.com".to_owned(),
        }
    }

    fn sim_endpoints(&self, authority: &str) -> Endpoints {
        Endpoints {
            websocket: format!("ws://{authority}/"),
            rest: format!("http://{authority}"),
        }
    }

    fn limits(&self) -> Limits {
        Limits {
            streams_per_connection: 50,
            streams_per_subscribe: 50,
            // 100 messages a second are allowed.
            send_interval_ms: 50,
            // 8 requests a second are allowed per address, with a burst of 20.
            attempts_max: 5,
            attempts_window_ms: 1_000,
            rotation_age_ms: 23 * 3_600_000,
            // A heartbeat comes every second for each product.
            keepalive: Keepalive::VenueSpeaks {
                silence_max_ms: 10_000,
            },
            // 10 requests a second are allowed per address.
            rest_weight_max: 7,
            rest_used_header: None,
            rest_window_ms: 1_000,
        }
    }

    fn native_name(&self, base: &str, quote: &str) -> String {
        format!("{base}-{quote}")
    }

    fn pair_of(&self, native: &str) -> Option<String> {
        (native.split('-').count() == 2).then(|| native.to_owned())
    }

    fn subscribe(&self, natives: &[&str], first_id: u64) -> Vec<SubscribeFrame> {
        control_frames("subscribe", natives, first_id)
    }

    fn unsubscribe(&self, natives: &[&str], first_id: u64) -> Vec<SubscribeFrame> {
        control_frames("unsubscribe", natives, first_id)
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

    fn symbols_page(&self) -> RestRequest {
        RestRequest {
            path_and_query: "/products".to_owned(),
            weight: 1,
        }
    }

    fn parse_symbols_page(&self, body: &[u8]) -> Result<HashSet<String>, DecodeError> {
        let rows: Vec<ProductRow> =
            serde_json::from_slice(body).map_err(|_| DecodeError::Malformed("list of symbols"))?;
        let listed = rows
            .into_iter()
            .filter(|row| row.status.as_deref() != Some("delisted"));
        Ok(listed.map(|row| row.id).collect())
    }

    fn paging(&self) -> Paging {
        Paging {
            direction: PagingDirection::Backward,
            rows_max: ROWS_MAX,
            has_aggregates: false,
        }
    }

    fn trades_page(&self, native: &str, ask: PageAsk) -> RestRequest {
        // `after` means older, `before` newer.
        let cursor = match ask {
            PageAsk::Below(Some(id)) => format!("&after={id}"),
            PageAsk::Below(None) | PageAsk::AggregatesSince(_) | PageAsk::AggregatesFrom(_) => {
                String::new()
            }
            PageAsk::FromId(id) => format!("&before={}", id.saturating_sub(1)),
        };
        RestRequest {
            path_and_query: format!("/products/{native}/trades?limit={ROWS_MAX}{cursor}"),
            weight: 1,
        }
    }

    fn parse_trades_page(
        &self,
        body: &[u8],
        received_us: UnixMicros,
    ) -> Result<TradesPage, DecodeError> {
        let rows: Vec<&RawValue> =
            serde_json::from_slice(body).map_err(|_| DecodeError::Malformed("page of trades"))?;
        Ok(TradesPage::of_rows(&rows, |row: &TradeRow<'_>| {
            row.trade(received_us)
        }))
    }

    fn rest_fault(&self, status: u16, body: &[u8]) -> Option<RestFault> {
        // A wrong base address also answers 404, but with another text.
        let is_unknown = || {
            let refusal = serde_json::from_slice::<RestRefusal<'_>>(body);
            refusal.is_ok_and(|refusal| refusal.message == "NotFound")
        };
        if status == 404 && is_unknown() {
            return Some(RestFault::UnknownSymbol);
        }
        RestFault::of_status(status)
    }

    fn bars_page(
        &self,
        native: &str,
        timeframe: Timeframe,
        from_ms: UnixMillis,
        last_start_ms: UnixMillis,
    ) -> Option<RestRequest> {
        let name = timeframe.to_string();
        let (_, granularity) = GRANULARITIES.iter().find(|(known, _)| *known == name)?;
        Some(RestRequest {
            path_and_query: format!(
                "/products/{native}/candles?granularity={granularity}&start={}&end={}",
                iso_time::format_seconds(from_ms / 1_000),
                iso_time::format_seconds(last_start_ms / 1_000),
            ),
            weight: 1,
        })
    }

    fn parse_bars_page(&self, body: &[u8]) -> Result<Vec<VenueBar>, DecodeError> {
        let rows: Vec<BarRow<'_>> =
            serde_json::from_slice(body).map_err(|_| DecodeError::Malformed("page of bars"))?;
        let text = |value: &RawValue| value.get().trim_matches('"').to_owned();
        let bar = |row: BarRow<'_>| VenueBar {
            start_ms: row.0.saturating_mul(1_000),
            low: text(row.1),
            high: text(row.2),
            open: text(row.3),
            close: text(row.4),
            volume: text(row.5),
            quote_volume: None,
            count: None,
            taker_buy_volume: None,
            taker_buy_quote_volume: None,
        };
        Ok(rows.into_iter().rev().map(bar).collect())
    }
}

/// The taker's side for a maker's side.
fn taker_side(maker_side: &str) -> Result<AggressorSide, DecodeError> {
    match maker_side {
        "buy" => Ok(AggressorSide::Sell),
        "sell" => Ok(AggressorSide::Buy),
        _ => Err(DecodeError::Malformed("side of a trade")),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::tests::{describe, fixture_events};

    const FRAMES: &str = include_str!("../../fixtures/coinbase/frames.jsonl");

    #[test]
    fn fixture_frames_decode_as_documented_with_the_takers_side() {
        assert_eq!(
            fixture_events(&Coinbase, FRAMES),
            [
                "BTC-USD 10..10 400.23 x 5.23512 buy at 1415348367028 stamped 1415348367028",
                "BTC-USD 11..11 400.22 x 0.1 sell at 1415348367100 stamped 1415348367100",
                "BTC-USD 9..9 400.2 x 1 sell at 1415348260000 unstamped",
                "time 1415348368464",
                "time 1415348369464",
                "subscribed BTC-USD",
                "subscribed ETH-USD",
                "ignored",
                "refused None XYZ-USD is not a valid product",
                "ignored",
                "ignored",
                "unknown",
                "malformed: side of a trade",
                "malformed: a trade that lacks a field",
                "malformed: frame",
            ]
        );
    }

    #[test]
    fn a_page_of_trades_is_parsed_with_the_takers_side() {
        let page = include_str!("../../fixtures/coinbase/trades.json");
        let trades = Coinbase
            .parse_trades_page(page.as_bytes(), 7)
            .expect("a page")
            .trades;
        let described: Vec<String> = trades.iter().map(describe).collect();
        assert_eq!(
            described,
            [
                "74..74 10 x 0.01 buy at 1415398768578",
                "73..73 100 x 0.01 sell at 1415330007466",
            ]
        );
    }

    #[test]
    fn venue_bars_come_oldest_first() {
        let page = include_str!("../../fixtures/coinbase/candles.json");
        let bars = Coinbase.parse_bars_page(page.as_bytes()).expect("a page");
        assert_eq!(
            bars.iter()
                .map(|bar| (bar.start_ms, bar.low.as_str(), bar.open.as_str()))
                .collect::<Vec<_>>(),
            [
                (1_415_398_740_000, "0.3", "0.31"),
                (1_415_398_800_000, "0.32", "0.35")
            ]
        );
    }
}
