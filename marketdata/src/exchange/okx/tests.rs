use super::*;
use crate::exchange::tests::{describe, fixture_events};
use crate::exchange::{BarArchive, TradeArchive};

const FRAMES: &str = include_str!("../../../fixtures/okx/frames.jsonl");

#[test]
fn fixture_frames_decode_as_documented() {
    assert_eq!(
        fixture_events(&Okx, FRAMES),
        [
            "BTC-USDT 130639472..130639474 42219.9 x 0.12060306 buy at 1630048897897 stamped 1630048897897",
            "BTC-USDT 338476308..338476308 30243.5 x 0.001 sell at 1652459226050 stamped 1652459226050",
            "BTC-USDT 338476309..338476309 30243.5 x 0.0002 buy at 1652459226050 stamped 1652459226050",
            "subscribed BTC-USDT",
            "refused None Invalid request: {\"op\": \"subscribe\"}",
            "closing soon",
            "ignored",
            "ignored",
            "ignored",
            "BTC-USDT Ticker { open: Some(9000), high: Some(10000), low: Some(8888.88), last: 9999.99, last_quantity: Some(0.1), volume: Amount { mantissa: 2223, scale: 0, is_rounded: false }, quote_volume: Some(Amount { mantissa: 2222, scale: 0, is_rounded: false }), count: None, ids: None, bid: Some(8888.88), bid_quantity: Some(5), ask: Some(9999.99), ask_quantity: Some(11), event_ms: Some(1597026383085), received_us: 7 }",
            "BCH-USDT-SWAP bid nothing ask 111.06 x 55154 number Some(363996337) at Some(1670324386802)",
            "unknown",
            "malformed: side of a trade",
            "malformed: count",
            "malformed: trades",
            "malformed: frame",
        ]
    );
}

#[test]
fn a_page_of_trades_is_parsed() {
    let page = include_str!("../../../fixtures/okx/history_trades.json");
    let trades = Okx.parse_trades_page(page.as_bytes(), 7).expect("a page");
    let described: Vec<String> = trades.trades.iter().map(describe).collect();
    assert_eq!(
        described,
        [
            "242720720..242720720 29974.6 x 0.001 sell at 1654161646974",
            "242720719..242720719 29974.6 x 0.1 buy at 1654161641568",
        ]
    );
    let error = br#"{"code":"50011","msg":"Too Many Requests","data":[]}"#;
    assert!(Okx.parse_trades_page(error, 7).is_err());
}

#[test]
fn derivatives_have_a_symbol_too() {
    assert_eq!(
        Okx.pair_of("BTC-USD-220527").as_deref(),
        Some("BTC-USD_220527")
    );
    assert_eq!(Okx.native_name("BTC", "USD_220527"), "BTC-USD-220527");
}

#[test]
fn venue_bars_come_oldest_first() {
    let page = include_str!("../../../fixtures/okx/history_candles.json");
    let bars = Okx.parse_bars_page(page.as_bytes()).expect("a page");
    assert_eq!(
        bars.iter()
            .map(|bar| (bar.start_ms, bar.close.as_str()))
            .collect::<Vec<_>>(),
        [(1_597_026_360_000, "8551.8"), (1_597_026_420_000, "8549.1")]
    );
}
