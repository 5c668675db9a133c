use super::*;
use crate::exchange::tests::{describe, fixture_events};
use crate::exchange::{BarArchive, TradeArchive};

const FRAMES: &str = include_str!("../../../fixtures/binance/frames.jsonl");

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
            "BTCUSDT bid 61837.63 x 3.78826 ask 61837.64 x 1.54698 number Some(50093239212) at None",
            "BTCUSDT bid 61837.63 x 3.5 ask nothing number Some(2) at None",
            "BNBBTC Ticker { open: Some(0.001), high: Some(0.0025), low: Some(0.001), last: 0.0025, last_quantity: Some(10), volume: Amount { mantissa: 10000, scale: 0, is_rounded: false }, quote_volume: Some(Amount { mantissa: 18, scale: 0, is_rounded: false }), count: Some(18151), ids: Some((0, 18150)), bid: Some(0.0024), bid_quantity: Some(10), ask: Some(0.0026), ask_quantity: Some(100), event_ms: Some(1672515782136), received_us: 7 }",
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
        include_str!("../../../fixtures/binance/historical_trades.json"),
        include_str!("../../../fixtures/binance/agg_trades.json"),
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
    let page = include_str!("../../../fixtures/binance/klines.json");
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
