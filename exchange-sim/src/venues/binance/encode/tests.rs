//! Binance's texts, against its documentation's examples.

use super::*;
use crate::instrument::{Venue, listing};

fn instrument(symbol: &str) -> Instrument {
    Instrument {
        symbol: symbol.to_owned(),
        ..Instrument::captured(Venue::Binance, symbol, 8, 8)
    }
}

#[test]
fn a_trade_reads_as_it_was_captured() {
    let captured = r#"{"e":"trade","E":1723161255343,"s":"BTCUSDT","t":3735683259,"p":"61837.63000000","q":"0.02000000","T":1723161255342,"m":true,"M":true}"#;
    let sample = Trade {
        id: 3_735_683_259,
        aggregate_id: 1,
        count: 1,
        event_us: 1_723_161_255_342_000,
        price: 6_183_763_000_000,
        quantity: 2_000_000,
        taker_buys: false,
    };
    assert_eq!(
        trade(&listing(0)[0], &sample, 1_723_161_255_343_000, false),
        captured
    );
}

#[test]
fn an_aggregate_and_a_kline_read_as_they_were_captured() {
    let captured = r#"{"e":"aggTrade","E":1633998288468,"s":"OMGBUSD","a":425085,"p":"13.80480000","q":"2.10000000","f":439577,"l":439577,"T":1633998288467,"m":false,"M":true}"#;
    let sample = Trade {
        id: 439_577,
        aggregate_id: 425_085,
        count: 1,
        event_us: 1_633_998_288_467_000,
        price: 1_380_480_000,
        quantity: 210_000_000,
        taker_buys: true,
    };
    assert_eq!(
        aggregate(
            &instrument("OMGBUSD"),
            &[sample],
            1_633_998_288_468_000,
            false
        ),
        captured
    );

    let captured = r#"{"e":"kline","E":1633998288469,"s":"OMGBUSD","k":{"t":1633998240000,"T":1633998299999,"s":"OMGBUSD","i":"1m","f":439572,"L":439577,"o":"13.72120000","c":"13.80480000","h":"13.80480000","l":"13.72120000","v":"183.49000000","n":6,"x":false,"q":"2519.85628300","V":"125.78000000","Q":"1726.63719800","B":"0"}}"#;
    let bar = Bar {
        start_ms: 1_633_998_240_000,
        open: 1_372_120_000,
        high: 1_380_480_000,
        low: 1_372_120_000,
        close: 1_380_480_000,
        volume: 18_349_000_000,
        quote_volume: 25_198_562_830_000_000_000,
        taker_buy_volume: 12_578_000_000,
        taker_buy_quote_volume: 17_266_371_980_000_000_000,
        count: 6,
        first_id: 439_572,
        last_id: 439_577,
        open_key: (0, 0),
        close_key: (0, 0),
    };
    let sample = Kline {
        bar: &bar,
        interval: Interval::MINUTE,
        offset_ms: 0,
    };
    assert_eq!(
        kline(
            &instrument("OMGBUSD"),
            "1m",
            sample,
            false,
            1_633_998_288_469_000,
            false
        ),
        captured
    );
}
