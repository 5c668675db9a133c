//! Files with extreme and arbitrary content.

use proptest::prelude::*;

use super::*;

/// Numbers at the edges of what types hold.
const EXTREMES: [&str; 14] = [
    "0",
    "-1",
    "1",
    "9223372036854775807",
    "-9223372036854775808",
    "18446744073709551615",
    "99999999999999999999999999",
    "1e400",
    "NaN",
    "",
    "null",
    "\"\"",
    "1723075200000000000",
    "4102444799999",
];

/// One valid line of each format that a reader knows.
fn valid_lines() -> [(&'static str, String); 6] {
    [
        ("binance:BTC-USDT", csv_line(7, DAY_MS)),
        (
            "binance:BTC-USDT",
            format!("26129,0.01633102,4.7,27781,27783,{DAY_MS},true\n"),
        ),
        ("binance:BTC-USDT", frame("BTCUSDT", 7, DAY_MS, DAY_MS)),
        (
            "binance:BTC-USDT",
            format!(
                "{{\"a\":1,\"p\":\"0.5\",\"q\":\"1\",\"f\":1,\"l\":2,\"T\":{DAY_MS},\"m\":true}}\n"
            ),
        ),
        (
            "coinbase:BTC-USD",
            format!(
                "{}.5: {{\"type\":\"match\",\"trade_id\":7,\"maker_order_id\":\"a\",\"taker_order_id\":\"b\",\"side\":\"sell\",\"size\":\"1\",\"price\":\"2\",\"product_id\":\"BTC-USD\",\"sequence\":1,\"time\":\"2024-08-08T00:00:00.000000Z\"}}\n",
                DAY_MS / 1_000
            ),
        ),
        (
            "okx:BTC-USDT",
            format!(
                "{DAY_MS} {{\"arg\":{{\"channel\":\"trades\",\"instId\":\"BTC-USDT\"}},\"data\":[{{\"instId\":\"BTC-USDT\",\"tradeId\":\"7\",\"px\":\"1\",\"sz\":\"1\",\"side\":\"buy\",\"ts\":\"{DAY_MS}\",\"count\":\"1\"}}]}}\n"
            ),
        ),
    ]
}

/// The numbers of a line: where they begin and end.
fn numbers(line: &str) -> Vec<(usize, usize)> {
    let mut spans = Vec::new();
    let mut start = None;
    for (at, byte) in line.bytes().enumerate() {
        match (byte.is_ascii_digit(), start) {
            (true, None) => start = Some(at),
            (false, Some(from)) => {
                spans.push((from, at));
                start = None;
            }
            _ => {}
        }
    }
    spans
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]
    /// Whatever stands in a line's numbers, and however lines are cut or joined: bars or an error.
    #[test]
    fn lines_of_extreme_numbers_give_bars_or_an_error(
        format in 0usize..6,
        changes in proptest::collection::vec((0usize..1_000, 0usize..EXTREMES.len()), 1..8),
        cut in proptest::option::of(0usize..200),
        is_split in any::<bool>(),
    ) {
        let (instrument, valid) = valid_lines()[format].clone();
        let mut content = valid.clone();
        for (at, extreme) in changes {
            let mut line = valid.clone();
            let places = numbers(&line);
            let (from, to) = places[at % places.len()];
            line.replace_range(from..to, EXTREMES[extreme]);
            content += &line;
        }
        content += &valid;
        if let Some(cut) = cut {
            content.truncate(cut);
        }
        let exchange = instrument.split(':').next().expect("a name");
        let flags = ["--exchange", exchange, "--instruments", instrument, "--timeframes", "1d", "--final-only"];
        let files = if is_split { vec![content.as_str(), valid.as_str()] } else { vec![content.as_str()] };
        if let Ok((csv, summary)) = replayed(&flags, &files) {
            prop_assert!(summary.trades > 0);
            // Two widths of a century's days: nothing is invented without end.
            prop_assert!(csv.lines().count() < 80_000);
        }
    }

    #[test]
    fn arbitrary_bytes_give_bars_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let file = temp_file(&bytes);
        let magics: [&[u8]; 3] = [b"", b"PK\x03\x04", &[0x1f, 0x8b, 8]];
        for magic in magics {
            let packed = temp_file(&[magic, &bytes].concat());
            let _ = replay_of(&OF_BTC, &[&packed.0, &file.0]);
        }
    }
}

#[test]
fn a_line_without_an_end_does_not_fill_the_memory() {
    // 40 MB without a newline: more than a line may have.
    let mut content = csv_line(1, DAY_MS).into_bytes();
    content.extend(std::iter::repeat_n(b'7', 40 << 20));
    content.push(b'\n');
    content.extend(csv_line(2, DAY_MS + 1).bytes());
    let file = temp_file(&content);
    let (_, summary) = replay_of(&OF_BTC, &[&file.0]).expect("bars");
    assert_eq!((summary.trades, summary.unreadable_lines), (2, 1));
}
