//! Paths and queries of HTTP requests.

use super::*;

#[test]
fn paths_tell_the_venues_apart() {
    for (path, venue) in [
        ("/", Some(Venue::Coinbase)),
        ("/ws", Some(Venue::Binance)),
        ("/ws/0", Some(Venue::Binance)),
        ("/ws/btcusdt@trade/ethusdt@trade", Some(Venue::Binance)),
        ("/stream", Some(Venue::Binance)),
        ("/ws/v5/public", Some(Venue::Okx)),
        ("/ws/v5/business", Some(Venue::Okx)),
        ("/ws/v5/private", None),
        ("/nothing", None),
    ] {
        assert_eq!(websocket_venue(path), venue, "{path}");
    }
}

#[test]
fn queries_are_unescaped() {
    assert_eq!(
        query_of("symbols=%5B%22BTCUSDT%22%5D&a=1+2&b=%zz&c"),
        [
            ("symbols", "[\"BTCUSDT\"]"),
            ("a", "1 2"),
            ("b", "%zz"),
            ("c", "")
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
    );
}
