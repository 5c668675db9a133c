//! The names of streams, and the topics that they stand for.
//!
//! Most streams of books and some others have no topics. A session may hold them, as clients
//! subscribe to them together with klines, but nothing comes. They are patterns below a root of
//! their own, which is not a channel, so that they are counted and listed like all others.

use market_core::binance::book::BOOK_STREAM;
use market_core::binance::{kline, parse_symbol, stream_of};
use market_core::channel::{BOOK, Channel, KLINE, QUOTE, TICKER, TRADE};
use market_core::{Topic, TopicPattern};

/// The first part of the patterns of silent streams.
const SILENT_ROOT: &str = "binance";
/// What stands for the `!` of streams of all symbols, which a topic cannot have.
const ALL_SYMBOLS: &str = "-";

/// The kinds of streams of a symbol that are channels here.
const CHANNELS: [(&str, Channel); 4] = [
    ("trade", TRADE),
    ("bookTicker", QUOTE),
    ("ticker", TICKER),
    (BOOK_STREAM, BOOK),
];

/// The kinds of streams that Binance has and that have no topics here.
const SILENT: [&str; 11] = [
    "aggTrade",
    "miniTicker",
    "avgPrice",
    "depth",
    "depth5",
    "depth10",
    "depth20",
    "ticker_1h",
    "ticker_4h",
    "ticker_1d",
    "blockTrade",
];

/// The topic of a stream such as `btcusdt@kline_1m`, or the pattern of a silent stream. `None` if
/// the text is not the name of a stream.
///
/// Capitals in the symbol are read as small letters.
#[must_use]
pub fn pattern_of(name: &str) -> Option<TopicPattern> {
    let (symbol, kind) = name.split_once('@')?;
    if let Some(interval) = kind.strip_prefix("kline_") {
        let symbol = parse_symbol(symbol)?;
        let topic = format!("{}:{interval}:{symbol}", KLINE.root);
        return topic.parse::<Topic>().ok().map(TopicPattern::from);
    }
    if let Some((_, channel)) = CHANNELS.iter().find(|(name, _)| *name == kind) {
        let topic = Topic::of_symbol(channel, &parse_symbol(symbol)?);
        return Some(TopicPattern::from(topic));
    }
    // A stream of all symbols has its kind in front: `!miniTicker@arr`.
    let (symbol, first) = match symbol.strip_prefix('!') {
        Some(all) => (format!("{ALL_SYMBOLS}{all}"), all),
        None => {
            let first = kind.split('@').next().unwrap_or_default();
            (symbol.to_ascii_lowercase(), first)
        }
    };
    if !SILENT.contains(&first) || symbol.contains(':') || kind.contains(':') {
        return None;
    }
    let text = format!("{SILENT_ROOT}:{symbol}:{}", kind.replace('@', ":"));
    text.parse::<Topic>().ok().map(TopicPattern::from)
}

/// Whether the pattern is that of a silent stream.
#[must_use]
pub fn is_silent(pattern: &TopicPattern) -> bool {
    silent_name(pattern).is_some()
}

fn silent_name(pattern: &TopicPattern) -> Option<&str> {
    pattern
        .as_str()
        .strip_prefix(SILENT_ROOT)?
        .strip_prefix(':')
}

/// The name of the stream of a pattern; `None` if it has none.
#[must_use]
pub fn name_of(pattern: &TopicPattern) -> Option<String> {
    if let Some(name) = silent_name(pattern) {
        let name = name.replace(':', "@");
        return Some(match name.strip_prefix(ALL_SYMBOLS) {
            Some(all) => format!("!{all}"),
            None => name,
        });
    }
    for (kind, channel) in &CHANNELS {
        if let Some(symbol) = channel.rest(pattern.as_str(), ':') {
            return stream_of(&symbol.parse().ok()?, kind);
        }
    }
    let (interval, symbol) = KLINE.rest(pattern.as_str(), ':')?.split_once(':')?;
    kline::stream_name(interval, &symbol.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(name: &str, topic: &str) {
        let pattern = pattern_of(name).expect("a stream");
        assert_eq!(pattern.as_str(), topic);
        assert_eq!(name_of(&pattern).as_deref(), Some(name));
        assert_eq!(is_silent(&pattern), topic.starts_with("binance:"));
    }

    #[test]
    fn a_stream_is_a_topic_and_back() {
        check("btcusdt@kline_1m", "kline:1m:BTC-USDT");
        check("okx_btcusdt@kline_1s", "kline:1s:OKX:BTC-USDT");
        check("shib-xsgd@kline_1M", "kline:1M:SHIB-XSGD");
        check("btcusdt@trade", "trade:BTC-USDT");
        check("okx_btcusdt@trade", "trade:OKX:BTC-USDT");
        check("btcusdt@bookTicker", "quote:BTC-USDT");
        check("btcusdt@ticker", "ticker:BTC-USDT");
        check("btcusdt@miniTicker", "binance:btcusdt:miniTicker");
        check("btcusdt@depth20@100ms", "book:BTC-USDT");
        check("btcusdt@depth10@100ms", "binance:btcusdt:depth10:100ms");
        check("btcusdt@depth20", "binance:btcusdt:depth20");
        check("!miniTicker@arr", "binance:-miniTicker:arr");
    }

    #[test]
    fn capitals_in_a_symbol_are_small_letters() {
        let pattern = pattern_of("BTCUSDT@kline_1M").expect("a stream");
        assert_eq!(pattern.as_str(), "kline:1M:BTC-USDT");
        for kind in ["trade", "bookTicker", "depth"] {
            let capitals = pattern_of(&format!("BTCUSDT@{kind}"));
            assert_eq!(capitals, pattern_of(&format!("btcusdt@{kind}")));
        }
    }

    #[test]
    fn what_is_no_stream_is_none() {
        for name in [
            "0",
            "",
            "btcusdt",
            "btcusdt@",
            "btcusdt@kline_",
            "btcusdt@kline_1y",
            "btcusdt@kline_1m@+08:00",
            "btcusdt@klines",
            "*@kline_1m",
            "btc usdt@trade",
            "@trade",
            "btc:usdt@trade",
            ">@trade",
        ] {
            assert_eq!(pattern_of(name), None, "{name}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_stream_that_has_its_name_or_none(text in "\\PC{0,40}|[a-z!*>:-]{0,9}@(kline_)?[a-z0-9@_:>*]{0,9}") {
            if let Some(pattern) = pattern_of(&text) {
                prop_assert!(pattern.as_topic().is_some());
                let name = name_of(&pattern).expect("a name");
                prop_assert_eq!(pattern_of(&name), Some(pattern));
            }
        }
    }
}
