//! OKX's texts, against its documentation's examples.

use super::*;
use crate::instrument::Venue;

#[test]
fn a_trade_has_the_fields_of_a_captured_one() {
    let captured: serde_json::Value = serde_json::from_str(
        r#"{"arg":{"channel":"trades","instId":"BTC-USDT"},"data":[{"instId":"BTC-USDT","tradeId":"338476308","px":"30243.5","sz":"0.001","side":"buy","ts":"1652459226050"}]}"#,
    )
    .expect("a JSON object");
    let instrument = Instrument::captured(Venue::Okx, "BTC-USDT", 1, 8);
    let sample = Trade {
        id: 338_476_308,
        aggregate_id: 1,
        count: 1,
        event_us: 1_652_459_226_050_000,
        price: 3_024_350_000_000,
        quantity: 100_000,
        taker_buys: true,
    };
    let ours: serde_json::Value = serde_json::from_str(&frame(
        "trades",
        &instrument,
        &aggregate(&instrument, &[sample]),
    ))
    .expect("a JSON object");
    assert_eq!(ours["arg"], captured["arg"]);
    for key in ["instId", "tradeId", "px", "sz", "side", "ts"] {
        assert_eq!(ours["data"][0][key], captured["data"][0][key], "{key}");
    }
    assert_eq!(ours["data"][0]["count"], "1");
}
