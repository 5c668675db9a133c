//! The names of streams, and the topics that they stand for.
//!
//! The events of some streams are publications. Those of others are made of publications of another
//! topic (see [`MadeStream`]). Some have no events: a session may hold them, as clients
//! subscribe to them together with klines, but nothing comes. The streams of both latter kinds are
//! patterns below a root of their own, which is not a channel, so that they are counted and listed
//! like all others.

use std::time::Duration;

use market_core::binance::book::BOOK_STREAM;
use market_core::binance::{TickerWindow, kline, parse_symbol, stream_of};
use market_core::channel::{BOOK, Channel, KLINE, QUOTE, TICKER, TRADE};
use market_core::{Topic, TopicPattern};

/// The first part of the patterns of streams that are no topics of publications.
pub const STREAM_ROOT: &str = "binance";
/// What stands for the `!` of streams of all symbols, which a topic cannot have.
const ALL_SYMBOLS: &str = "-";
/// The quotes of all symbols. Binance's spot market has it no longer, but clients still ask for it.
const ALL_QUOTES: &str = "bookTicker";

/// The kinds of streams of a symbol that are channels here.
const CHANNELS: [(&str, Channel); 4] = [
    ("trade", TRADE),
    ("bookTicker", QUOTE),
    ("ticker", TICKER),
    (BOOK_STREAM, BOOK),
];

/// The kinds of streams that Binance has and whose events are no publications.
const OTHERS: [&str; 12] = [
    "aggTrade",
    "miniTicker",
    "ticker",
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
    if name.strip_prefix('!') == Some(ALL_QUOTES) {
        let text = format!("{STREAM_ROOT}:{ALL_SYMBOLS}{ALL_QUOTES}");
        return text.parse::<Topic>().ok().map(TopicPattern::from);
    }
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
    if !OTHERS.contains(&first) || symbol.contains(':') || kind.contains(':') {
        return None;
    }
    let text = format!("{STREAM_ROOT}:{symbol}:{}", kind.replace('@', ":"));
    text.parse::<Topic>().ok().map(TopicPattern::from)
}

/// What the events of a stream say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MadeKind {
    /// The best levels of a book, at most this many of each side.
    Levels(usize),
    /// The changes of a book.
    Changes,
    /// A ticker without quotes and trades.
    MiniTicker,
    /// An array of these: the tickers of all symbols that have changed.
    MiniTickers,
    /// An array of whole tickers: those of all symbols that have changed.
    Tickers,
    /// Each trade, as an aggregate.
    Aggregates,
    /// The average price of the last five minutes.
    AveragePrice,
    /// The ticker of a window that ends now.
    WindowTicker(TickerWindow),
    /// An array of these: the tickers of all symbols that have changed.
    WindowTickers(TickerWindow),
}

/// A stream whose events are made of the publications of other topics.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MadeStream {
    /// Its name.
    pub name: String,
    /// What its events say.
    pub kind: MadeKind,
    /// The topics of which they are made. Who may have these may have the stream.
    pub source: TopicPattern,
    /// The shortest time between two events.
    pub pace: Duration,
}

/// Between the events of a stream without `@100ms`.
const USUAL_PACE: Duration = Duration::from_secs(1);

impl MadeStream {
    /// The stream of a pattern; `None` if its events are publications, or if it has none.
    #[must_use]
    pub fn of(pattern: &TopicPattern) -> Option<Self> {
        let name = other_name(pattern)?.replace(':', "@");
        let (symbol, kind) = name.split_once('@')?;
        if let Some(all) = symbol.strip_prefix(ALL_SYMBOLS) {
            let (made_kind, source) = match (all, kind, window_of(all)) {
                ("miniTicker", "arr", _) => (MadeKind::MiniTickers, TICKER.root.to_owned()),
                ("ticker", "arr", _) => (MadeKind::Tickers, TICKER.root.to_owned()),
                (_, "arr", Some(window)) => (
                    MadeKind::WindowTickers(window),
                    format!("{}:1m", KLINE.root),
                ),
                _ => return None,
            };
            return Some(Self {
                name: format!("!{all}@{kind}"),
                kind: made_kind,
                source: format!("{source}:*").parse().ok()?,
                pace: USUAL_PACE,
            });
        }
        let (first, pace) = match kind.split_once('@') {
            None => (kind, USUAL_PACE),
            Some((first, "1000ms")) if first.starts_with("depth") => (first, USUAL_PACE),
            // The publications have this pace.
            Some((first, "100ms")) if first.starts_with("depth") => (first, Duration::ZERO),
            Some(_) => return None,
        };
        let of_minutes = match window_of(first) {
            Some(window) => Some(MadeKind::WindowTicker(window)),
            None => (first == "avgPrice").then_some(MadeKind::AveragePrice),
        };
        if let Some(kind) = of_minutes {
            let source = format!("{}:1m:{}", KLINE.root, parse_symbol(symbol)?);
            return Some(Self {
                kind,
                source: TopicPattern::from(source.parse::<Topic>().ok()?),
                pace,
                name,
            });
        }
        let (made_kind, channel) = match first {
            "depth5" => (MadeKind::Levels(5), BOOK),
            "depth10" => (MadeKind::Levels(10), BOOK),
            "depth20" => (MadeKind::Levels(20), BOOK),
            "depth" => (MadeKind::Changes, BOOK),
            "miniTicker" => (MadeKind::MiniTicker, TICKER),
            "aggTrade" => {
                let source = Topic::of_symbol(&TRADE, &parse_symbol(symbol)?);
                return Some(Self {
                    kind: MadeKind::Aggregates,
                    source: TopicPattern::from(source),
                    pace: Duration::ZERO,
                    name,
                });
            }
            _ => return None,
        };
        let source = Topic::of_symbol(&channel, &parse_symbol(symbol)?);
        Some(Self {
            kind: made_kind,
            source: TopicPattern::from(source),
            pace,
            name,
        })
    }

    /// Whether it is made of an order book.
    #[must_use]
    pub fn is_of_books(&self) -> bool {
        matches!(self.kind, MadeKind::Levels(_) | MadeKind::Changes)
    }

    /// The publication of an event of this stream, or of several of them in an array.
    #[must_use]
    pub fn publication(name: &str, data: &str) -> String {
        format!(r#"{{"stream":"{name}","data":{data}}}"#)
    }
}

/// The window of `ticker_1h`, `ticker_4h` and `ticker_1d`.
fn window_of(kind: &str) -> Option<TickerWindow> {
    TickerWindow::of_name(kind.strip_prefix("ticker_")?)
}

/// The event of a publication of a stream; `None` if it is another publication.
pub(super) fn event_of(publication: &[u8]) -> Option<&[u8]> {
    let named = publication.strip_prefix(br#"{"stream":""#)?;
    // The name of a stream has no quote.
    let end = named.iter().position(|byte| *byte == b'"')?;
    let data = named[end..].strip_prefix(br#"","data":"#)?;
    data.strip_suffix(b"}")
}

/// Whether the pattern is that of a stream without events.
#[must_use]
pub fn is_silent(pattern: &TopicPattern) -> bool {
    other_name(pattern).is_some() && MadeStream::of(pattern).is_none()
}

/// Whether the pattern is that of a stream that is no topic of publications.
#[must_use]
pub fn is_stream(pattern: &TopicPattern) -> bool {
    other_name(pattern).is_some()
}

fn other_name(pattern: &TopicPattern) -> Option<&str> {
    pattern
        .as_str()
        .strip_prefix(STREAM_ROOT)?
        .strip_prefix(':')
}

/// The name of the stream of a pattern; `None` if it has none.
#[must_use]
pub fn name_of(pattern: &TopicPattern) -> Option<String> {
    if let Some(name) = other_name(pattern) {
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
        assert_eq!(is_stream(&pattern), topic.starts_with("binance:"));
    }

    #[track_caller]
    fn check_made(name: &str, kind: MadeKind, source: &str, pace_ms: u64) {
        let pattern = pattern_of(name).expect("a stream");
        let made = MadeStream::of(&pattern).expect("it is made");
        assert_eq!((&*made.name, made.kind), (name, kind));
        assert_eq!(made.source.as_str(), source);
        assert_eq!(made.pace, Duration::from_millis(pace_ms), "{name}");
        assert!(!is_silent(&pattern));
    }

    #[test]
    fn streams_are_made_of_the_topics_of_their_symbols() {
        check_made(
            "btcusdt@depth5",
            MadeKind::Levels(5),
            "book:BTC-USDT",
            1_000,
        );
        check_made(
            "btcusdt@depth10@100ms",
            MadeKind::Levels(10),
            "book:BTC-USDT",
            0,
        );
        check_made(
            "okx_btcusdt@depth20",
            MadeKind::Levels(20),
            "book:OKX:BTC-USDT",
            1_000,
        );
        check_made("btcusdt@depth", MadeKind::Changes, "book:BTC-USDT", 1_000);
        check_made(
            "btcusdt@depth@1000ms",
            MadeKind::Changes,
            "book:BTC-USDT",
            1_000,
        );
        check_made(
            "shib-xsgd@depth@100ms",
            MadeKind::Changes,
            "book:SHIB-XSGD",
            0,
        );
        check_made(
            "btcusdt@miniTicker",
            MadeKind::MiniTicker,
            "ticker:BTC-USDT",
            1_000,
        );
        check_made("!miniTicker@arr", MadeKind::MiniTickers, "ticker:*", 1_000);
        check_made("!ticker@arr", MadeKind::Tickers, "ticker:*", 1_000);
        check_made(
            "okx_btcusdt@aggTrade",
            MadeKind::Aggregates,
            "trade:OKX:BTC-USDT",
            0,
        );
        check_made(
            "okx_btcusdt@avgPrice",
            MadeKind::AveragePrice,
            "kline:1m:OKX:BTC-USDT",
            1_000,
        );
        check_made(
            "okx_btcusdt@ticker_4h",
            MadeKind::WindowTicker(TickerWindow::FourHours),
            "kline:1m:OKX:BTC-USDT",
            1_000,
        );
        check_made(
            "!ticker_1d@arr",
            MadeKind::WindowTickers(TickerWindow::Day),
            "kline:1m:*",
            1_000,
        );
        for name in [
            "!bookTicker",
            "!ticker_2h@arr",
            "btcusdt@ticker_1h@100ms",
            "btcusdt@avgPrice@100ms",
            "btcusdt@aggTrade@100ms",
            "btcusdt@depth7@100ms",
            "btcusdt@depth@5ms",
            "!bookTicker@arr",
            "btcusdt@miniTicker@100ms",
            "!miniTicker@all",
        ] {
            if let Some(pattern) = pattern_of(name) {
                assert!(
                    is_silent(&pattern) && MadeStream::of(&pattern).is_none(),
                    "{name}"
                );
            }
        }
    }

    #[test]
    fn a_publication_of_a_stream_has_its_event() {
        let publication = MadeStream::publication("!miniTicker@arr", "[{\"e\":1}]");
        assert_eq!(event_of(publication.as_bytes()), Some(&b"[{\"e\":1}]"[..]));
        assert_eq!(event_of(br#"{"topic":"book:A-B"}"#), None);
        assert_eq!(event_of(br#"{"stream":"x"#), None);
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
        check("!ticker@arr", "binance:-ticker:arr");
        check("!ticker_1h@arr", "binance:-ticker_1h:arr");
        check("!bookTicker", "binance:-bookTicker");
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
