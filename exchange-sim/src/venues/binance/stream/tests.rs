//! Names of streams, both ways.

use super::*;

#[test]
fn names_read_back() {
    for name in [
        "btcusdt@trade",
        "btcusdt@aggTrade",
        "btcusdt@kline_1M",
        "btcusdt@kline_1d@+08:00",
        "btcusdt@bookTicker",
        "btcusdt@miniTicker",
        "btcusdt@ticker",
        "btcusdt@avgPrice",
        "btcusdt@depth",
        "btcusdt@depth@100ms",
        "btcusdt@depth20",
        "btcusdt@depth5@100ms",
        "!miniTicker@arr",
        "1000satsusdt@trade",
    ] {
        let (symbol, stream) = parse_name(name).expect(name);
        assert_eq!(stream.name(&symbol), name);
    }
}

#[test]
fn what_is_no_stream_is_refused() {
    for name in [
        "",
        "0",
        "btcusdt",
        "@trade",
        "BTCUSDT@trade",
        "btcusdt@kline_7m",
        "btcusdt@depth7",
        "btcusdt@Trade",
        "é@trade",
    ] {
        assert_eq!(parse_name(name), None, "{name}");
    }
}
