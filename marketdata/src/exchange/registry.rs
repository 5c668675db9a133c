//! The known venues: one line each.

use super::Exchange;
use super::binance::Binance;
use super::coinbase::Coinbase;
use super::okx::Okx;

/// Every venue, in the order of the documentation.
pub const EXCHANGES: [&dyn Exchange; 3] = [
    &Binance, //
    &Coinbase, &Okx,
];

/// The venue of that name.
#[must_use]
pub fn find(name: &str) -> Option<&'static dyn Exchange> {
    EXCHANGES
        .into_iter()
        .find(|exchange| exchange.name() == name)
}

/// The names for a message: `binance, coinbase, okx`.
#[must_use]
pub fn names() -> String {
    EXCHANGES.map(|exchange| exchange.name()).join(", ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::exchange::{PagingDirection, RestFault, Wanted};

    #[test]
    fn pairs_and_native_names_round_trip_on_every_venue() {
        for exchange in EXCHANGES {
            for (base, quote) in [("BTC", "USDT"), ("ETH", "USD"), ("1INCH", "BTC")] {
                let native = exchange.native_name(base, quote);
                let pair = exchange.pair_of(&native);
                assert_eq!(pair, Some(format!("{base}-{quote}")), "{}", exchange.name());
            }
        }
    }

    #[test]
    fn every_symbol_is_in_exactly_one_subscribe_frame() {
        for exchange in EXCHANGES {
            let natives: Vec<String> = (0..1_000)
                .map(|index| exchange.native_name(&format!("C{index}"), "USD"))
                .collect();
            let natives: Vec<&str> = natives.iter().map(String::as_str).collect();
            let frames = exchange.subscribe(&natives, Wanted::default(), 7);
            let subscribed: Vec<&String> = frames.iter().flat_map(|frame| &frame.natives).collect();
            assert_eq!(subscribed, natives.iter().collect::<Vec<_>>());
            for (index, frame) in frames.iter().enumerate() {
                assert_eq!(frame.id, 7 + index as u64);
                assert!(frame.natives.len() <= exchange.limits().streams_per_subscribe);
                serde_json::from_str::<serde_json::Value>(&frame.text).expect("valid JSON");
            }
        }
    }

    #[test]
    fn what_is_wanted_besides_trades_is_in_the_frame_of_its_symbol() {
        let wanted = Wanted {
            quotes: true,
            tickers: true,
        };
        for (exchange, names) in [
            (
                "binance",
                ["btcusd@trade", "btcusd@bookTicker", "btcusd@ticker"],
            ),
            ("coinbase", ["matches", "heartbeat", "\"ticker\""]),
            ("okx", ["\"trades\"", "\"bbo-tbt\"", "\"tickers\""]),
        ] {
            let exchange = find(exchange).expect("registered");
            let native = exchange.native_name("BTC", "USD");
            let text = |wanted| exchange.subscribe(&[&native], wanted, 1)[0].text.clone();
            assert!(names.iter().all(|name| text(wanted).contains(name)));
            assert!(text(Wanted::default()).contains(names[0]));
            assert!(!text(Wanted::default()).contains(names[2]));
        }
    }

    #[test]
    fn each_pages_in_one_direction() {
        for exchange in EXCHANGES {
            let ask = match exchange.paging().direction {
                PagingDirection::Forward => crate::exchange::PageAsk::FromId(17),
                PagingDirection::Backward => crate::exchange::PageAsk::Below(Some(17)),
            };
            let request = exchange.trades_page("X", ask);
            assert!(request.path_and_query.starts_with('/'));
            assert!(request.path_and_query.contains("17"));
            assert!(request.weight > 0);
        }
    }

    #[test]
    fn one_row_that_cannot_be_read_costs_one_row_of_its_page() {
        for (exchange, page, damages) in [
            (
                "binance",
                include_str!("../../fixtures/binance/historical_trades.json"),
                [
                    ("\"4.000002", "\"4.0000020000000000000000000001"),
                    ("28458", "-1"),
                ],
            ),
            (
                "coinbase",
                include_str!("../../fixtures/coinbase/trades.json"),
                [
                    ("\"side\":\"buy\"", "\"side\":\"none\""),
                    ("\"trade_id\":73", "\"trade_id\":-73"),
                ],
            ),
            (
                "okx",
                include_str!("../../fixtures/okx/history_trades.json"),
                [
                    ("\"side\":\"buy\"", "\"side\":7"),
                    ("\"ts\":\"", "\"ts\":\"x"),
                ],
            ),
        ] {
            let exchange = find(exchange).expect("registered");
            let whole = exchange
                .parse_trades_page(page.as_bytes(), 0)
                .expect("a page");
            assert_eq!(whole.unreadable, 0);
            for (from, to) in damages {
                let damaged = page.replacen(from, to, 1);
                assert_ne!(damaged, page, "{from}");
                let rest = exchange
                    .parse_trades_page(damaged.as_bytes(), 0)
                    .expect("a page");
                assert_eq!(
                    (rest.rows(), rest.unreadable),
                    (whole.rows(), 1),
                    "{damaged}"
                );
                assert!(rest.trades.iter().all(|trade| whole.trades.contains(trade)));
            }
        }
    }

    #[test]
    fn a_symbol_that_a_venue_does_not_have_is_told_from_other_refusals() {
        for (exchange, status, body, fault) in [
            (
                "binance",
                400,
                r#"{"code":-1121,"msg":"Invalid symbol."}"#,
                Some(RestFault::UnknownSymbol),
            ),
            (
                "binance",
                400,
                r#"{"code":-1100,"msg":"Illegal characters"}"#,
                Some(RestFault::Refused),
            ),
            ("binance", 200, "[]", None),
            (
                "coinbase",
                404,
                r#"{"message":"NotFound"}"#,
                Some(RestFault::UnknownSymbol),
            ),
            ("coinbase", 404, "<html>", Some(RestFault::Refused)),
            (
                "okx",
                200,
                r#"{"code":"51001","msg":"Instrument ID does not exist","data":[]}"#,
                Some(RestFault::UnknownSymbol),
            ),
            (
                "okx",
                200,
                r#"{"code":"50011","msg":"Too Many Requests"}"#,
                Some(RestFault::TooMany),
            ),
            (
                "okx",
                200,
                r#"{"code":"50001","msg":"Service temporarily unavailable"}"#,
                Some(RestFault::Unavailable),
            ),
            (
                "okx",
                200,
                r#"{"code":"0","msg":"","data":[{"instId":"BTC-USDT"}]}"#,
                None,
            ),
            ("okx", 429, "", Some(RestFault::TooMany)),
        ] {
            let exchange = find(exchange).expect("registered");
            assert_eq!(
                exchange.rest_fault(status, body.as_bytes()),
                fault,
                "{body}"
            );
        }
    }

    /// Text near enough to a venue's frames to get past the first key.
    fn frame_like() -> impl Strategy<Value = String> {
        let value = prop_oneof![
            Just("null".to_owned()),
            Just("true".to_owned()),
            Just("[]".to_owned()),
            Just("{}".to_owned()),
            any::<i64>().prop_map(|number| number.to_string()),
            "[ -~]{0,12}".prop_map(|text| serde_json::to_string(&text).expect("text")),
            Just("\"trade\"".to_owned()),
            Just("\"match\"".to_owned()),
            Just("\"1.5\"".to_owned()),
        ];
        let key = proptest::sample::select(vec![
            "e",
            "E",
            "s",
            "t",
            "p",
            "q",
            "T",
            "m",
            "f",
            "l",
            "a",
            "stream",
            "data",
            "type",
            "trade_id",
            "time",
            "price",
            "size",
            "side",
            "product_id",
            "arg",
            "event",
            "code",
            "instId",
            "tradeId",
            "px",
            "sz",
            "ts",
            "count",
            "result",
            "id",
            "X",
            "channel",
        ]);
        proptest::collection::vec((key, value), 0..10).prop_map(|fields| {
            let fields: Vec<String> = fields
                .into_iter()
                .map(|(key, value)| format!("\"{key}\":{value}"))
                .collect();
            format!("{{{}}}", fields.join(","))
        })
    }

    proptest! {
        #[test]
        fn arbitrary_frames_and_pages_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let text = String::from_utf8_lossy(&bytes);
            for exchange in EXCHANGES {
                let _ = exchange.decode(&text, 0, &mut |_| {});
                let _ = exchange.parse_trades_page(&bytes, 0);
                let _ = exchange.parse_bars_page(&bytes);
            }
        }

        #[test]
        fn frames_of_known_keys_and_odd_values_never_panic(frame in frame_like()) {
            for exchange in EXCHANGES {
                let _ = exchange.decode(&frame, 0, &mut |_| {});
                for body in [format!("[{frame}]"), format!("{{\"code\":\"0\",\"data\":[{frame}]}}")] {
                    let _ = exchange.parse_trades_page(body.as_bytes(), 0);
                    let _ = exchange.parse_bars_page(body.as_bytes());
                }
            }
        }

        #[test]
        fn a_damaged_fixture_never_panics(index in 0usize..200, byte in 32u8..127) {
            for (exchange, frames) in [
                ("binance", include_str!("../../fixtures/binance/frames.jsonl")),
                ("coinbase", include_str!("../../fixtures/coinbase/frames.jsonl")),
                ("okx", include_str!("../../fixtures/okx/frames.jsonl")),
            ] {
                let exchange = find(exchange).expect("registered");
                for frame in frames.lines() {
                    let mut bytes = frame.as_bytes().to_vec();
                    let at = index % bytes.len();
                    bytes[at] = byte;
                    let damaged = String::from_utf8_lossy(&bytes).into_owned();
                    let _ = exchange.decode(&damaged, 0, &mut |_| {});
                    let _ = exchange.decode(&frame[..at], 0, &mut |_| {});
                }
            }
        }

        #[test]
        fn a_damaged_page_never_panics_and_yields_no_more_than_its_bytes(at in 0usize..2_000, byte in any::<u8>(), repeats in 1usize..4) {
            for (exchange, pages) in [
                ("binance", [
                    include_str!("../../fixtures/binance/historical_trades.json"),
                    include_str!("../../fixtures/binance/agg_trades.json"),
                    include_str!("../../fixtures/binance/klines.json"),
                ]),
                ("coinbase", [
                    include_str!("../../fixtures/coinbase/trades.json"),
                    include_str!("../../fixtures/coinbase/candles.json"),
                    "[]",
                ]),
                ("okx", [
                    include_str!("../../fixtures/okx/history_trades.json"),
                    include_str!("../../fixtures/okx/history_candles.json"),
                    "[]",
                ]),
            ] {
                let exchange = find(exchange).expect("registered");
                for page in pages {
                    let mut damaged = page.as_bytes().to_vec();
                    let at = at % damaged.len();
                    damaged[at] = byte;
                    let piece = damaged[at..].repeat(repeats);
                    for body in [&damaged[..], &damaged[..at], &piece] {
                        let page = exchange.parse_trades_page(body, 0).unwrap_or_default();
                        prop_assert!(page.rows() <= body.len());
                        let bars = exchange.parse_bars_page(body).unwrap_or_default();
                        prop_assert!(bars.len() <= body.len());
                    }
                }
            }
        }
    }
}
