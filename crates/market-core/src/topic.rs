//! What clients subscribe to.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use crate::channel::{CHANNELS, Channel, KLINE};
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
    /// A topic with an invalid symbol.
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

    /// The topic of a symbol in a channel without timeframes: `trade:BTC-USD`.
    #[must_use]
    pub fn of_symbol(channel: &Channel, symbol: &Symbol) -> Self {
        Self(Arc::from(format!("{}:{symbol}", channel.root)))
    }

    /// The topic as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The second name of a plain symbol's topic, with the venue in front: that of
    /// `kline:1m:BTC-USDT` is `kline:1m:BINANCE:BTC-USDT` if its bars come from Binance. `None` for
    /// other topics, and for a venue that cannot be in a topic.
    #[must_use]
    pub fn with_exchange(&self, exchange: &str) -> Option<Self> {
        let (before, symbol) = self.split_at_symbol()?;
        if symbol.contains(':') {
            return None;
        }
        let venue = exchange.to_ascii_uppercase();
        format!("{before}:{venue}:{symbol}").parse().ok()
    }

    /// The plain topic of which this may be the second name, and the venue in lower case; see
    /// [`Topic::with_exchange`].
    #[must_use]
    pub fn without_exchange(&self) -> Option<(Self, String)> {
        let (before, symbol) = self.split_at_symbol()?;
        let (venue, pair) = symbol.split_once(':')?;
        let plain = format!("{before}:{pair}").parse().ok()?;
        Some((plain, venue.to_ascii_lowercase()))
    }

    /// The text before the symbol, and the symbol; `None` if the topic names none.
    fn split_at_symbol(&self) -> Option<(&str, &str)> {
        let at = symbol_at(&self.0)?;
        let colon = self.0.match_indices(':').nth(at.checked_sub(1)?)?.0;
        Some((&self.0[..colon], &self.0[colon + 1..]))
    }
}

/// The first part of the symbol in a topic or pattern; `None` if it names none.
fn symbol_at(text: &str) -> Option<usize> {
    Channel::symbol_at_of(text.split(':').next().unwrap_or_default())
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
        let symbol_at = symbol_at(&topic.0);
        let mut index = 0;
        loop {
            match (pattern.next(), parts.next()) {
                (None, None) => return true,
                (Some(">"), Some(_)) => return true,
                (Some(wanted), Some(part)) => {
                    if wanted == "*" && symbol_at == Some(index) && pattern.peek().is_none() {
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
        let root = |pattern: &Self| pattern.0.split(':').next().unwrap_or_default().to_owned();
        let (our_root, other_root) = (root(self), root(other));
        if our_root != "*" && our_root != other_root {
            return false;
        }
        if other_root != "*" {
            return covers_parts(&self.0, &other.0, Channel::symbol_at_of(&other_root));
        }
        // It matches topics of every channel.
        CHANNELS
            .iter()
            .map(|channel| channel.symbol_at)
            .all(|symbol_at| covers_parts(&self.0, &other.0, symbol_at))
    }
}

/// Whether one pattern covers another among the topics of a channel with its symbol there.
fn covers_parts(ours: &str, others: &str, symbol_at: Option<usize>) -> bool {
    let (mut ours, mut others) = (ours.split(':').peekable(), others.split(':').peekable());
    for index in 0.. {
        let (mut our, mut other) = (ours.next(), others.next());
        if index == 0 {
            // Both match the channel, whatever else they match.
            continue;
        }
        if symbol_at == Some(index) {
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
    match Channel::symbol_at_of(parts[0]) {
        Some(symbol_at) => check_symbol(text, &parts, symbol_at),
        None => Ok(()),
    }
}

/// A topic of bars must name a timeframe and a symbol, and one of trades a symbol: a misspelt one
/// would wait for ever.
fn check_symbol(text: &str, parts: &[&str], symbol_at: usize) -> Result<(), ParseTopicError> {
    if parts[0] == KLINE.root && parts[1] != "*" && parts[1] != ">" {
        parts[1]
            .parse::<Width>()
            .map_err(|error| ParseTopicError::Timeframe {
                topic: excerpt(text),
                reason: error.to_string(),
            })?;
    }
    let symbol = parts[symbol_at.min(parts.len())..].join(":");
    let is_open = symbol.contains(['*', '>']) && parts.len() <= symbol_at + 2;
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
