use super::*;
use crate::exchange::tests::{describe, fixture_events};
use crate::exchange::{BarArchive, TradeArchive};

const FRAMES: &str = include_str!("../../../fixtures/coinbase/frames.jsonl");

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
            "ETH-USD bid 1285.04 x 0.46688654 ask 1285.27 x 1.5663704 number None at Some(1666222102061)",
            "ETH-USD Ticker { open: Some(1310.79), high: Some(1313.8), low: Some(1280.52), last: 1285.22, last_quantity: Some(11.4396987), volume: Amount { mantissa: 24553279269678, scale: 8, is_rounded: false }, quote_volume: None, count: None, ids: None, bid: Some(1285.04), bid_quantity: Some(0.46688654), ask: Some(1285.27), ask_quantity: Some(1.5663704), event_ms: Some(1666222102061), received_us: 7 }",
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
    let page = include_str!("../../../fixtures/coinbase/trades.json");
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
    let page = include_str!("../../../fixtures/coinbase/candles.json");
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
