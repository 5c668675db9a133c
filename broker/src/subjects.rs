//! How patterns of subjects relate, and which subjects Klinecast's programs believe.

use market_core::channel::{Channel, SYSTEM, TRADE};

/// Whether Klinecast's programs, whose subjects begin with `prefix`, believe what is published on a
/// subject. Events of the system come from many programs. Under `market.` only trades are read.
pub(crate) fn is_believed(prefix: &str, subject: &str) -> bool {
    let own = match prefix {
        "" => Some(subject),
        prefix => subject
            .strip_prefix(prefix)
            .and_then(|rest| rest.strip_prefix('.')),
    };
    let Some(own) = own else {
        return false;
    };
    let root = own.split('.').next().unwrap_or_default();
    match Channel::of_subject_root(root).or_else(|| Channel::of_record(root)) {
        None => false,
        Some(channel) if *channel == SYSTEM => false,
        Some(channel) if *channel == TRADE => own.rsplit('.').next() == Some(TRADE.root),
        Some(_) => true,
    }
}

/// Whether a subject can match both patterns.
pub(crate) fn overlap(first: &str, second: &str) -> bool {
    let (mut first, mut second) = (first.split('.'), second.split('.'));
    loop {
        match (first.next(), second.next()) {
            (None, None) => return true,
            (None, Some(_)) | (Some(_), None) => return false,
            (Some(">"), Some(_)) | (Some(_), Some(">")) => return true,
            (Some("*"), Some(_)) | (Some(_), Some("*")) => {}
            (Some(one), Some(other)) if one == other => {}
            _ => return false,
        }
    }
}

/// Whether `wide` matches every subject that `narrow` matches.
pub(crate) fn covers(wide: &str, narrow: &str) -> bool {
    let (mut wide, mut narrow) = (wide.split('.'), narrow.split('.'));
    loop {
        match (wide.next(), narrow.next()) {
            (None, None) => return true,
            (Some(">"), Some(_)) => return true,
            (None, _) | (_, None | Some(">")) => return false,
            (Some("*"), Some(_)) => {}
            (Some(one), Some(other)) if one == other => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use market_core::channel::CHANNELS;

    use super::*;

    #[test]
    fn subjects_of_every_channel_are_believed_but_for_events_and_market_data_of_others() {
        for prefix in ["", "demo", "a.b"] {
            let under = |subject: &str| match prefix {
                "" => subject.to_owned(),
                prefix => format!("{prefix}.{subject}"),
            };
            for channel in CHANNELS {
                let roots = [
                    Some(channel.subject_root()),
                    channel.record.map(|it| it.root),
                ];
                for root in roots.into_iter().flatten() {
                    let subject = under(&format!("{root}.binance.BTC-USDT.trade"));
                    let expected = channel != SYSTEM;
                    assert_eq!(is_believed(prefix, &subject), expected, "{subject}");
                }
            }
            for (subject, expected) in [
                ("presence.beat", true),
                ("history.query", true),
                ("market.binance.BTC-USDT.trade", true),
                ("market.binance.BTC-USDT.ticker", false),
                ("market.v.X.kline.1m", false),
                ("market.x", false),
                ("klines.1m.BTC-USDT", false),
                ("orders.trade", false),
            ] {
                assert_eq!(is_believed(prefix, &under(subject)), expected, "{subject}");
            }
        }
        // Klinecast's programs are elsewhere.
        for subject in [
            "presence.beat",
            "demox.presence.beat",
            "x.demo.fleet.rebalance",
            "demo",
        ] {
            assert!(!is_believed("demo", subject), "{subject}");
        }
    }

    #[test]
    fn patterns_overlap_where_one_subject_matches_both() {
        for (first, second, expected) in [
            ("system.>", "system.service.>", true),
            ("system.>", "system", false),
            ("a.*.c", "a.b.*", true),
            ("a.*", "a.b.c", false),
            (">", "a", true),
            ("*.b", "a.>", true),
            ("a.b", "a.c", false),
        ] {
            assert_eq!(overlap(first, second), expected, "{first} {second}");
            assert_eq!(overlap(second, first), expected, "{second} {first}");
        }
    }

    #[test]
    fn a_pattern_covers_another_only_if_it_matches_all_its_subjects() {
        for (wide, narrow, expected) in [
            ("system.>", "system.>", true),
            ("system.>", "system.service.*", true),
            ("system.service.*", "system.>", false),
            ("*.>", "a.b.c", true),
            ("a.*", "a.>", false),
            ("a.b", "a.*", false),
            (">", ">", true),
            ("a.b.c", "a.b", false),
        ] {
            assert_eq!(covers(wide, narrow), expected, "{wide} {narrow}");
        }
    }
}
