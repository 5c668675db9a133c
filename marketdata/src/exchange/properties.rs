//! Frames and rows of every venue with extremes in each field, keys in any order, nesting and cuts.

use proptest::prelude::*;

use super::registry::find;

/// A template: `$` stands for a value, one for each of the fixture's own.
struct Shape {
    exchange: &'static str,
    /// Around the fields.
    head: &'static str,
    tail: &'static str,
    /// Keys and values as the venue writes them, in its order.
    fields: &'static [(&'static str, &'static str)],
}

const SHAPES: [Shape; 5] = [
    Shape {
        exchange: "binance",
        head: "{",
        tail: "}",
        fields: &[
            ("e", r#""trade""#),
            ("E", "1723161255343"),
            ("s", r#""BTCUSDT""#),
            ("t", "3735683259"),
            ("p", r#""61837.63000000""#),
            ("q", r#""0.02000000""#),
            ("T", "1723161255342"),
            ("m", "true"),
            ("M", "true"),
        ],
    },
    Shape {
        exchange: "binance",
        head: r#"{"stream":"btcusdt@aggTrade","data":{"#,
        tail: "}}",
        fields: &[
            ("e", r#""aggTrade""#),
            ("E", "1626992741500"),
            ("s", r#""BTCUSDT""#),
            ("a", "17"),
            ("p", r#""61837.63""#),
            ("q", r#""0.050""#),
            ("f", "100"),
            ("l", "102"),
            ("T", "1626992741499"),
            ("m", "false"),
            ("M", "true"),
        ],
    },
    Shape {
        exchange: "coinbase",
        head: "{",
        tail: "}",
        fields: &[
            ("type", r#""match""#),
            ("trade_id", "280232"),
            ("maker_order_id", r#""2a0d""#),
            ("taker_order_id", r#""3c82""#),
            ("side", r#""sell""#),
            ("size", r#""985""#),
            ("price", r#""0.00001305""#),
            ("product_id", r#""SKL-BTC""#),
            ("sequence", "177100030"),
            ("time", r#""2021-04-17T16:43:37.089723Z""#),
        ],
    },
    Shape {
        exchange: "okx",
        head: r#"{"arg":{"channel":"trades","instId":"BTC-USDT"},"data":[{"#,
        tail: "}]}",
        fields: &[
            ("instId", r#""BTC-USDT""#),
            ("tradeId", r#""338476307""#),
            ("px", r#""30236""#),
            ("sz", r#""0.0002""#),
            ("side", r#""buy""#),
            ("ts", r#""1652459224818""#),
            ("count", r#""3""#),
            ("source", r#""0""#),
            ("seqId", "1234"),
        ],
    },
    Shape {
        exchange: "okx",
        head: r#"{"arg":{"channel":"trades","instId":"BTC-USDT"},"data":[{"#,
        tail: "}]}",
        fields: &[
            ("instId", r#""BTC-USDT""#),
            ("tradeId", r#""338476307""#),
            ("px", r#""30236""#),
            ("sz", r#""0.0002""#),
            ("side", r#""sell""#),
            ("ts", r#""1652459224818""#),
        ],
    },
];

/// A JSON value that no venue writes, or hardly ever.
fn extreme() -> impl Strategy<Value = String> {
    prop_oneof![
        proptest::sample::select(vec![
            "0",
            "-0",
            "-1",
            "1e5",
            "1E400",
            "-1e-400",
            "0.5",
            "18446744073709551615",
            "18446744073709551616",
            "9223372036854775807",
            "-9223372036854775808",
            "999999999999999999",
            "1000000000000000000",
            "253402300799999",
            "253402300800000",
            "null",
            "true",
            "false",
            "[]",
            "{}",
            r#""""#,
            r#""0""#,
            r#""-0""#,
            r#""-1""#,
            r#""+1""#,
            r#""1e-12""#,
            r#""1e400""#,
            r#""NaN""#,
            r#""inf""#,
            r#"".5""#,
            r#""5.""#,
            r#""00.5""#,
            r#"" 1""#,
            r#""0.000000000000000000000001""#,
            r#""18446744073709551615""#,
            r#""18446744073709551616""#,
            r#""9223372036854775807""#,
            r#""-9223372036854775808""#,
            r#""trade""#,
            r#""aggTrade""#,
            r#""match""#,
            r#""last_match""#,
            r#""buy""#,
            r#""SELL""#,
            r#""tr\u0061de""#,
            r#""\ud800""#,
            r#""9999-12-31T23:59:59.999999999Z""#,
            r#""0000-00-00T00:00:00Z""#,
            r#""2021-02-30T25:61:61Z""#,
            r#""2021-04-17T16:43:37+01:00""#,
        ])
        .prop_map(str::to_owned),
        any::<i64>().prop_map(|number| number.to_string()),
        any::<u64>().prop_map(|number| format!("\"{number}\"")),
        (1usize..400).prop_map(|digits| "9".repeat(digits)),
        (1usize..400).prop_map(|digits| format!("\"{}\"", "9".repeat(digits))),
        (1usize..400).prop_map(|digits| format!("\"0.{}1\"", "0".repeat(digits))),
        (1usize..200).prop_map(|depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth))),
        (1usize..200).prop_map(|depth| format!(
            "{}1{}",
            "{\"a\":".repeat(depth),
            "}".repeat(depth)
        )),
        "[ -~]{0,20}".prop_map(|text| serde_json::to_string(&text).expect("text")),
    ]
}

fn render(shape: &Shape, fields: &[(String, String)], comma: &str) -> String {
    let fields: Vec<String> = fields
        .iter()
        .map(|(key, value)| format!("\"{key}\":{value}"))
        .collect();
    format!("{}{}{}", shape.head, fields.join(comma), shape.tail)
}

/// Events as text, or `None` for an error.
fn decoded(exchange: &str, frame: &str) -> Option<Vec<String>> {
    let mut events = Vec::new();
    let exchange = find(exchange).expect("registered");
    let outcome = exchange.decode(frame, 7, &mut |event| events.push(format!("{event:?}")));
    outcome.ok().map(|()| events)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn frames_with_extreme_fields_mean_the_same_in_any_order_and_spacing(
        shape in 0..SHAPES.len(),
        extremes in proptest::collection::vec((any::<proptest::sample::Index>(), extreme()), 0..4),
        order in any::<u64>(),
        missing in proptest::option::of(any::<proptest::sample::Index>()),
        cut in any::<proptest::sample::Index>(),
    ) {
        let shape = &SHAPES[shape];
        let own = shape.fields.iter();
        let mut fields: Vec<(String, String)> = own
            .map(|&(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        for (index, value) in extremes {
            let index = index.index(fields.len());
            fields[index].1 = value;
        }
        if let Some(missing) = missing {
            fields.remove(missing.index(fields.len()));
        }
        let frame = render(shape, &fields, ",");
        let expected = decoded(shape.exchange, &frame);
        prop_assert_eq!(&decoded(shape.exchange, &render(shape, &fields, " , ")), &expected, "{}", frame);
        let mut shuffled = fields.clone();
        let mut state = order | 1;
        for index in (1..shuffled.len()).rev() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            shuffled.swap(index, (state >> 33) as usize % (index + 1));
        }
        prop_assert_eq!(&decoded(shape.exchange, &render(shape, &shuffled, ",")), &expected, "{}", frame);
        let at = (0..=cut.index(frame.len())).rev().find(|&at| frame.is_char_boundary(at));
        let head = &frame[..at.unwrap_or(0)];
        prop_assert_eq!(decoded(shape.exchange, head), None, "a cut frame is no frame: {}", head);
    }

    #[test]
    fn rows_with_extreme_fields_cost_no_other_row(
        which in 0usize..3,
        extremes in proptest::collection::vec((any::<proptest::sample::Index>(), extreme()), 1..4),
    ) {
        let (exchange, head, tail, row): (_, _, _, &[(&str, &str)]) = [
            ("binance", "[", "]", &[("id", "28457"), ("price", r#""4.00000100""#), ("qty", r#""12.0""#), ("time", "1499865549590"), ("isBuyerMaker", "true")][..]),
            ("coinbase", "[", "]", &[("trade_id", "74"), ("side", r#""sell""#), ("size", r#""0.01""#), ("price", r#""10.0""#), ("time", r#""2014-11-07T22:19:28.578544Z""#)]),
            ("okx", r#"{"code":"0","msg":"","data":["#, "]}", &[("instId", r#""BTC-USDT""#), ("side", r#""sell""#), ("sz", r#""0.001""#), ("px", r#""29974.6""#), ("tradeId", r#""242720720""#), ("ts", r#""1654161646974""#)]),
        ][which];
        let exchange = find(exchange).expect("registered");
        let mut fields: Vec<(&str, String)> = row.iter().map(|&(key, value)| (key, value.to_owned())).collect();
        let text = |fields: &[(&str, String)]| {
            let fields: Vec<String> = fields.iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
            format!("{{{}}}", fields.join(","))
        };
        let good = text(&fields);
        for (index, value) in extremes {
            let index = index.index(fields.len());
            fields[index].1 = value;
        }
        let odd = text(&fields);
        let page = exchange.parse_trades_page(format!("{head}{good},{odd},{good}{tail}").as_bytes(), 0);
        // Numbers and nesting beyond what JSON readers take spoil the page.
        if let Ok(page) = page {
            prop_assert_eq!(page.rows(), 3);
            let alone = exchange.parse_trades_page(format!("{head}{good}{tail}").as_bytes(), 0).expect("a page");
            let same = page.trades.iter().filter(|&trade| *trade == alone.trades[0]).count();
            prop_assert!(same >= 2, "{}", odd);
        }
    }
}
