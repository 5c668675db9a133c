use proptest::prelude::*;

use super::*;
use crate::subject;
use crate::value::timeframe::Timeframe;

#[track_caller]
fn check(pattern: &str, topic: &str, expected: bool) {
    let pattern: TopicPattern = pattern.parse().expect("valid pattern");
    assert_eq!(
        pattern.matches(&topic.parse().expect("valid topic")),
        expected
    );
}

#[test]
fn a_star_stands_for_one_part_and_for_a_whole_symbol() {
    check("kline:1m:*", "kline:1m:BTC-USD", true);
    check("kline:1m:*", "kline:1m:OKX:BTC-USDT", true);
    check("kline:1m:*", "kline:1s:BTC-USD", false);
    check("kline:*:BTC-USD", "kline:1h:BTC-USD", true);
    check("kline:*:BTC-USD", "kline:1h:OKX:BTC-USD", false);
    check("kline:*:OKX:*", "kline:1h:OKX:BTC-USDT", true);
    check("kline:>", "kline:1h:OKX:BTC-USDT", true);
    check("system:feed:*", "system:feed:okx", true);
    check("system:*", "system:feed:okx", false);
    check("kline:1m:BTC-USD", "kline:1m:BTC-USD", true);
    check("trade:*", "trade:BTC-USD", true);
    check("trade:*", "trade:OKX:BTC-USDT", true);
    check("trade:OKX:*", "trade:OKX:BTC-USDT", true);
    check("trade:OKX:*", "trade:BTC-USDT", false);
    check("trade:*:BTC-USDT", "trade:OKX:BTC-USDT", true);
    check("trade:*:BTC-USDT", "trade:BTC-USDT", false);
    check("trade:>", "trade:OKX:BTC-USDT", true);
    check("*:*", "trade:OKX:BTC-USDT", true);
    check("*:*", "kline:1m:BTC-USDT", false);
}

#[test]
fn bars_of_a_plain_symbol_have_a_second_name_with_their_venue() {
    let topic = |text: &str| text.parse::<Topic>().expect("valid topic");
    let plain = topic("kline:1m:BTC-USDT");
    let named = topic("kline:1m:BINANCE:BTC-USDT");
    assert_eq!(plain.with_exchange("binance"), Some(named.clone()));
    assert_eq!(
        named.without_exchange(),
        Some((plain.clone(), "binance".to_owned()))
    );
    for (text, exchange) in [
        ("kline:1m:OKX:BTC-USDT", "okx"),
        ("system:feed", "okx"),
        ("kline:1m:BTC-USDT", "a b"),
        ("kline:1m:BTC-USDT", ""),
    ] {
        assert_eq!(topic(text).with_exchange(exchange), None);
    }
    assert_eq!(plain.without_exchange(), None);
    let (plain, named) = (topic("trade:BTC-USDT"), topic("trade:OKX:BTC-USDT"));
    assert_eq!(plain.with_exchange("okx"), Some(named.clone()));
    assert_eq!(named.without_exchange(), Some((plain, "okx".to_owned())));
    assert_eq!(named.with_exchange("okx"), None);
}

#[test]
fn malformed_topics_are_refused() {
    for text in [
        "",
        "kline",
        "kline:",
        "kline:1m",
        "kline:7x:BTC-USD",
        "kline:1m:btc-usd",
        "kline:1m:BTC",
        "a b:c",
        "kline.1m:BTC-USD",
        "a::b",
        "kline:1m:BTC-USD:X:Y",
        "trade:btc-usd",
        "trade:1m:BTC-USD",
        "trade:OKX:BTC-USDT:X",
        "a:b\n",
        "🙂:x",
    ] {
        assert!(text.parse::<Topic>().is_err(), "{text}");
        assert!(text.parse::<TopicPattern>().is_err(), "{text}");
    }
    for text in ["*", ">", "kline:>:BTC-USD", "a:b*"] {
        assert!(text.parse::<TopicPattern>().is_err(), "{text}");
    }
    assert!("kline:1m:*".parse::<Topic>().is_err());
}

#[track_caller]
fn check_covers(ours: &str, other: &str, expected: bool) {
    let parse = |text: &str| text.parse::<TopicPattern>().expect("valid pattern");
    assert_eq!(
        parse(ours).covers(&parse(other)),
        expected,
        "{ours} and {other}"
    );
}

#[test]
fn a_pattern_covers_what_it_stands_for_and_no_more() {
    check_covers("*:>", "kline:1m:*", true);
    check_covers("*:>", "*:>", true);
    check_covers("kline:1m:*", "kline:1m:BTC-USD", true);
    check_covers("kline:1m:*", "kline:1m:OKX:BTC-USDT", true);
    check_covers("kline:1m:*", "kline:1m:OKX:*", true);
    check_covers("kline:1m:*", "kline:1m:>", true);
    check_covers("kline:1m:*", "kline:*:BTC-USD", false);
    check_covers("kline:1m:*", "kline:>", false);
    check_covers("kline:1m:OKX:*", "kline:1m:*", false);
    check_covers("kline:*:*", "kline:>", false);
    check_covers("kline:*:BTC-USD", "kline:*:OKX:BTC-USD", false);
    check_covers("system:*", "system:feed:okx", false);
    check_covers("system:feed:*", "system:feed:okx", true);
    check_covers("system:feed:*", "system:feed:>", false);
    check_covers("system:>", "system:feed:*", true);
    check_covers("*:feed:*", "*:feed:*", true);
    check_covers("kline:>", "*:>", false);
    check_covers("system:>", "*:feed:*", false);
    check_covers("trade:*", "trade:OKX:BTC-USDT", true);
    check_covers("trade:*", "trade:>", true);
    check_covers("trade:*", "kline:1m:*", false);
    check_covers("kline:>", "trade:*", false);
    check_covers("trade:OKX:*", "trade:*", false);
    check_covers("*:*", "trade:OKX:BTC-USDT", true);
    check_covers("*:*", "*:*", true);
    check_covers("*:*", "*:OKX:*", false);
}

/// Every topic of up to four parts over a small alphabet in which each wildcard of the
/// patterns tried has a part that no pattern names.
fn some_topics() -> Vec<Topic> {
    let mut texts: Vec<String> = ["kline", "trade", "a", "z"].map(str::to_owned).to_vec();
    let mut topics = Vec::new();
    for _ in 0..4 {
        texts = texts
            .iter()
            .flat_map(|text| {
                ["1m", "1h", "b", "OKX", "A-B", "Z-Z"].map(|part| format!("{text}:{part}"))
            })
            .collect();
        topics.extend(texts.iter().filter_map(|text| text.parse().ok()));
    }
    topics
}

proptest! {
    #[test]
    fn what_covers_leaves_no_topic_out(
        ours in "(kline|trade|a|\\*)(:(1m|b|A-B|OKX|\\*)){0,3}(:(\\*|>))?",
        others in "(kline|trade|a|\\*)(:(1m|b|A-B|OKX|\\*)){0,3}(:(\\*|>))?",
    ) {
        let (Ok(ours), Ok(others)) = (ours.parse::<TopicPattern>(), others.parse::<TopicPattern>()) else {
            return Ok(());
        };
        thread_local! {
            static TOPICS: Vec<Topic> = some_topics();
        }
        let left_out = TOPICS.with(|topics| {
            topics.iter().find(|topic| others.matches(topic) && !ours.matches(topic)).cloned()
        });
        if ours.covers(&others) {
            prop_assert_eq!(left_out, None, "{} covers {}", ours, others);
        } else if !others.as_str().starts_with("kline")
            && !others.as_str().starts_with("trade")
            && !others.as_str().starts_with('*')
        {
            // Beyond symbols the answer is exact. Topics have up to five parts here.
            prop_assert!(left_out.is_some() || others.as_str().split(':').count() > 4, "{ours} should cover {others}");
        }
        prop_assert!(ours.covers(&ours) && others.covers(&others));
    }

    #[test]
    fn topics_and_subjects_round_trip(
        venue in proptest::option::of("[A-Z][A-Z0-9_]{0,9}"),
        base in "[A-Z0-9]{1,10}",
        quote in "[A-Z0-9]{1,10}",
        timeframe in proptest::sample::select(vec!["1s", "1m", "5m", "1h", "1d", "1w", "1M"]),
    ) {
        let venue = venue.map(|venue| format!("{venue}:")).unwrap_or_default();
        let symbol: Symbol = format!("{venue}{base}-{quote}").parse().expect("symbol");
        let timeframe: Timeframe = timeframe.parse().expect("timeframe");
        let topic = Topic::bars(timeframe, &symbol);
        let text = subject::bars(timeframe, &symbol);
        prop_assert_eq!(subject::to_topic(&text), Some(topic.clone()));
        prop_assert_eq!(topic.as_str().parse::<Topic>(), Ok(topic));
        for channel in CHANNELS.iter().filter(|channel| channel.symbol_at == Some(1)) {
            let topic = Topic::of_symbol(channel, &symbol);
            let text = subject::of_symbol(channel, "binance", &symbol);
            prop_assert_eq!(subject::to_topic(&text), Some(topic.clone()));
            prop_assert_eq!(topic.as_str().parse::<Topic>(), Ok(topic));
        }
    }

    #[test]
    fn arbitrary_text_never_panics(text in ".{0,200}") {
        let _ = text.parse::<Topic>();
        let _ = text.parse::<TopicPattern>();
        let _ = subject::to_topic(&text);
    }
}
