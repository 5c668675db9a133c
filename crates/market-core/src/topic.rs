//! What clients subscribe to.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use crate::channel::KLINE;
use crate::value::symbol::Symbol;
use crate::value::width::Width;

/// The longest topic or pattern accepted, in bytes.
pub const TOPIC_LEN_MAX: usize = 128;
/// The most parts of a topic or pattern.
pub const TOPIC_PARTS_MAX: usize = 8;

/// A topic: parts joined by `:`, such as `kline:1m:BTC-USD` or `system:feed:binance`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Topic(Arc<str>);

/// A topic, or a pattern in which `*` matches any part. A `*` in the place of the symbol matches
/// any symbol, with or without a venue in front, and a last `>` matches all remaining parts.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPattern(Arc<str>);

/// Why a text is not a topic or pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseTopicError {
    /// Empty, too long, too many parts, or characters that a part cannot hold.
    #[error("'{0}' is not a topic: write parts joined by ':', such as kline:1m:BTC-USD")]
    Malformed(String),
    /// A bar topic with an invalid timeframe.
    #[error("'{topic}' names no timeframe: {reason}")]
    Timeframe {
        /// The text as given.
        topic: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A bar topic with an invalid symbol.
    #[error("'{topic}' names no symbol: {reason}")]
    Symbol {
        /// The text as given.
        topic: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl Topic {
    /// The topic of a symbol's bars: `kline:1m:BTC-USD`. Bars of the past have any width.
    #[must_use]
    pub fn bars(width: impl Into<Width>, symbol: &Symbol) -> Self {
        let width = width.into();
        Self(Arc::from(format!("{}:{width}:{symbol}", KLINE.root)))
    }

    /// The topic as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The second name of a plain symbol's bars, with the venue in front: that of
    /// `kline:1m:BTC-USDT` is `kline:1m:BINANCE:BTC-USDT` if its bars come from Binance. `None` for
    /// other topics, and for a venue that cannot be in a topic.
    #[must_use]
    pub fn with_exchange(&self, exchange: &str) -> Option<Self> {
        let (timeframe, symbol) = KLINE.rest(&self.0, ':')?.split_once(':')?;
        if symbol.contains(':') {
            return None;
        }
        let venue = exchange.to_ascii_uppercase();
        format!("{}:{timeframe}:{venue}:{symbol}", KLINE.root)
            .parse()
            .ok()
    }

    /// The plain topic of which this may be the second name, and the venue in lower case; see
    /// [`Topic::with_exchange`].
    #[must_use]
    pub fn without_exchange(&self) -> Option<(Self, String)> {
        let (timeframe, symbol) = KLINE.rest(&self.0, ':')?.split_once(':')?;
        let (venue, pair) = symbol.split_once(':')?;
        let plain = format!("{}:{timeframe}:{pair}", KLINE.root).parse().ok()?;
        Some((plain, venue.to_ascii_lowercase()))
    }
}

impl TopicPattern {
    /// The pattern as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The one topic that it names, if it has no wildcard.
    #[must_use]
    pub fn as_topic(&self) -> Option<Topic> {
        (!self.0.contains(['*', '>'])).then(|| Topic(Arc::clone(&self.0)))
    }

    /// Whether the pattern matches `topic`.
    #[must_use]
    pub fn matches(&self, topic: &Topic) -> bool {
        let mut pattern = self.0.split(':').peekable();
        let mut parts = topic.0.split(':').peekable();
        let is_bars = KLINE.rest(&topic.0, ':').is_some();
        let mut index = 0;
        loop {
            match (pattern.next(), parts.next()) {
                (None, None) => return true,
                (Some(">"), Some(_)) => return true,
                (Some(wanted), Some(part)) => {
                    if wanted == "*" && is_bars && index == 2 && pattern.peek().is_none() {
                        return true;
                    }
                    if wanted != "*" && wanted != part {
                        return false;
                    }
                }
                _ => return false,
            }
            index += 1;
        }
    }
}

/// A pattern is hashed and compared by its text.
impl Borrow<str> for TopicPattern {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// The pattern of one topic; it shares the topic's text.
impl From<Topic> for TopicPattern {
    fn from(topic: Topic) -> Self {
        Self(topic.0)
    }
}

impl TopicPattern {
    /// Whether this pattern matches every topic that `other` matches, now and later.
    ///
    /// It is never wrongly true. It may be wrongly false where the two patterns match the same
    /// topics only because of the forms that topics can have: `kline:1m:OKX:*` and
    /// `kline:1m:OKX:>`.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        let is_bars = |pattern: &Self| KLINE.rest(&pattern.0, ':').is_some();
        let is_any = |pattern: &Self| pattern.0.starts_with("*:");
        let covers_bars =
            || (is_bars(self) || is_any(self)) && covers_parts(&self.0, &other.0, true);
        let covers_others = || covers_parts(&self.0, &other.0, false);
        match (is_bars(other), is_any(other)) {
            (true, _) => covers_bars(),
            (false, true) => covers_bars() && covers_others(),
            (false, false) => covers_others(),
        }
    }
}

/// Whether one pattern covers another among bars, or among all other topics.
fn covers_parts(ours: &str, others: &str, among_bars: bool) -> bool {
    let (mut ours, mut others) = (ours.split(':').peekable(), others.split(':').peekable());
    for index in 0.. {
        let (mut our, mut other) = (ours.next(), others.next());
        if among_bars && index == 0 {
            // Both match bars, whatever else they match.
            continue;
        }
        if among_bars && index == 2 {
            // A last `*` in the place of the symbol matches all remaining parts.
            our = our.map(|part| open_symbol(part, ours.peek().is_none()));
            other = other.map(|part| open_symbol(part, others.peek().is_none()));
        }
        match (our, other) {
            (None, None) | (Some(">"), Some(_)) => return true,
            (Some(_), Some(">")) | (None, Some(_)) | (Some(_), None) => return false,
            (Some(our), Some(other)) if our != "*" && our != other => return false,
            (Some(_), Some(_)) => {}
        }
    }
    false
}

fn open_symbol(part: &str, is_last: bool) -> &str {
    match part {
        "*" if is_last => ">",
        _ => part,
    }
}

fn excerpt(text: &str) -> String {
    text.chars().take(TOPIC_LEN_MAX).collect()
}

/// Checks the form; `wildcards` says whether `*` and `>` are allowed.
fn check(text: &str, wildcards: bool) -> Result<(), ParseTopicError> {
    let malformed = || ParseTopicError::Malformed(excerpt(text));
    if text.len() > TOPIC_LEN_MAX {
        return Err(malformed());
    }
    let parts: Vec<&str> = text.split(':').collect();
    let is_plain = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    for (index, part) in parts.iter().enumerate() {
        let is_wildcard =
            wildcards && (*part == "*" || (*part == ">" && index > 0 && index + 1 == parts.len()));
        if !is_wildcard && !is_plain(part) {
            return Err(malformed());
        }
    }
    if parts.len() < 2 || parts.len() > TOPIC_PARTS_MAX {
        return Err(malformed());
    }
    if parts[0] == KLINE.root {
        check_bars(text, &parts)?;
    }
    Ok(())
}

/// A bar topic must name a timeframe and a symbol: a misspelt one would wait for ever.
fn check_bars(text: &str, parts: &[&str]) -> Result<(), ParseTopicError> {
    if parts[1] != "*" && parts[1] != ">" {
        parts[1]
            .parse::<Width>()
            .map_err(|error| ParseTopicError::Timeframe {
                topic: excerpt(text),
                reason: error.to_string(),
            })?;
    }
    let symbol = parts[2..].join(":");
    let is_open = symbol.contains(['*', '>']) && parts.len() <= 4;
    if !is_open && parts[1] != ">" {
        symbol
            .parse::<Symbol>()
            .map_err(|error| ParseTopicError::Symbol {
                topic: excerpt(text),
                reason: error.to_string(),
            })?;
    }
    Ok(())
}

impl FromStr for Topic {
    type Err = ParseTopicError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        check(text, false).map(|()| Self(Arc::from(text)))
    }
}

impl FromStr for TopicPattern {
    type Err = ParseTopicError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        check(text, true).map(|()| Self(Arc::from(text)))
    }
}

macro_rules! as_text {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }
    };
}

as_text!(Topic);
as_text!(TopicPattern);

#[cfg(test)]
mod tests;
