//! Lines of captures: which are read, and which are refused.

use super::*;

const BINANCE: &str = r#"1723161254087896568 {"stream":"btcusdt@trade","data":{"e":"trade","E":1723161255343,"s":"BTCUSDT","t":3735683259,"p":"61837.63000000","q":"0.02000000","T":1723161255342,"m":true,"M":true}}"#;
const COINBASE: &str = r#"1618677817.1295161: {"type":"match","trade_id":280232,"maker_order_id":"2a0da34e-61f7-4c36-88e5-c9dd15927b16","taker_order_id":"3c82abaa-c01e-4608-be59-6a1e69742891","side":"sell","size":"985","price":"0.00001305","product_id":"SKL-BTC","sequence":177100030,"time":"2021-04-17T16:43:37.089723Z"}"#;
const OKX: &str = r#"1652459226.1638422: {"arg":{"channel":"trades","instId":"BTC-USDT"},"data":[{"instId":"BTC-USDT","tradeId":"338476308","px":"30243.5","sz":"0.001","side":"buy","ts":"1652459226050"}]}"#;

#[test]
fn frames_of_the_three_venues_are_understood() {
    let binance = parse_line(BINANCE).expect("a record");
    assert_eq!(
        (binance.venue, binance.symbol.as_str()),
        (Venue::Binance, "BTCUSDT")
    );
    assert_eq!(binance.received_us, 1_723_161_254_087_896);
    assert_eq!(
        (binance.trades[0].id, binance.trades[0].taker_buys),
        (3_735_683_259, false)
    );
    let coinbase = parse_line(COINBASE).expect("a record");
    assert_eq!(coinbase.received_us, 1_618_677_817_129_516);
    assert_eq!(
        (coinbase.trades[0].event_us, coinbase.trades[0].taker_buys),
        (1_618_677_817_089_723, true)
    );
    let okx = parse_line(OKX).expect("a record");
    assert_eq!(
        (okx.trades[0].id, okx.trades[0].event_us),
        (338_476_308, 1_652_459_226_050_000)
    );
}

#[test]
fn other_lines_are_left_out() {
    for line in [
        "",
        "wss://ws.okx.com:8443/ws/v5/public <-> 1652459224.5300605",
        r#"wss://ws.okx.com:8443/ws/v5/public <- 1652459225.2987883: {"op":"subscribe","args":[]}"#,
        r#"https://api.pro.coinbase.com/products -> 1618677816.8414998: [{"id":"SKL-EUR"}]"#,
        r#"1723161254206652067 {"lastUpdateId":50093239218,"bids":[],"asks":[]}"#,
        r#"1652459225.5038888: {"event":"subscribe","arg":{"channel":"tickers","instId":"BTC-USDT"}}"#,
        "1723161254087896568 {\"stream\":",
    ] {
        assert!(parse_line(line).is_none(), "{line}");
    }
}

#[test]
fn only_the_times_of_a_shifted_frame_change() {
    let shift = |line: &str| {
        let record = parse_line(line).expect("a record");
        shift_times(&record.frame, record.channel, 2_000_000)
    };
    let frame = |line: &str| line.split_once(' ').expect("two parts").1.to_owned();
    assert_eq!(
        shift(BINANCE),
        frame(BINANCE)
            .replace("1723161255343", "1723161257343")
            .replace("1723161255342", "1723161257342")
    );
    assert_eq!(
        shift(COINBASE),
        frame(COINBASE).replace("16:43:37.089723", "16:43:39.089723")
    );
    assert_eq!(
        shift(OKX),
        frame(OKX).replace("1652459226050", "1652459228050")
    );
}
