//! The client protocol: what a client may ask, and what a gateway answers.
//!
//! Text frames. A client sends one JSON object a frame; a gateway sends one or more, joined by
//! `\n`. The reference for clients is `docs/protocol.md`, and its tables are tested against the
//! ones here.

use std::collections::HashMap;
use std::fmt::Write as _;

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::topic::{Topic, TopicPattern};

/// The longest `id` that is echoed, in bytes of JSON.
pub const ID_LEN_MAX: usize = 256;
/// The lowest `max_rate` that a client may ask for, in frames a second.
pub const MAX_RATE_MIN: f64 = 0.1;
/// The highest `max_rate` that a client may ask for, in frames a second.
pub const MAX_RATE_MAX: f64 = 1_000.0;

// === close codes

/// What a client should do after a close.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reconnect {
    /// Connect again after a short random delay; another gateway takes over.
    Soon,
    /// Connect again with a growing, jittered delay.
    Backoff,
    /// Do not connect again without a change: the same client would be closed again.
    No,
}

impl Reconnect {
    /// The word in the reference.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Soon => "soon",
            Self::Backoff => "backoff",
            Self::No => "no",
        }
    }
}

/// A row of the close-code table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CloseCode {
    /// The WebSocket close code.
    pub code: u16,
    /// Its name, as in the `reason` of metrics and the reference.
    pub name: &'static str,
    /// The reason that the close frame carries, at most 123 bytes.
    pub reason: &'static str,
    /// What the client should do.
    pub reconnect: Reconnect,
}

macro_rules! close_codes {
    ($($(#[$doc:meta])* $constant:ident = $code:literal, $name:literal, $reconnect:ident, $reason:literal;)*) => {
        impl CloseCode {
            $($(#[$doc])* pub const $constant: Self = Self {
                code: $code, name: $name, reason: $reason, reconnect: Reconnect::$reconnect,
            };)*

            /// Every close code that a gateway sends, in ascending order.
            pub const ALL: &'static [Self] = &[$(Self::$constant),*];
        }
    };
}

close_codes! {
    /// The client asked to close.
    NORMAL = 1000, "normal", No, "bye";
    /// The gateway stops without a drain.
    GOING_AWAY = 1001, "going_away", Soon, "gateway is going away: reconnect";
    /// The client broke the WebSocket protocol.
    PROTOCOL = 1002, "protocol_error", No, "websocket protocol error";
    /// The client sent a binary frame.
    UNSUPPORTED = 1003, "unsupported_data", No, "send text frames: binary frames are not understood";
    /// The client sent text that is not UTF-8.
    INVALID_UTF8 = 1007, "invalid_utf8", No, "text is not valid UTF-8";
    /// The client sent a frame or message above the size limit.
    TOO_BIG = 1009, "message_too_big", No, "message is too big: split the request";
    /// The gateway drains: another one takes over.
    DRAIN = 1012, "drain", Soon, "gateway is restarting: reconnect";
    /// A limit on sessions is reached.
    LIMIT = 1013, "limit", Backoff, "too many sessions: try again later";
    /// The client reads more slowly than it is written to.
    SLOW_CONSUMER = 4000, "slow_consumer", Backoff, "slow consumer: the connection took no data in time";
    /// The client answered no ping.
    IDLE = 4001, "idle", Soon, "idle: no pong or message in time";
    /// The client sends messages faster than allowed.
    MESSAGE_RATE = 4002, "message_rate", Backoff, "too many messages a second";
    /// The client is not who it has to be.
    AUTH = 4003, "auth", No, "authentication failed";
    /// The client asked for nothing in time.
    FIRST_MESSAGE = 4004, "first_message", Backoff, "no request came in time after the handshake";
}

// === requests

/// What a client asks, and the id that the answer echoes.
#[derive(Clone, PartialEq, Debug)]
pub struct Request {
    /// JSON text of the id, its type kept; `None` if the client gave none.
    pub id: Option<Box<str>>,
    /// What is asked.
    pub op: Op,
}

/// The operations.
#[derive(Clone, PartialEq, Debug)]
pub enum Op {
    /// Subscribe, or change the options of what is subscribed.
    Sub(Subscribe),
    /// Unsubscribe.
    Unsub(Vec<Selection>),
    /// List what is subscribed and what there is.
    List,
    /// Ask for a pong.
    Ping,
    /// Authenticate. The token is not kept: this version has nothing to check it with.
    Auth,
}

/// A subscription request.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Subscribe {
    /// What is wanted.
    pub selections: Vec<Selection>,
    /// What of each topic is wanted.
    pub filter: Filter,
    /// Frames a second that the session wants at most; `None` leaves it as it is.
    pub max_rate: Option<MaxRate>,
    /// Where the client was before.
    pub since: Option<Since>,
    /// Topics that are none, and why: they are refused, the others are not.
    pub malformed: Vec<MalformedTopic>,
}

/// One topic or pattern that a request names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Selection {
    /// As written.
    Pattern(TopicPattern),
    /// A symbol of an exchange: the topic with the venue in front where there is one, else the
    /// plain one where there is one, else the one with the venue, pending.
    OfExchange {
        /// With the venue in front: `kline:1m:OKX:BTC-USDT`.
        prefixed: TopicPattern,
        /// Without: `kline:1m:BTC-USDT`.
        plain: TopicPattern,
    },
}

/// What of a topic a subscriber declines.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct Filter {
    /// Forming bars are declined.
    pub closed_only: bool,
    /// Flat bars of intervals without trades are declined.
    pub no_fill: bool,
}

impl Filter {
    /// What two overlapping subscriptions decline together: only what both decline.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self {
            closed_only: self.closed_only && other.closed_only,
            no_fill: self.no_fill && other.no_fill,
        }
    }
}

/// A change of the highest frame rate.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum MaxRate {
    /// No limit but the gateway's own.
    Unlimited,
    /// At most so many frames a second.
    PerSecond(f64),
}

/// Where a client was in some topics.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Since {
    /// The epoch in which the sequence numbers count.
    pub epoch: u64,
    /// The last sequence number seen, by topic.
    pub seq: HashMap<String, u64>,
}

/// A text that should have been a topic.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MalformedTopic {
    /// As written, cut to a bearable length.
    pub topic: String,
    /// What is wrong with it and what to write.
    pub message: String,
}

/// Why a request is refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RequestError {
    /// The request's id, as far as it could be read.
    pub id: Option<Box<str>>,
    /// The code, for programs.
    pub code: ErrorCode,
    /// The reason and the remedy, for people.
    pub message: String,
}

/// The codes of `{"op":"error"}`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ErrorCode {
    /// The frame is not one JSON object.
    InvalidJson,
    /// `op` is missing or none of the table.
    UnknownOp,
    /// A field is missing or of the wrong type.
    BadRequest,
    /// A topic is malformed.
    BadTopic,
    /// An option's value is out of its range.
    BadOption,
    /// The request names or matches more topics than allowed.
    TooManyTopics,
    /// The session would hold more subscriptions than allowed.
    TooManySubscriptions,
    /// This gateway asks for no authentication.
    AuthNotRequired,
}

impl ErrorCode {
    /// Every code, in the order of the reference.
    pub const ALL: &'static [Self] = &[
        Self::InvalidJson,
        Self::UnknownOp,
        Self::BadRequest,
        Self::BadTopic,
        Self::BadOption,
        Self::TooManyTopics,
        Self::TooManySubscriptions,
        Self::AuthNotRequired,
    ];

    /// The code as sent.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidJson => "invalid_json",
            Self::UnknownOp => "unknown_op",
            Self::BadRequest => "bad_request",
            Self::BadTopic => "bad_topic",
            Self::BadOption => "bad_option",
            Self::TooManyTopics => "too_many_topics",
            Self::TooManySubscriptions => "too_many_subscriptions",
            Self::AuthNotRequired => "auth_not_required",
        }
    }
}

/// How much one request may ask.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RequestLimits {
    /// Topics and patterns in one request, after channels, symbols and exchanges are multiplied.
    pub topics_max: usize,
    /// How many of them may hold wildcards.
    pub wildcards_max: usize,
}

impl Default for RequestLimits {
    fn default() -> Self {
        Self {
            topics_max: 1_000,
            wildcards_max: 50,
        }
    }
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, default)]
    op: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'a RawValue>,
}

/// Keeps a `null` apart from a missing field: an id of null is echoed.
fn present<'de: 'a, 'a, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

#[derive(Deserialize)]
struct TopicFields {
    #[serde(default)]
    topics: Option<Vec<String>>,
    #[serde(default)]
    channels: Option<Vec<String>>,
    #[serde(default)]
    symbols: Option<Vec<String>>,
    #[serde(default)]
    exchanges: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct OptionFields {
    #[serde(default)]
    closed_only: bool,
    #[serde(default)]
    fill: Option<String>,
    #[serde(default)]
    max_rate: Option<f64>,
    #[serde(default)]
    since: Option<SinceFields>,
}

#[derive(Deserialize)]
struct SinceFields {
    epoch: u64,
    #[serde(default)]
    seq: HashMap<String, u64>,
}

impl Request {
    /// Reads a client's frame.
    ///
    /// # Errors
    /// A [`RequestError`] that says what is wrong and what to send instead. Malformed topics are
    /// no error of the request: see [`Subscribe::malformed`].
    pub fn parse(text: &str, limits: RequestLimits) -> Result<Self, RequestError> {
        let fail = |id: Option<Box<str>>, code, message: String| RequestError { id, code, message };
        let envelope: Envelope<'_> = match serde_json::from_str(text) {
            Ok(envelope) if text.trim_start().starts_with('{') => envelope,
            Ok(_) => {
                return Err(fail(
                    None,
                    ErrorCode::InvalidJson,
                    "not one JSON object".to_owned(),
                ));
            }
            Err(error) if error.is_data() => {
                return Err(fail(
                    None,
                    ErrorCode::InvalidJson,
                    "send one JSON object a frame, such as {\"op\":\"ping\"}".to_owned(),
                ));
            }
            Err(error) => {
                return Err(fail(
                    None,
                    ErrorCode::InvalidJson,
                    format!("not one JSON object: {error}"),
                ));
            }
        };
        let id = match envelope.id.map(RawValue::get) {
            None => None,
            Some(id) if id.len() > ID_LEN_MAX => {
                return Err(fail(
                    None,
                    ErrorCode::BadRequest,
                    format!("id is longer than {ID_LEN_MAX} bytes"),
                ));
            }
            Some(id) if id.starts_with(['{', '[']) => {
                return Err(fail(
                    None,
                    ErrorCode::BadRequest,
                    "id is to be a number, a string, a boolean or null".to_owned(),
                ));
            }
            Some(id) => Some(Box::from(id)),
        };
        let op: Option<String> = envelope
            .op
            .and_then(|op| serde_json::from_str(op.get()).ok());
        let op = match op.as_deref() {
            Some("sub") => parse_subscribe(text, limits).map(Op::Sub),
            Some("unsub") => parse_topics(text, limits).and_then(|(selections, malformed)| {
                match malformed.first() {
                    Some(first) => Err((ErrorCode::BadTopic, first.message.clone())),
                    None => Ok(Op::Unsub(selections)),
                }
            }),
            Some("list") => Ok(Op::List),
            Some("ping") => Ok(Op::Ping),
            Some("auth") => Ok(Op::Auth),
            Some(other) => Err((
                ErrorCode::UnknownOp,
                format!(
                    "unknown op '{}': use sub, unsub, list, ping or auth",
                    other.chars().take(32).collect::<String>()
                ),
            )),
            None => Err((
                ErrorCode::UnknownOp,
                "op is missing: use sub, unsub, list, ping or auth".to_owned(),
            )),
        };
        match op {
            Ok(op) => Ok(Self { id, op }),
            Err((code, message)) => Err(fail(id, code, message)),
        }
    }

    /// The subscription that a handshake's query asks for: `topics` separated by commas, and the
    /// options of `sub` but `since`. `None` where the query names no topics.
    ///
    /// # Errors
    /// As for [`Request::parse`].
    pub fn from_query(
        query: &[(String, String)],
        limits: RequestLimits,
    ) -> Result<Option<Self>, RequestError> {
        let get = |key: &str| {
            let pair = query.iter().find(|(name, _)| name == key);
            pair.map(|(_, value)| value.as_str())
        };
        let Some(topics) = get("topics") else {
            return Ok(None);
        };
        let fail = |(code, message)| RequestError {
            id: None,
            code,
            message,
        };
        let texts = topics
            .split(',')
            .map(str::trim)
            .filter(|text| !text.is_empty());
        let mut subscribe = Subscribe::default();
        for text in texts {
            add_pattern(text, &mut subscribe.selections, &mut subscribe.malformed);
        }
        check_count(
            subscribe.selections.len() + subscribe.malformed.len(),
            limits,
        )
        .and_then(|()| check_wildcards(&subscribe.selections, limits))
        .map_err(fail)?;
        let max_rate = match get("max_rate").map(str::parse::<f64>) {
            None => None,
            Some(Ok(rate)) => Some(rate),
            Some(Err(_)) => {
                return Err(fail((
                    ErrorCode::BadOption,
                    "max_rate is to be a number of frames a second".to_owned(),
                )));
            }
        };
        let options = OptionFields {
            closed_only: matches!(get("closed_only"), Some("true" | "1")),
            fill: get("fill").map(str::to_owned),
            max_rate,
            since: None,
        };
        apply_options(options, &mut subscribe).map_err(fail)?;
        Ok(Some(Self {
            id: None,
            op: Op::Sub(subscribe),
        }))
    }
}

type Refusal = (ErrorCode, String);

fn bad_fields(error: &serde_json::Error) -> Refusal {
    (ErrorCode::BadRequest, format!("bad field: {error}"))
}

fn parse_subscribe(text: &str, limits: RequestLimits) -> Result<Subscribe, Refusal> {
    let options: OptionFields = serde_json::from_str(text).map_err(|error| bad_fields(&error))?;
    let (selections, malformed) = parse_topics(text, limits)?;
    let mut subscribe = Subscribe {
        selections,
        malformed,
        ..Subscribe::default()
    };
    apply_options(options, &mut subscribe)?;
    Ok(subscribe)
}

fn apply_options(options: OptionFields, subscribe: &mut Subscribe) -> Result<(), Refusal> {
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
    };
    subscribe.max_rate = match options.max_rate {
        None => None,
        Some(0.0) => Some(MaxRate::Unlimited),
        Some(rate) if (MAX_RATE_MIN..=MAX_RATE_MAX).contains(&rate) => {
            Some(MaxRate::PerSecond(rate))
        }
        Some(_) => {
            return Err((
                ErrorCode::BadOption,
                format!(
                    "max_rate is frames a second, {MAX_RATE_MIN} to {MAX_RATE_MAX}, or 0 for no limit"
                ),
            ));
        }
    };
    subscribe.since = options.since.map(|since| Since {
        epoch: since.epoch,
        seq: since.seq,
    });
    Ok(())
}

fn check_count(count: usize, limits: RequestLimits) -> Result<(), Refusal> {
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

fn check_wildcards(selections: &[Selection], limits: RequestLimits) -> Result<(), Refusal> {
    let is_wildcard = |selection: &&Selection| match selection {
        Selection::Pattern(pattern)
        | Selection::OfExchange {
            prefixed: pattern, ..
        } => pattern.as_topic().is_none(),
    };
    let count = selections.iter().filter(is_wildcard).count();
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

fn add_pattern(
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
                topic: text.chars().take(crate::topic::TOPIC_LEN_MAX).collect(),
                message: error.to_string(),
            });
            false
        }
    }
}

fn parse_topics(
    text: &str,
    limits: RequestLimits,
) -> Result<(Vec<Selection>, Vec<MalformedTopic>), Refusal> {
    let fields: TopicFields = serde_json::from_str(text).map_err(|error| bad_fields(&error))?;
    let topics = fields.topics.unwrap_or_default();
    let channels = fields.channels.unwrap_or_default();
    let symbols = fields.symbols.unwrap_or_default();
    let exchanges = fields.exchanges.unwrap_or_default();
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
    for topic in &topics {
        add_pattern(topic, &mut selections, &mut malformed);
    }
    for channel in &channels {
        let channel = channel.replace('_', ":");
        for symbol in &symbols {
            if exchanges.is_empty() {
                add_pattern(
                    &format!("{channel}:{symbol}"),
                    &mut selections,
                    &mut malformed,
                );
            }
            for exchange in &exchanges {
                let venue = exchange.to_ascii_uppercase();
                let prefixed = format!("{channel}:{venue}:{symbol}");
                if !add_pattern(&prefixed, &mut selections, &mut malformed) {
                    continue;
                }
                if let (Some(Selection::Pattern(prefixed)), Ok(plain)) = (
                    selections.last().cloned(),
                    format!("{channel}:{symbol}").parse::<TopicPattern>(),
                ) && plain.as_topic().is_some()
                {
                    selections.pop();
                    selections.push(Selection::OfExchange { prefixed, plain });
                }
            }
        }
    }
    check_wildcards(&selections, limits)?;
    Ok((selections, malformed))
}

// === answers

/// Writes `"op":"<op>"` and the echoed id of an answer, after the opening brace.
fn open_answer(op: &str, id: Option<&str>) -> String {
    let mut json = format!(r#"{{"op":"{op}""#);
    if let Some(id) = id {
        let _ = write!(json, r#","id":{id}"#);
    }
    json
}

fn push_strings<T: AsRef<str>>(json: &mut String, key: &str, values: impl IntoIterator<Item = T>) {
    let _ = write!(json, r#","{key}":["#);
    for (index, value) in values.into_iter().enumerate() {
        if index > 0 {
            json.push(',');
        }
        push_string(json, value.as_ref());
    }
    json.push(']');
}

fn push_string(json: &mut String, value: &str) {
    json.push_str(&serde_json::to_string(value).expect("a string is valid JSON"));
}

/// The answer to `sub` and `unsub`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Ack<'a> {
    /// Echoed.
    pub id: Option<&'a str>,
    /// What is now subscribed or no longer subscribed by this request.
    pub topics: Vec<&'a str>,
    /// Those of them that nothing is known of yet: they start when they first appear.
    pub pending: Vec<&'a str>,
    /// Those for which `since` could not be honoured: what came in between is not wholly known.
    pub not_resumed: Vec<&'a str>,
    /// What was to be unsubscribed but was not subscribed.
    pub not_subscribed: Vec<&'a str>,
}

impl Ack<'_> {
    /// As JSON; empty lists but `topics` are left out.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut json = open_answer("ack", self.id);
        push_strings(&mut json, "topics", &self.topics);
        for (key, values) in [
            ("pending", &self.pending),
            ("not_resumed", &self.not_resumed),
            ("not_subscribed", &self.not_subscribed),
        ] {
            if !values.is_empty() {
                push_strings(&mut json, key, values);
            }
        }
        json.push('}');
        json
    }
}

/// `{"op":"pong"}`.
#[must_use]
pub fn encode_pong(id: Option<&str>) -> String {
    open_answer("pong", id) + "}"
}

/// The answer to `list`; `topics` is the JSON array of known topics, `truncated` says that there
/// are more.
#[must_use]
pub fn encode_list<'a>(
    id: Option<&str>,
    subscriptions: impl IntoIterator<Item = &'a str>,
    topics: &str,
    truncated: bool,
) -> String {
    let mut json = open_answer("list", id);
    push_strings(&mut json, "subscriptions", subscriptions);
    let _ = write!(json, r#","topics":{topics}"#);
    if truncated {
        json.push_str(r#","truncated":true"#);
    }
    json.push('}');
    json
}

/// `{"op":"skipped"}`: closed bars of a topic were conflated away, and there is no message of that
/// topic to say it in, because the subscriber declines all that is left.
#[must_use]
pub fn encode_skipped(topic: &Topic, skipped: u64) -> String {
    let mut json = open_answer("skipped", None);
    let _ = write!(json, r#","topic":"{topic}","skipped":{skipped}}}"#);
    json
}

/// `{"op":"error"}`; `topics` names those that it is about, if any.
#[must_use]
pub fn encode_error(id: Option<&str>, code: ErrorCode, message: &str, topics: &[&str]) -> String {
    let mut json = open_answer("error", id);
    let _ = write!(json, r#","code":"{}","message":"#, code.as_str());
    push_string(&mut json, message);
    if !topics.is_empty() {
        push_strings(&mut json, "topics", topics);
    }
    json.push('}');
    json
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn parse(text: &str) -> Request {
        Request::parse(text, RequestLimits::default()).expect("a request")
    }

    #[track_caller]
    fn check_refused(text: &str, code: ErrorCode) -> RequestError {
        let error = Request::parse(text, RequestLimits::default()).expect_err(text);
        assert_eq!(error.code, code, "{text}: {}", error.message);
        error
    }

    fn patterns(request: &Request) -> Vec<String> {
        let (Op::Sub(Subscribe { selections, .. }) | Op::Unsub(selections)) = &request.op else {
            return Vec::new();
        };
        selections
            .iter()
            .map(|selection| match selection {
                Selection::Pattern(pattern) => pattern.to_string(),
                Selection::OfExchange { prefixed, plain } => format!("{prefixed}|{plain}"),
            })
            .collect()
    }

    #[test]
    fn the_id_is_echoed_with_its_type_kept() {
        for id in [
            "1",
            "0",
            "1763697600000",
            "\"a-b\"",
            "null",
            "-1",
            "1.50",
            "true",
        ] {
            let request = parse(&format!(r#"{{"op":"ping","id":{id}}}"#));
            assert_eq!(request.id.as_deref(), Some(id));
            assert_eq!(
                encode_pong(Some(id)),
                format!(r#"{{"op":"pong","id":{id}}}"#)
            );
        }
        check_refused(r#"{"op":"ping","id":{"a":1}}"#, ErrorCode::BadRequest);
        check_refused(
            &format!(r#"{{"op":"ping","id":"{}"}}"#, "x".repeat(300)),
            ErrorCode::BadRequest,
        );
    }

    #[test]
    fn channels_symbols_and_exchanges_are_multiplied() {
        let request = parse(
            r#"{"op":"sub","channels":["kline_1m","ticker"],"symbols":["BTC-USDT"],"exchanges":["binance","okx"]}"#,
        );
        assert_eq!(
            patterns(&request),
            [
                "kline:1m:BINANCE:BTC-USDT|kline:1m:BTC-USDT",
                "kline:1m:OKX:BTC-USDT|kline:1m:BTC-USDT",
                "ticker:BINANCE:BTC-USDT|ticker:BTC-USDT",
                "ticker:OKX:BTC-USDT|ticker:BTC-USDT",
            ]
        );
        let request = parse(r#"{"op":"sub","channels":["kline_1s"],"symbols":["A-B","*"]}"#);
        assert_eq!(patterns(&request), ["kline:1s:A-B", "kline:1s:*"]);
    }

    #[test]
    fn options_are_read_and_held_to_their_ranges() {
        let Op::Sub(subscribe) = parse(
            r#"{"op":"sub","topics":["kline:1s:A-B"],"closed_only":true,"fill":"none","max_rate":2,"since":{"epoch":3,"seq":{"kline:1s:A-B":17}}}"#,
        )
        .op
        else {
            panic!("a subscription");
        };
        assert!(subscribe.filter.closed_only && subscribe.filter.no_fill);
        assert_eq!(subscribe.max_rate, Some(MaxRate::PerSecond(2.0)));
        assert_eq!(subscribe.since.expect("since").seq["kline:1s:A-B"], 17);
        let bad = |option: &str| format!(r#"{{"op":"sub","topics":["kline:1s:A-B"],{option}}}"#);
        check_refused(&bad(r#""max_rate":-1"#), ErrorCode::BadOption);
        check_refused(&bad(r#""max_rate":1e9"#), ErrorCode::BadOption);
        check_refused(&bad(r#""fill":"zero""#), ErrorCode::BadOption);
        check_refused(&bad(r#""closed_only":"yes""#), ErrorCode::BadRequest);
        check_refused(&bad(r#""since":{"seq":{}}"#), ErrorCode::BadRequest);
    }

    #[test]
    fn what_is_no_request_says_what_to_send() {
        for text in [
            "",
            "hello",
            "[1]",
            "5",
            "{\"op\":\"ping\"}\n{\"op\":\"ping\"}",
            "{\"op\":",
            "null",
        ] {
            let error = check_refused(text, ErrorCode::InvalidJson);
            assert!(error.message.contains("JSON object"), "{}", error.message);
        }
        check_refused(r#"{"connect":{}}"#, ErrorCode::UnknownOp);
        check_refused(r#"{"op":7}"#, ErrorCode::UnknownOp);
        check_refused(r#"{"op":"subscribe","id":1}"#, ErrorCode::UnknownOp);
        check_refused(r#"{"op":"sub"}"#, ErrorCode::BadRequest);
        check_refused(r#"{"op":"sub","topics":"x:y"}"#, ErrorCode::BadRequest);
        check_refused(
            r#"{"op":"sub","channels":["kline_1m"]}"#,
            ErrorCode::BadRequest,
        );
    }

    #[test]
    fn malformed_topics_leave_the_others_standing() {
        let Op::Sub(subscribe) =
            parse(r#"{"op":"sub","topics":["kline:1m:A-B","kline:7m:A-B","x"]}"#).op
        else {
            panic!("a subscription");
        };
        assert_eq!(
            (subscribe.selections.len(), subscribe.malformed.len()),
            (1, 2)
        );
    }

    #[test]
    fn ten_thousand_topics_in_one_request_are_refused() {
        let topics: Vec<_> = (0..10_000).map(|n| format!("\"a:{n}\"")).collect();
        let error = check_refused(
            &format!(r#"{{"op":"sub","id":9,"topics":[{}]}}"#, topics.join(",")),
            ErrorCode::TooManyTopics,
        );
        assert_eq!(error.id.as_deref(), Some("9"));
    }

    #[test]
    fn a_handshake_query_subscribes() {
        let query = |pairs: &[(&str, &str)]| {
            let pairs: Vec<_> = pairs
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect();
            Request::from_query(&pairs, RequestLimits::default())
        };
        assert_eq!(query(&[]), Ok(None));
        let request = query(&[("topics", "kline:1m:A-B, kline:1s:*"), ("max_rate", "2")])
            .expect("valid")
            .expect("topics");
        assert_eq!(patterns(&request), ["kline:1m:A-B", "kline:1s:*"]);
        assert!(query(&[("topics", "")]).is_err());
        assert!(query(&[("topics", "a:b"), ("max_rate", "x")]).is_err());
    }

    #[test]
    fn answers_are_valid_json() {
        let ack = Ack {
            id: Some("\"x\""),
            topics: vec!["a:b"],
            pending: vec!["a:b"],
            ..Ack::default()
        };
        assert_eq!(
            ack.encode(),
            r#"{"op":"ack","id":"x","topics":["a:b"],"pending":["a:b"]}"#
        );
        let error = encode_error(None, ErrorCode::BadTopic, "quote \" and \n", &["a\"b"]);
        let value: serde_json::Value = serde_json::from_str(&error).expect("valid JSON");
        assert_eq!(value["topics"][0], "a\"b");
        let list = encode_list(Some("1"), ["a:b"], "[\"a:b\"]", true);
        assert!(serde_json::from_str::<serde_json::Value>(&list).is_ok());
    }

    #[test]
    fn close_reasons_fit_a_close_frame() {
        for row in CloseCode::ALL {
            assert!(row.reason.len() <= 123, "{}", row.name);
        }
        assert!(CloseCode::ALL.is_sorted_by_key(|row| row.code));
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in ".{0,300}") {
            let _ = Request::parse(&text, RequestLimits::default());
        }

        #[test]
        fn arbitrary_fields_never_panic(
            op in "sub|unsub|list|ping|auth|[a-z]{0,5}",
            id in "null|1|\"x\"|\\{\\}|\\[\\]|1e99",
            topics in "\\[\\]|\\[\"kline:1m:[A-Z*]{1,3}(-[A-Z]{1,3})?\"\\]|5|null|\\[1\\]",
            extra in "|,\"max_rate\":(null|-1|0|5|1e400)|,\"since\":(null|1|\\{\"epoch\":1\\})|,\"channels\":\\[\"kline_1m\"\\],\"symbols\":\\[\"A-B\",\"\"\\]",
        ) {
            let text = format!(r#"{{"op":"{op}","id":{id},"topics":{topics}{extra}}}"#);
            if let Err(error) = Request::parse(&text, RequestLimits::default()) {
                prop_assert!(!error.message.is_empty());
            }
        }
    }
}
