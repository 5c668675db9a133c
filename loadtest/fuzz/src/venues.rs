//! Messages of venues: frames, and pages of their REST interfaces.

use std::ops::RangeInclusive;

use arbitrary::{Result, Unstructured};
use market_core::Trade;
use marketdata::exchange::{Event, Exchange, registry};
use serde::de::IgnoredAny;

use crate::Form;
use crate::json::vary;

/// The limits of a decoded trade.
const TIMES_MS: RangeInclusive<i64> = 0..=253_402_300_799_999;
const ID_MAX: u64 = i64::MAX as u64;

/// The content of a venue's fixtures.
struct Venue {
    name: &'static str,
    /// One a line.
    frames: &'static str,
    trades: &'static [&'static str],
    bars: &'static str,
    symbols: &'static str,
    words: &'static [&'static str],
}

macro_rules! fixture {
    ($name:literal) => {
        include_str!(concat!("../../../marketdata/fixtures/", $name))
    };
}

const BINANCE: Venue = Venue {
    name: "binance",
    frames: fixture!("binance/frames.jsonl"),
    trades: &[
        fixture!("binance/historical_trades.json"),
        fixture!("binance/agg_trades.json"),
    ],
    bars: fixture!("binance/klines.json"),
    symbols: r#"{"timezone":"UTC","symbols":[{"symbol":"ETHBTC","status":"TRADING"},{"symbol":"BTCUSDT"}]}"#,
    words: &[
        "trade",
        "aggTrade",
        "MARKET",
        "INSURANCE_FUND",
        "e",
        "E",
        "s",
        "t",
        "p",
        "q",
        "T",
        "m",
        "M",
        "X",
        "f",
        "l",
        "a",
        "id",
        "code",
        "msg",
        "error",
        "stream",
        "data",
        "tr\u{61}de",
        "serverShutdown",
        "BTCUSDT",
    ],
};

const COINBASE: Venue = Venue {
    name: "coinbase",
    frames: fixture!("coinbase/frames.jsonl"),
    trades: &[fixture!("coinbase/trades.json")],
    bars: fixture!("coinbase/candles.json"),
    symbols: r#"[{"id":"BTC-USD","status":"online"},{"id":"ETH-USD"}]"#,
    words: &[
        "match",
        "last_match",
        "error",
        "heartbeat",
        "subscriptions",
        "buy",
        "sell",
        "type",
        "trade_id",
        "side",
        "size",
        "price",
        "product_id",
        "time",
        "message",
        "reason",
        "2021-04-17T16:43:37.089723Z",
        "2021-02-30T25:61:61Z",
        "0000-00-00T00:00:00Z",
        "2021-04-17T16:43:37+01:00",
        "2021-04-17T16:43:37.Z",
        "9999-12-31T23:59:60Z",
    ],
};

const OKX: Venue = Venue {
    name: "okx",
    frames: fixture!("okx/frames.jsonl"),
    trades: &[fixture!("okx/history_trades.json")],
    bars: fixture!("okx/history_candles.json"),
    symbols: r#"{"code":"0","msg":"","data":[{"instId":"BTC-USDT","state":"live"},{"instId":"ETH-USDT"}]}"#,
    words: &[
        "trades",
        "trades-all",
        "subscribe",
        "unsubscribe",
        "error",
        "notice",
        "channel",
        "instId",
        "tradeId",
        "px",
        "sz",
        "side",
        "ts",
        "count",
        "seqId",
        "event",
        "arg",
        "data",
        "code",
        "msg",
        "buy",
        "sell",
        "0",
        "60018",
        "64008",
        "BTC-USDT",
    ],
};

/// Frames and pages of Binance: see the module of the others.
pub fn binance(data: &[u8]) {
    run(&BINANCE, data);
}

/// Frames and pages of Coinbase.
pub fn coinbase(data: &[u8]) {
    run(&COINBASE, data);
}

/// Frames and pages of OKX.
pub fn okx(data: &[u8]) {
    run(&OKX, data);
}

/// The decoder for the venue's own key order and the one for any order give the same events.
/// Invalid JSON gives no trade. A trade's numbers are possible. A row that cannot be read does not
/// affect other rows.
fn run(venue: &Venue, data: &[u8]) {
    let exchange = registry::find(venue.name).expect("it is registered");
    match Form::of(data) {
        None => {}
        Some(Form::Raw(bytes)) => {
            check_pages(exchange, bytes);
            if let Ok(text) = std::str::from_utf8(bytes) {
                check_frame(exchange, text);
                if let Ok(trade) = exchange.parse_dump_line(text) {
                    check_trade(&trade);
                }
            }
        }
        Some(Form::Made(mut u)) => {
            let _ = made(venue, exchange, &mut u);
        }
    }
}

fn made(venue: &Venue, exchange: &dyn Exchange, u: &mut Unstructured<'_>) -> Result<()> {
    match u.int_in_range(0..=5u8)? {
        0..=2 => {
            let frames: Vec<&str> = venue.frames.lines().collect();
            let template = u.choose(&frames)?;
            check_frame(exchange, &vary(u, template, venue.words)?);
        }
        3 => {
            let template = u.choose(venue.trades)?;
            check_pages(exchange, vary(u, template, venue.words)?.as_bytes());
        }
        4 => {
            let templates = [venue.bars, venue.symbols];
            let template = u.choose(&templates)?;
            check_pages(exchange, vary(u, template, venue.words)?.as_bytes());
        }
        _ => {
            let mut cells = Vec::new();
            for _ in 0..u.int_in_range(1..=10)? {
                let cell = crate::json::value(u, &["True", "false", "1700000000000", "1.5"])?;
                cells.push(cell.trim_matches('"').to_owned());
            }
            if let Ok(trade) = exchange.parse_dump_line(&cells.join(",")) {
                check_trade(&trade);
            }
        }
    }
    Ok(())
}

fn check_frame(exchange: &dyn Exchange, frame: &str) {
    let read = events(exchange, frame);
    if frame.starts_with('{') {
        // A venue never writes this trailing space, so the other decoder is used.
        assert_eq!(read, events(exchange, &format!("{frame} ")), "{frame}");
        let has_trade = read.0.iter().any(|event| event.starts_with("Trade"));
        if has_trade && read.1 {
            serde_json::from_str::<IgnoredAny>(frame).expect("what brings trades is JSON");
        }
    }
}

/// What a frame says, and whether that was all.
fn events(exchange: &dyn Exchange, frame: &str) -> (Vec<String>, bool) {
    let mut events = Vec::new();
    let outcome = exchange.decode(frame, 7, &mut |event| {
        if let Event::Trade { trade, .. } = &event {
            check_trade(trade);
        }
        events.push(format!("{event:?}"));
    });
    (events, outcome.is_ok())
}

fn check_trade(trade: &Trade) {
    assert!(trade.first_id <= trade.last_id && trade.last_id <= ID_MAX);
    assert!(TIMES_MS.contains(&trade.event_ms));
    assert!(!trade.quantity.amount().is_zero());
}

fn check_pages(exchange: &dyn Exchange, body: &[u8]) {
    if let Ok(page) = exchange.parse_trades_page(body, 7) {
        page.trades.iter().for_each(check_trade);
        assert!(page.rows() <= body.len());
    }
    if let Ok(bars) = exchange.parse_bars_page(body) {
        assert!(bars.len() <= body.len());
    }
    if let Ok(symbols) = exchange.parse_symbols_page(body) {
        assert!(symbols.len() <= body.len());
    }
    for status in [200, 400, 404] {
        let _ = exchange.rest_fault(status, body);
    }
}
