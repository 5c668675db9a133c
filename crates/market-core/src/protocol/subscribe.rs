//! The topics of a subscription, and its options.

use std::collections::HashMap;

use serde::Deserialize;

use super::book_form::BookForm;
use super::error_code::{ErrorCode, Refusal};
use super::past::{self, Past, PastFields};
use super::request_limits::RequestLimits;
use super::selection::Selection;
use crate::channel;
use crate::topic::{TOPIC_LEN_MAX, Topic, TopicPattern};
use crate::value::clock::UnixMillis;

/// The lowest `max_rate` that a client may ask for, in frames a second.
pub const MAX_RATE_MIN: f64 = 0.1;
/// The highest `max_rate` that a client may ask for, in frames a second.
pub const MAX_RATE_MAX: f64 = 1_000.0;

/// The most characters that an error quotes of the parser's words.
const EXCERPT_CHARS: usize = 200;

/// A subscription request.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Subscribe {
    /// What is wanted.
    pub selections: Vec<Selection>,
    /// The messages of each topic that are declined.
    pub filter: Filter,
    /// The most frames a second for the session; `None` leaves it unchanged.
    pub max_rate: Option<MaxRate>,
    /// Where the client resumes.
    pub since: Option<Box<Since>>,
    /// How far back it begins: closed bars of the past come first.
    pub past: Option<Box<Past>>,
    /// Malformed topics with the reason: they are refused, the others are not.
    pub malformed: Vec<MalformedTopic>,
}

/// The messages of a topic that a subscriber declines.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct Filter {
    /// Forming bars are declined.
    pub closed_only: bool,
    /// Flat bars of intervals without trades are declined.
    pub no_fill: bool,
    /// What of order books is wanted.
    pub book: BookForm,
}

impl Filter {
    /// The messages that two overlapping subscriptions decline together: a bar is withheld only if
    /// both decline it.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self {
            closed_only: self.closed_only && other.closed_only,
            no_fill: self.no_fill && other.no_fill,
            book: self.book.union(other.book),
        }
    }
}

/// A change of the highest frame rate.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum MaxRate {
    /// No limit but the gateway's own.
    Unlimited,
    /// At most this number of frames a second.
    PerSecond(f64),
}

/// Where a client resumes, by topic.
#[derive(Deserialize, Clone, PartialEq, Eq, Debug, Default)]
pub struct Since {
    /// The epoch in which the sequence numbers count.
    pub epoch: u64,
    /// The last sequence number seen, by topic.
    #[serde(default)]
    pub seq: HashMap<String, u64>,
    /// By topic, the end of the last closed bar seen, unix ms. A closed bar that reached the
    /// client's gateway late has a lower number than others that the client has seen.
    #[serde(default)]
    pub closed_ms: HashMap<String, UnixMillis>,
}

/// A malformed topic.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MalformedTopic {
    /// As written, but shortened.
    pub topic: String,
    /// What is wrong with it and what to write.
    pub message: String,
}

/// The topics that a request names, in any dialect.
#[derive(Deserialize, Clone, PartialEq, Debug, Default)]
pub struct TopicFields {
    /// Topics and patterns.
    #[serde(default)]
    pub topics: Option<Vec<String>>,
    /// Channels such as `kline_1m`: each of them of each symbol is meant.
    #[serde(default)]
    pub channels: Option<Vec<String>>,
    /// Symbols.
    #[serde(default)]
    pub symbols: Option<Vec<String>>,
    /// Exchanges of the symbols.
    #[serde(default)]
    pub exchanges: Option<Vec<String>>,
}

/// The options of a subscription, in any dialect.
#[derive(Deserialize, Clone, PartialEq, Debug, Default)]
pub struct OptionFields {
    /// Whether forming bars are declined.
    #[serde(default)]
    pub closed_only: bool,
    /// `none` declines the bars of intervals without trades.
    #[serde(default)]
    pub fill: Option<String>,
    /// Frames a second at most.
    #[serde(default)]
    pub max_rate: Option<f64>,
    /// Levels of each side of order books.
    #[serde(default)]
    pub depth: Option<u64>,
    /// Whether order books come as changes.
    #[serde(default)]
    pub changes: bool,
    /// Where the client was before.
    #[serde(default)]
    pub since: Option<Since>,
    /// How far back it begins.
    #[serde(default)]
    pub from: Option<PastFields>,
}

fn bad_fields(error: &serde_json::Error) -> Refusal {
    // The parser quotes the request, however long it is.
    let excerpt: String = error.to_string().chars().take(EXCERPT_CHARS).collect();
    (ErrorCode::BadRequest, format!("bad field: {excerpt}"))
}

/// Reads the fields of an operation out of a request's JSON.
pub(super) fn fields<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, Refusal> {
    serde_json::from_str(text).map_err(|error| bad_fields(&error))
}

/// A subscription of these fields, if they are valid.
pub(super) fn subscribe(
    topics: TopicFields,
    options: OptionFields,
    limits: RequestLimits,
) -> Result<Subscribe, Refusal> {
    let (selections, malformed) = select(topics, limits)?;
    let mut subscribe = Subscribe {
        selections,
        malformed,
        ..Subscribe::default()
    };
    apply_options(options, &mut subscribe)?;
    Ok(subscribe)
}

pub(super) fn apply_options(
    options: OptionFields,
    subscribe: &mut Subscribe,
) -> Result<(), Refusal> {
    let no_fill = match options.fill.as_deref() {
        None | Some("flat") => false,
        Some("none") => true,
        Some(_) => {
            let message = "fill is \"none\" (no bars for intervals without trades) or \"flat\"";
            return Err((ErrorCode::BadOption, message.to_owned()));
        }
    };
    subscribe.filter = Filter {
        closed_only: options.closed_only,
        no_fill,
        book: BookForm::of_options(options.depth, options.changes)?,
    };
    subscribe.max_rate = options.max_rate.map(max_rate).transpose()?;
    subscribe.since = options.since.map(since).transpose()?.map(Box::new);
    subscribe.past = options.from.map(past::past).transpose()?.map(Box::new);
    if subscribe.past.is_some() {
        if subscribe.since.is_some() {
            let message = "from and since both say where to begin: send from alone";
            return Err((ErrorCode::BadOption, message.to_owned()));
        }
        past::check_topics(&subscribe.selections)?;
    }
    Ok(())
}

/// A position belongs to one topic. A pattern has none, and would be ignored silently.
fn since(since: Since) -> Result<Since, Refusal> {
    let Since { seq, closed_ms, .. } = &since;
    let is_none = |text: &&String| text.parse::<Topic>().is_err();
    if let Some(text) = seq
        .keys()
        .chain(closed_ms.keys().filter(|key| !seq.contains_key(*key)))
        .find(is_none)
    {
        let excerpt: String = text.chars().take(TOPIC_LEN_MAX).collect();
        let message = format!(
            "since has the place of each topic by its name, and '{excerpt}' is none: give those of the topics that you got, such as kline:1m:BTC-USD"
        );
        return Err((ErrorCode::BadOption, message));
    }
    if let Some(text) = closed_ms.keys().find(|key| !seq.contains_key(*key)) {
        let message = format!("since.closed_ms names '{text}', and since.seq does not: give both");
        return Err((ErrorCode::BadOption, message));
    }
    Ok(since)
}

fn max_rate(rate: f64) -> Result<MaxRate, Refusal> {
    if rate == 0.0 {
        Ok(MaxRate::Unlimited)
    } else if (MAX_RATE_MIN..=MAX_RATE_MAX).contains(&rate) {
        Ok(MaxRate::PerSecond(rate))
    } else {
        let message = format!(
            "max_rate is frames a second, {MAX_RATE_MIN} to {MAX_RATE_MAX}, or 0 for no limit"
        );
        Err((ErrorCode::BadOption, message))
    }
}

#[derive(Deserialize)]
struct RateFields {
    max_rate: f64,
}

pub(super) fn parse_rate(text: &str) -> Result<MaxRate, Refusal> {
    let fields: RateFields = fields(text)?;
    max_rate(fields.max_rate)
}

pub(super) fn check_count(count: usize, limits: RequestLimits) -> Result<(), Refusal> {
    if count == 0 {
        let message =
            "name topics, such as \"topics\":[\"kline:1m:BTC-USD\"], or channels and symbols";
        return Err((ErrorCode::BadRequest, message.to_owned()));
    }
    if count > limits.topics_max {
        return Err((
            ErrorCode::TooManyTopics,
            format!(
                "{count} topics in one request, {} are allowed: send several, or use wildcards such as kline:1m:*",
                limits.topics_max
            ),
        ));
    }
    Ok(())
}

pub(super) fn check_wildcards(
    selections: &[Selection],
    limits: RequestLimits,
) -> Result<(), Refusal> {
    let count = selections
        .iter()
        .filter(|selection| selection.is_wildcard())
        .count();
    if count > limits.wildcards_max {
        return Err((
            ErrorCode::TooManyTopics,
            format!(
                "{count} wildcards in one request, {} are allowed",
                limits.wildcards_max
            ),
        ));
    }
    Ok(())
}

pub(super) fn add_pattern(
    text: &str,
    selections: &mut Vec<Selection>,
    malformed: &mut Vec<MalformedTopic>,
) -> bool {
    match text.parse::<TopicPattern>() {
        Ok(pattern) => {
            selections.push(Selection::Pattern(pattern));
            true
        }
        Err(error) => {
            malformed.push(MalformedTopic {
                topic: text.chars().take(TOPIC_LEN_MAX).collect(),
                message: error.to_string(),
            });
            false
        }
    }
}

/// Beside `exchanges`, a symbol is a pair, and an exchange is one part. With more parts, one topic
/// would have several meanings: the exchange stands between the channel and the symbol.
fn refuse_second_exchanges(
    symbols: &mut Vec<String>,
    exchanges: &mut Vec<String>,
    malformed: &mut Vec<MalformedTopic>,
) {
    let mut refuse = |parts: &mut Vec<String>, what_to_write: &str| {
        parts.retain(|part| {
            let is_single = !part.contains(':');
            if !is_single {
                malformed.push(MalformedTopic {
                    topic: part.clone(),
                    message: format!("'{part}' has several parts: {what_to_write}"),
                });
            }
            is_single
        });
    };
    refuse(
        symbols,
        "beside 'exchanges', write a symbol without its exchange, such as BTC-USDT",
    );
    refuse(
        exchanges,
        "write the name of one exchange, such as okx, and its channels and symbols beside it",
    );
}

/// What these fields name, and what of it is no topic.
pub(super) fn select(
    fields: TopicFields,
    limits: RequestLimits,
) -> Result<(Vec<Selection>, Vec<MalformedTopic>), Refusal> {
    let topics = fields.topics.unwrap_or_default();
    let mut channels = fields.channels.unwrap_or_default();
    let mut symbols = fields.symbols.unwrap_or_default();
    let mut exchanges = fields.exchanges.unwrap_or_default();
    if channels.is_empty() != symbols.is_empty() {
        let message = "channels and symbols go together: each channel of each symbol is meant";
        return Err((ErrorCode::BadRequest, message.to_owned()));
    }
    let product = channels
        .len()
        .saturating_mul(symbols.len())
        .saturating_mul(exchanges.len().max(1));
    check_count(topics.len().saturating_add(product), limits)?;
    let mut selections = Vec::with_capacity(topics.len() + product);
    let mut malformed = Vec::new();
    let names_no_exchange = exchanges.is_empty();
    // If a part is too long, none of its products is a topic. The part is named once.
    for parts in [&mut channels, &mut symbols, &mut exchanges] {
        parts.retain(|part| {
            let fits = part.len() <= TOPIC_LEN_MAX;
            if !fits {
                malformed.push(MalformedTopic {
                    topic: part.chars().take(TOPIC_LEN_MAX).collect(),
                    message: format!("a part of a topic is longer than {TOPIC_LEN_MAX} bytes"),
                });
            }
            fits
        });
    }
    if !names_no_exchange {
        refuse_second_exchanges(&mut symbols, &mut exchanges, &mut malformed);
    }
    for topic in &topics {
        add_pattern(topic, &mut selections, &mut malformed);
    }
    for channel in &channels {
        let channel = channel::topic_start(channel);
        for symbol in &symbols {
            if names_no_exchange {
                add_pattern(
                    &format!("{channel}:{symbol}"),
                    &mut selections,
                    &mut malformed,
                );
            }
            for exchange in &exchanges {
                let prefixed = format!("{channel}:{}:{symbol}", exchange.to_ascii_uppercase());
                if !add_pattern(&prefixed, &mut selections, &mut malformed) {
                    continue;
                }
                if let (Some(Selection::Pattern(prefixed)), Ok(plain)) = (
                    selections.last().cloned(),
                    format!("{channel}:{symbol}").parse::<TopicPattern>(),
                ) {
                    selections.pop();
                    selections.push(Selection::OfExchange {
                        exchange: exchange.to_ascii_lowercase().into(),
                        prefixed,
                        plain,
                    });
                }
            }
        }
    }
    check_wildcards(&selections, limits)?;
    Ok((selections, malformed))
}
