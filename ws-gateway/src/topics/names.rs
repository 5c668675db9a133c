//! The names that a topic may have: channels, timeframes and exchanges. A request with a misspelt
//! one would wait for ever, so it is refused. A symbol may be listed later.

use std::collections::BTreeSet;
use std::sync::{RwLock, RwLockReadGuard};

use market_core::channel::{Channel, KLINE};
use market_core::{Timeframe, Topic, TopicPattern, Width};

use crate::topics::made::Made;

/// Most exchanges that are learnt from bars: names from the bus need a bound.
const EXCHANGES_MAX: usize = 64;

/// The known names, from the configuration and from messages.
#[derive(Debug)]
pub(crate) struct Names {
    /// `None` if every name is valid.
    channels: Option<BTreeSet<Box<str>>>,
    intervals: RwLock<BTreeSet<Box<str>>>,
    exchanges: RwLock<BTreeSet<Box<str>>>,
}

impl Names {
    /// The channels are those of the bus patterns in `subjects`.
    #[must_use]
    pub(crate) fn new(subjects: &[String], timeframes: &[String], exchanges: &[String]) -> Self {
        let channels: BTreeSet<Box<str>> = subjects
            .iter()
            .map(|subject| {
                let root = subject.split('.').next().unwrap_or_default();
                Channel::of_subject_root(root).map_or(root, |channel| channel.root)
            })
            .map(Box::from)
            .collect();
        let is_any = channels.contains(">") || channels.contains("*");
        let set =
            |names: &[String]| RwLock::new(names.iter().map(|name| (**name).into()).collect());
        Self {
            channels: (!is_any).then_some(channels),
            intervals: set(timeframes),
            exchanges: set(exchanges),
        }
    }

    /// Names that accept every channel.
    #[cfg(test)]
    pub(crate) fn any() -> Self {
        Self::new(
            &[">".to_owned()],
            &["1s".to_owned(), "1m".to_owned()],
            &["binance".to_owned()],
        )
    }

    /// A topic was created. Its timeframe is learnt only if it is valid, so these are few.
    pub(crate) fn saw_topic(&self, topic: &Topic) {
        let mut parts = topic.as_str().split(':');
        if let (Some(channel), Some(interval)) = (parts.next(), parts.next())
            && has_timeframe(channel)
            && interval.parse::<Timeframe>().is_ok()
            && !read(&self.intervals).contains(interval)
        {
            let mut intervals = self.intervals.write().expect("no holder panics");
            intervals.insert(interval.into());
        }
    }

    /// Bars of an exchange have come. False if there are too many exchanges to learn another.
    pub(crate) fn saw_exchange(&self, exchange: &str) -> bool {
        if read(&self.exchanges).contains(exchange) {
            return true;
        }
        let mut exchanges = self.exchanges.write().expect("no holder panics");
        exchanges.len() < EXCHANGES_MAX && exchanges.insert(exchange.into())
    }

    /// Returns the error in the channel or timeframe of a pattern, with the valid ones.
    pub(crate) fn check(&self, pattern: &TopicPattern) -> Result<(), String> {
        let mut parts = pattern.as_str().split(':');
        let (channel, interval) = (parts.next().unwrap_or_default(), parts.next());
        if let Some(channels) = &self.channels
            && channel != "*"
            && !channels.contains(channel)
        {
            let there_are = list(channels);
            return Err(format!(
                "there is no channel '{channel}': there are {there_are}, as in kline:1m:BTC-USD"
            ));
        }
        let intervals = read(&self.intervals);
        let width = interval.filter(|_| channel == KLINE.root);
        if let Some(width) = width.and_then(|width| width.parse().ok())
            && !interval.is_some_and(|interval| intervals.contains(interval))
            && source(&intervals, width).is_some()
        {
            // It is folded for the sessions that name it.
            return match pattern.as_topic() {
                Some(_) => Ok(()),
                None => Err(format!(
                    "bars of '{width}' are made for single topics: write them without wildcard, such as kline:{width}:BTC-USD"
                )),
            };
        }
        match interval {
            Some(interval)
                if has_timeframe(channel)
                    && !matches!(interval, "*" | ">")
                    && !intervals.contains(interval) =>
            {
                let there_are = list(&intervals);
                Err(format!(
                    "there are no bars of '{interval}': there are {there_are}"
                ))
            }
            _ => Ok(()),
        }
    }

    /// The timeframe from whose bars the bars of a topic are folded; `None` if they are published
    /// themselves, or cannot be folded.
    pub(crate) fn made(&self, topic: &Topic) -> Option<Made> {
        let (interval, _) = KLINE.rest(topic.as_str(), ':')?.split_once(':')?;
        let intervals = read(&self.intervals);
        if intervals.contains(interval) {
            return None;
        }
        let width = interval.parse().ok()?;
        Some(Made {
            topic: topic.clone(),
            width,
            source: source(&intervals, width)?,
        })
    }

    /// Whether bars come at all.
    #[must_use]
    pub(crate) fn has_bars(&self) -> bool {
        let channels = self.channels.as_ref();
        channels.is_none_or(|channels| channels.contains(KLINE.root))
    }

    /// The topics of all bars of a symbol.
    pub(crate) fn bars_of(&self, symbol: &str) -> Vec<Topic> {
        let intervals = read(&self.intervals);
        let topics = intervals
            .iter()
            .filter_map(|interval| format!("{}:{interval}:{symbol}", KLINE.root).parse().ok());
        topics.collect()
    }

    /// Returns the valid exchanges, if this is not one; `*` is any.
    pub(crate) fn check_exchange(&self, exchange: &str) -> Result<(), String> {
        let exchanges = read(&self.exchanges);
        if exchange == "*" || exchanges.contains(exchange) {
            return Ok(());
        }
        let there_are = list(&exchanges);
        Err(format!(
            "there is no exchange '{exchange}': there are {there_are}"
        ))
    }
}

/// The widest published timeframe that divides a width: its bars are the parts.
fn source(intervals: &BTreeSet<Box<str>>, width: Width) -> Option<Timeframe> {
    let published: Vec<Timeframe> = intervals
        .iter()
        .filter_map(|interval| interval.parse().ok())
        .collect();
    width.source(&published)
}

/// Whether a timeframe follows in the topics of a channel.
fn has_timeframe(channel: &str) -> bool {
    Channel::of_root(channel).is_some_and(|channel| channel.has_timeframe)
}

fn read(names: &RwLock<BTreeSet<Box<str>>>) -> RwLockReadGuard<'_, BTreeSet<Box<str>>> {
    names.read().expect("no holder panics")
}

fn list(names: &BTreeSet<Box<str>>) -> String {
    let names: Vec<&str> = names.iter().map(|name| &**name).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        let texts = |texts: &[&str]| {
            texts
                .iter()
                .map(|&text| text.to_owned())
                .collect::<Vec<_>>()
        };
        Names::new(
            &texts(&["kline.>", "boundary.>", "system.>"]),
            &texts(&["1s", "1m"]),
            &texts(&["binance", "okx"]),
        )
    }

    fn check(names: &Names, pattern: &str) -> Result<(), String> {
        names.check(&pattern.parse().expect("a pattern"))
    }

    #[test]
    fn a_channel_or_width_that_does_not_exist_is_refused_with_those_that_do() {
        let names = names();
        for pattern in [
            "kline:1m:NOBODY-KNOWS",
            "kline:1m:*",
            "kline:*:A-B",
            "kline:>",
            "*:>",
            "boundary:1s",
            "boundary:*",
            "system:feed:okx",
            // Folded for each client that names it.
            "kline:5m:A-B",
            "kline:7m:A-B",
            "kline:90s:OKX:A-B",
        ] {
            assert_eq!(check(&names, pattern), Ok(()), "{pattern}");
        }
        for pattern in [
            "klines:1m:A-B",
            "kline_1m:A-B",
            "klines:*",
            "trade:>",
            "market:>",
        ] {
            let message = check(&names, pattern).expect_err(pattern);
            assert!(message.contains("boundary, kline, system"), "{message}");
        }
        for pattern in ["boundary:5m", "boundary:x"] {
            let message = check(&names, pattern).expect_err(pattern);
            assert!(message.contains("1m, 1s"), "{message}");
        }
        for pattern in ["kline:5m:*", "kline:5m:>", "kline:7m:OKX:*"] {
            let message = check(&names, pattern).expect_err(pattern);
            assert!(message.contains("without wildcard"), "{message}");
        }
    }

    #[test]
    fn names_are_learnt_from_what_comes_and_stay_few() {
        let names = names();
        for topic in ["kline:5m:A-B", "boundary:whatever", "system:1h:x"] {
            names.saw_topic(&topic.parse().expect("a topic"));
        }
        assert_eq!(check(&names, "kline:5m:*"), Ok(()));
        assert!(check(&names, "boundary:whatever").is_err());
        assert!(check(&names, "kline:1h:*").is_err());
        let made = |topic: &str| names.made(&topic.parse().expect("a topic"));
        let source = made("kline:7m:A-B").and_then(|made| made.source_topic());
        assert_eq!(source.expect("minutes").as_str(), "kline:1m:A-B");
        assert_eq!(made("kline:5m:A-B"), None, "it is published");
        assert!(names.check_exchange("okex").is_err() && names.check_exchange("*").is_ok());
        let known = (0..200).filter(|number| names.saw_exchange(&format!("venue{number}")));
        assert_eq!(known.count(), EXCHANGES_MAX - 2);
        assert!(names.saw_exchange("okx") && names.check_exchange("venue0").is_ok());
        let message = names.check_exchange("nope").expect_err("unknown");
        assert!(message.contains("binance, okx"), "{message}");
    }
}
