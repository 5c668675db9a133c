//! Coinbase's texts, against its documentation's examples.

use super::*;
use crate::instrument::Venue;

#[test]
fn a_match_has_the_shape_of_a_captured_one() {
    let captured: serde_json::Value = serde_json::from_str(
        r#"{"type":"match","trade_id":280232,"maker_order_id":"2a0da34e-61f7-4c36-88e5-c9dd15927b16","taker_order_id":"3c82abaa-c01e-4608-be59-6a1e69742891","side":"sell","size":"985","price":"0.00001305","product_id":"SKL-BTC","sequence":177100030,"time":"2021-04-17T16:43:37.089723Z"}"#,
    )
    .expect("a JSON object");
    let instrument = Instrument::captured(Venue::Coinbase, "SKL-BTC", 8, 8);
    let trade = Trade {
        id: 280_232,
        aggregate_id: 1,
        count: 1,
        event_us: 1_618_677_817_089_723,
        price: 1_305,
        quantity: 98_500_000_000,
        // The maker sold, so the taker bought.
        taker_buys: true,
    };
    let ours: serde_json::Value =
        serde_json::from_str(&matched(&instrument, &trade, "match")).expect("a JSON object");
    for key in [
        "type",
        "trade_id",
        "side",
        "size",
        "price",
        "product_id",
        "time",
    ] {
        assert_eq!(ours[key], captured[key], "{key}");
    }
    let keys = |value: &serde_json::Value| {
        value
            .as_object()
            .expect("an object")
            .keys()
            .cloned()
            .collect::<Vec<_>>()
    };
    assert_eq!(keys(&ours), keys(&captured));
    assert_eq!(ours["maker_order_id"].as_str().map(str::len), Some(36));
}

#[test]
fn the_sequence_rises_and_jumps() {
    let steps: Vec<u64> = (1..1000)
        .map(|id| sequence(id + 1) - sequence(id))
        .collect();
    assert!(steps.iter().all(|step| *step >= 1));
    assert!(steps.iter().any(|step| *step > 1));
}
