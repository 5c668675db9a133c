//! Binance spot (and the trade frames of USD-M futures, for replays).
//!
//! Source: <https://github.com/binance/binance-spot-api-docs/blob/master/web-socket-streams.md>
//! and `rest-api.md` beside it. The samples are in `fixtures/binance/`.

mod dump;

use std::borrow::Cow;
use std::collections::HashSet;

use market_core::{AggressorSide, Timeframe, Trade, UnixMicros, UnixMillis};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    DecodeError, Endpoints, Event, Exchange, Keepalive, Limits, PageAsk, Paging, PagingDirection,
    RefusalScope, RestFault, RestRequest, SubscribeFrame, TradesPage, VenueBar, scan::Scan,
    to_millis, trade_of,
};

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct Binance;

/// Quote currencies, longest match first, by which `BTCUSDT` is split.
const QUOTES: [&str; 40] = [
    "FDUSD", "USDT", "USDC", "TUSD", "BUSD", "USDP", "USDS", "USD1", "BIDR", "DOGE", "EURI",
    "AEUR", "IDRT", "BKRW", "BVND", "USD", "BTC", "ETH", "BNB", "EUR", "TRY", "GBP", "AUD", "BRL",
    "JPY", "XRP", "TRX", "DAI", "PAX", "ZAR", "UAH", "SOL", "ARS", "COP", "CZK", "MXN", "NGN",
    "PLN", "RON", "RUB",
];

const ROWS_MAX: usize = 1_000;

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

/// One row of `/api/v3/historicalTrades` or `/api/v3/aggTrades`.
///
/// ```json
/// {"id":28457,"price":"4.00000100","qty":"12.00000000","quoteQty":"48.000012","time":1499865549590,"isBuyerMaker":true,"isBestMatch":true}
/// {"a":26129,"p":"0.01633102","q":"4.70443515","f":27781,"l":27781,"T":1498793709153,"m":true,"M":true}
/// ```
#[derive(Deserialize)]
struct TradeRow<'a> {
    id: Option<u64>,
    #[serde(alias = "f")]
    first_id: Option<u64>,
    #[serde(alias = "l")]
    last_id: Option<u64>,
    #[serde(alias = "p")]
    price: &'a str,
    #[serde(alias = "q")]
    qty: &'a str,
    #[serde(alias = "T")]
    time: i64,
    #[serde(alias = "m", rename = "isBuyerMaker")]
    is_buyer_maker: bool,
}

impl TradeRow<'_> {
    fn trade(&self, received_us: UnixMicros) -> Result<Trade, DecodeError> {
        let ids = match (self.id, self.first_id, self.last_id) {
            (Some(id), _, _) => (id, id),
            (None, Some(first), Some(last)) => (first, last),
            _ => return Err(DecodeError::Malformed("a trade without an id")),
        };
        trade_of(
            ids,
            to_millis(self.time),
            self.price,
            self.qty,
            aggressor_side(self.is_buyer_maker),
            received_us,
        )
    }
}

/// Of a row of `/api/v3/aggTrades`, its own id.
#[derive(Deserialize)]
struct AggregateId {
    a: u64,
}

/// A REST refusal.
///
/// ```json
/// {"code":-1121,"msg":"Invalid symbol."}
/// ```
#[derive(Deserialize)]
struct RestRefusal {
    code: i64,
}

/// The code of a refusal because the symbol does not exist.
const INVALID_SYMBOL: i64 = -1121;

/// One row of `/api/v3/klines`.
///
/// ```json
/// [1499040000000,"0.01634790","0.80000000","0.01575800","0.01577100","148976.11427815",1499644799999,"2434.19055334",308,"1756.87402397","28.46694368","0"]
/// ```
#[derive(Deserialize)]
struct BarRow(
    i64,
    String,
    String,
    String,
    String,
    String,
    serde::de::IgnoredAny,
    String,
    u64,
    String,
    String,
    serde::de::IgnoredAny,
);

/// `/api/v3/exchangeInfo`.
///
/// ```json
/// {"timezone":"UTC","symbols":[{"symbol":"ETHBTC","status":"TRADING"}]}
/// ```
#[derive(Deserialize)]
struct SymbolList {
    symbols: Vec<SymbolRow>,
}

#[derive(Deserialize)]
struct SymbolRow {
    symbol: String,
}

impl Exchange for Binance {
    fn name(&self) -> &'static str {
        "binance"
    }

    fn endpoints(&self) -> Endpoints {
        Endpoints {
            websocket: "wss://stream.binance.com:9443/ws".to_owned(),
            rest: "https://api.binance.com".to_owned(),
        }
    }

    fn sim_endpoints(&self, authority: &str) -> Endpoints {
        Endpoints {
            websocket: format!("ws://{authority}/ws"),
            rest: format!("http://{authority}"),
        }
    }

    fn limits(&self) -> Limits {
        Limits {
            // 1024 are allowed; with fewer, a lost connection costs less.
            streams_per_connection: 200,
            streams_per_subscribe: 50,
            // 5 messages a second are allowed, our pongs among them.
            send_interval_ms: 300,
            // 300 in 5 minutes are allowed per address.
            attempts_max: 240,
            attempts_window_ms: 300_000,
            // The venue cuts at 24 h.
            rotation_age_ms: 23 * 3_600_000,
            // The venue pings every 20 s.
            keepalive: Keepalive::VenueSpeaks {
                silence_max_ms: 50_000,
            },
            // 6000 a minute are allowed per address; requests that are on their way when the
            // venue's minute ends count for the next one.
            rest_weight_max: 5_700,
            rest_used_header: Some("x-mbx-used-weight-1m"),
            rest_window_ms: 60_000,
        }
    }

    fn native_name(&self, base: &str, quote: &str) -> String {
        format!("{base}{quote}")
    }

    fn pair_of(&self, native: &str) -> Option<String> {
        let native = native.to_ascii_uppercase();
        // We write a delivery future, `BTCUSDT_240927`, as `BTC-USDT_240927`.
        let pair_len = native.find('_').unwrap_or(native.len());
        let (pair, delivery) = native.split_at(pair_len);
        for quote in QUOTES {
            if let Some(base) = pair.strip_suffix(quote)
                && !base.is_empty()
            {
                return Some(format!("{base}-{quote}{delivery}"));
            }
        }
        None
    }

    fn subscribe(&self, natives: &[&str], first_id: u64) -> Vec<SubscribeFrame> {
        control_frames("SUBSCRIBE", natives, first_id)
    }

    fn unsubscribe(&self, natives: &[&str], first_id: u64) -> Vec<SubscribeFrame> {
        control_frames("UNSUBSCRIBE", natives, first_id)
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
        decode_any(frame, received_us, sink, true)
    }

    fn refusal_scope(&self) -> RefusalScope {
        RefusalScope::Frame
    }

    fn symbols_page(&self) -> RestRequest {
        RestRequest {
            path_and_query: "/api/v3/exchangeInfo?showPermissionSets=false".to_owned(),
            weight: 20,
        }
    }

    fn parse_symbols_page(&self, body: &[u8]) -> Result<HashSet<String>, DecodeError> {
        let list: SymbolList =
            serde_json::from_slice(body).map_err(|_| DecodeError::Malformed("list of symbols"))?;
        Ok(list.symbols.into_iter().map(|row| row.symbol).collect())
    }

    fn paging(&self) -> Paging {
        Paging {
            direction: PagingDirection::Forward,
            rows_max: ROWS_MAX,
            has_aggregates: true,
        }
    }

    fn trades_page(&self, native: &str, ask: PageAsk) -> RestRequest {
        match ask {
            PageAsk::FromId(id) => RestRequest {
                path_and_query: format!(
                    "/api/v3/historicalTrades?symbol={native}&fromId={id}&limit={ROWS_MAX}"
                ),
                weight: 25,
            },
            PageAsk::Below(below) => {
                let from = below.map_or(String::new(), |id| {
                    format!("&fromId={}", id.saturating_sub(ROWS_MAX as u64))
                });
                RestRequest {
                    path_and_query: format!(
                        "/api/v3/historicalTrades?symbol={native}{from}&limit={ROWS_MAX}"
                    ),
                    weight: 25,
                }
            }
            PageAsk::AggregatesFrom(id) => RestRequest {
                path_and_query: format!(
                    "/api/v3/aggTrades?symbol={native}&fromId={id}&limit={ROWS_MAX}"
                ),
                weight: 4,
            },
            PageAsk::AggregatesSince(from_ms) => RestRequest {
                path_and_query: format!(
                    "/api/v3/aggTrades?symbol={native}&startTime={from_ms}&limit={ROWS_MAX}"
                ),
                weight: 4,
            },
        }
    }

    fn parse_trades_page(
        &self,
        body: &[u8],
        received_us: UnixMicros,
    ) -> Result<TradesPage, DecodeError> {
        let rows: Vec<&RawValue> =
            serde_json::from_slice(body).map_err(|_| DecodeError::Malformed("page of trades"))?;
        let mut page = TradesPage::of_rows(&rows, |row: &TradeRow<'_>| row.trade(received_us));
        // The rows come oldest first, and the last row counts even if its trade cannot be read.
        page.newest_aggregate = rows
            .iter()
            .filter_map(|row| serde_json::from_str::<AggregateId>(row.get()).ok())
            .map(|row| row.a)
            .max();
        Ok(page)
    }

    fn rest_fault(&self, status: u16, body: &[u8]) -> Option<RestFault> {
        let is_unknown = || {
            let refusal = serde_json::from_slice::<RestRefusal>(body);
            refusal.is_ok_and(|refusal| refusal.code == INVALID_SYMBOL)
        };
        if status == 400 && is_unknown() {
            return Some(RestFault::UnknownSymbol);
        }
        RestFault::of_status(status)
    }

    fn parse_dump_line(&self, line: &str) -> Result<Trade, DecodeError> {
        dump::parse_line(line)
    }

    fn bars_page(
        &self,
        native: &str,
        timeframe: Timeframe,
        from_ms: UnixMillis,
        last_start_ms: UnixMillis,
    ) -> Option<RestRequest> {
        // The venue's intervals have our names, and it has all of ours.
        let interval = timeframe.to_string();
        let known = [
            "1s", "1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "1w",
            "1M",
        ];
        known.contains(&interval.as_str()).then(|| RestRequest {
            path_and_query: format!(
                "/api/v3/klines?symbol={native}&interval={interval}&startTime={from_ms}&endTime={last_start_ms}&limit=1000"
            ),
            weight: 2,
        })
    }

    fn parse_bars_page(&self, body: &[u8]) -> Result<Vec<VenueBar>, DecodeError> {
        let rows: Vec<BarRow> =
            serde_json::from_slice(body).map_err(|_| DecodeError::Malformed("page of bars"))?;
        let bar = |row: BarRow| VenueBar {
            start_ms: to_millis(row.0),
            open: row.1,
            high: row.2,
            low: row.3,
            close: row.4,
            volume: row.5,
            quote_volume: Some(row.7),
            count: Some(row.8),
            taker_buy_volume: Some(row.9),
            taker_buy_quote_volume: Some(row.10),
        };
        Ok(rows.into_iter().map(bar).collect())
    }
}

fn aggressor_side(is_buyer_maker: bool) -> AggressorSide {
    if is_buyer_maker {
        AggressorSide::Sell
    } else {
        AggressorSide::Buy
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
        Some(_) => {
            sink(Event::Ignored);
            return Ok(());
        }
        None => {}
    }
    match (any.stream.as_deref(), any.data, any.id) {
        (Some("!serverShutdown"), _, _) => sink(Event::ClosingSoon),
        (Some(_), Some(inner), _) if may_be_combined => {
            // `bookTicker` of spot carries no event type, so an unknown inner frame belongs to a
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

fn control_frames(method: &str, natives: &[&str], first_id: u64) -> Vec<SubscribeFrame> {
    let mut frames = Vec::new();
    for (id, chunk) in (first_id..).zip(natives.chunks(Binance.limits().streams_per_subscribe)) {
        let params: Vec<String> = chunk
            .iter()
            .map(|native| format!("\"{}@trade\"", native.to_ascii_lowercase()))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::tests::{describe, fixture_events};

    const FRAMES: &str = include_str!("../../fixtures/binance/frames.jsonl");

    #[test]
    fn fixture_frames_decode_as_documented() {
        assert_eq!(
            fixture_events(&Binance, FRAMES),
            [
                "BTCUSDT 3735683259..3735683259 61837.63 x 0.02 sell at 1723161255342 stamped 1723161255343",
                "BTCUSDT 3735683260..3735683260 61837.63 x 0.048 buy at 1723161255617 stamped 1723161255619",
                "BTCUSDT 100..102 61837.63 x 0.05 buy at 1626992741499 stamped 1626992741500",
                "BTCUSDT 5266583935..5266583935 61800.3 x 0.006 buy at 1723161256322 stamped 1723161256322",
                "not for bars",
                "not for bars",
                "subscribed frame 1",
                "refused None Invalid request: unknown variant `SUB`",
                "refused Some(3) Invalid request",
                "closing soon",
                "closing soon",
                "ignored",
                "ignored",
                "ignored",
                "unknown",
                "BTCUSDT 17..17 5.5 x 1 sell at 1723161255342 stamped 1723161255343",
                "BTCUSDT 18..18 5.5 x 1 sell at 1723161255342 stamped 1723161255343",
                "malformed: price or quantity",
                "malformed: a trade without an id",
                "malformed: ids",
                "malformed: frame",
            ]
        );
    }

    #[test]
    fn pages_of_single_and_aggregated_trades_are_parsed() {
        let mut trades = Vec::new();
        for page in [
            include_str!("../../fixtures/binance/historical_trades.json"),
            include_str!("../../fixtures/binance/agg_trades.json"),
        ] {
            let page = Binance
                .parse_trades_page(page.as_bytes(), 7)
                .expect("a page");
            trades.extend(page.trades);
        }
        let described: Vec<String> = trades.iter().map(describe).collect();
        assert_eq!(
            described,
            [
                "28457..28457 4.000001 x 12 sell at 1499865549590",
                "28458..28458 4.000002 x 1.5 buy at 1499865549600",
                "27781..27783 0.01633102 x 4.70443515 sell at 1498793709153",
            ]
        );
    }

    #[test]
    fn venue_bars_are_parsed() {
        let page = include_str!("../../fixtures/binance/klines.json");
        let bars = Binance.parse_bars_page(page.as_bytes()).expect("a page");
        assert_eq!(bars.len(), 1);
        assert_eq!(
            (bars[0].start_ms, bars[0].count, bars[0].close.as_str()),
            (1_499_040_000_000, Some(308), "0.01577100")
        );
        assert_eq!(
            bars[0].taker_buy_quote_volume.as_deref(),
            Some("28.46694368")
        );
    }

    #[test]
    fn names_are_split_at_the_longest_quote() {
        for (native, pair) in [
            ("BTCUSDT", Some("BTC-USDT")),
            ("btcfdusd", Some("BTC-FDUSD")),
            ("XRPETH", Some("XRP-ETH")),
            ("BTCUSDT_240927", Some("BTC-USDT_240927")),
            ("USDT", None),
            ("XYZ", None),
        ] {
            assert_eq!(Binance.pair_of(native).as_deref(), pair, "{native}");
        }
    }
}
