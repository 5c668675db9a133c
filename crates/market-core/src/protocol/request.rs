//! What a client asks.

use std::fmt;

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::error_code::{ErrorCode, Refusal, RequestError};
use super::past;
use super::request_limits::RequestLimits;
use super::selection::Selection;
use super::subscribe::{
    MaxRate, OptionFields, Subscribe, TopicFields, add_pattern, apply_options, check_count,
    check_wildcards, fields, parse_rate, select, subscribe,
};

/// The longest `id` that is echoed, in bytes of JSON.
pub const ID_LEN_MAX: usize = 256;

/// A client's request, and the id that the answer repeats.
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
    /// Subscribe, or change the options of a subscription.
    Sub(Subscribe),
    /// Unsubscribe.
    Unsub(Vec<Selection>),
    /// Change the highest frame rate.
    Rate(MaxRate),
    /// List the subscriptions and the known topics.
    List,
    /// Ask for a pong.
    Ping,
    /// Authenticate.
    Auth(Token),
}

/// The fields of an operation that was read in another form than JSON.
#[derive(Clone, PartialEq, Debug)]
pub enum OpFields {
    /// Subscribe.
    Sub(TopicFields, Box<OptionFields>),
    /// Unsubscribe.
    Unsub(TopicFields),
    /// List what is subscribed and what there is.
    List,
    /// Ask for a pong.
    Ping,
    /// Authenticate.
    Auth(Token),
}

/// A secret that identifies its bearer. Formatting hides it, so it appears nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(Box<str>);

impl Token {
    /// Hides a secret.
    #[must_use]
    pub fn new(secret: impl Into<Box<str>>) -> Self {
        Self(secret.into())
    }

    /// The secret itself. Check it and drop it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(hidden)")
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

impl Request {
    /// Reads a client's frame.
    ///
    /// # Errors
    /// A [`RequestError`] that says what is wrong and what to send instead. Malformed topics are
    /// not an error of the request: see [`Subscribe::malformed`].
    pub fn parse(text: &str, limits: RequestLimits) -> Result<Self, RequestError> {
        let fail = |id: Option<Box<str>>, code, message: String| RequestError {
            id,
            code,
            message,
            topics: Vec::new(),
        };
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
            Some(id) if id.starts_with(['{', '[']) => {
                return Err(fail(
                    None,
                    ErrorCode::BadRequest,
                    "id is to be a number, a string, a boolean or null".to_owned(),
                ));
            }
            id => check_id(id.map(Box::from))?,
        };
        let op: Option<String> = envelope
            .op
            .and_then(|op| serde_json::from_str(op.get()).ok());
        let mut topics = Vec::new();
        let op = match op.as_deref() {
            Some("sub") => fields(text)
                .and_then(|options| subscribe(fields(text)?, options, limits))
                .map(Op::Sub),
            Some("unsub") => fields(text).and_then(|named| unsubscribe(named, limits, &mut topics)),
            Some("rate") => parse_rate(text).map(Op::Rate),
            Some("list") => Ok(Op::List),
            Some("ping") => Ok(Op::Ping),
            Some("auth") => parse_token(text).map(Op::Auth),
            Some(other) => Err((
                ErrorCode::UnknownOp,
                format!(
                    "unknown op '{}': use sub, unsub, rate, list, ping or auth",
                    other.chars().take(32).collect::<String>()
                ),
            )),
            None => Err((
                ErrorCode::UnknownOp,
                "op is missing: use sub, unsub, rate, list, ping or auth".to_owned(),
            )),
        };
        Self::of(id, op, topics)
    }

    /// A request that was read in another form than JSON, held to the same rules. The answer
    /// echoes `id` as a JSON string.
    ///
    /// # Errors
    /// As for [`Request::parse`].
    pub fn from_fields(
        id: Option<&str>,
        op: OpFields,
        limits: RequestLimits,
    ) -> Result<Self, RequestError> {
        let id = id.map(|id| serde_json::to_string(id).expect("a string is valid JSON"));
        let id = check_id(id.map(String::into_boxed_str))?;
        let mut topics = Vec::new();
        let op = match op {
            OpFields::Sub(named, options) => subscribe(named, *options, limits).map(Op::Sub),
            OpFields::Unsub(named) => unsubscribe(named, limits, &mut topics),
            OpFields::List => Ok(Op::List),
            OpFields::Ping => Ok(Op::Ping),
            OpFields::Auth(token) => Ok(Op::Auth(token)),
        };
        Self::of(id, op, topics)
    }

    fn of(
        id: Option<Box<str>>,
        op: Result<Op, Refusal>,
        topics: Vec<String>,
    ) -> Result<Self, RequestError> {
        match op {
            Ok(op) => Ok(Self { id, op }),
            Err((code, message)) => Err(RequestError {
                id,
                code,
                message,
                topics,
            }),
        }
    }

    /// The subscription in a handshake's query: `topics` separated by commas, the options of `sub`
    /// except `since` and `from`, and a replay (`replay_from`, `speed`). `None` if the query names no topics.
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
        let fail = |(code, message)| RequestError {
            id: None,
            code,
            message,
            topics: Vec::new(),
        };
        let from = past::of_query(get("replay_from"), get("speed")).map_err(fail)?;
        let Some(topics) = get("topics") else {
            return match from {
                None => Ok(None),
                Some(_) => {
                    let message = "replay_from goes with topics, such as topics=kline:1m:BTC-USD";
                    Err(fail((ErrorCode::BadOption, message.to_owned())))
                }
            };
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
        let depth = match get("depth").map(str::parse::<u64>) {
            None => None,
            Some(Ok(depth)) => Some(depth),
            Some(Err(_)) => {
                return Err(fail((
                    ErrorCode::BadOption,
                    "depth is to be a number of levels, such as 20".to_owned(),
                )));
            }
        };
        let options = OptionFields {
            closed_only: matches!(get("closed_only"), Some("true" | "1")),
            fill: get("fill").map(str::to_owned),
            max_rate,
            depth,
            changes: matches!(get("changes"), Some("true" | "1")),
            since: None,
            from,
        };
        apply_options(options, &mut subscribe).map_err(fail)?;
        Ok(Some(Self {
            id: None,
            op: Op::Sub(subscribe),
        }))
    }

    /// The same subscription, with the replay that a handshake's query asks for, if any
    /// (`replay_from` and `speed`).
    ///
    /// # Errors
    /// What is wrong with the query, or what of the subscription has no past.
    pub fn replayed(mut self, query: &[(String, String)]) -> Result<Self, RequestError> {
        let get = |key: &str| {
            let pair = query.iter().find(|(name, _)| name == key);
            pair.map(|(_, value)| value.as_str())
        };
        let past = past::of_query(get("replay_from"), get("speed"))
            .and_then(|from| from.map(past::past).transpose());
        let replayed = past.and_then(|past| match (&mut self.op, past) {
            (Op::Sub(subscribe), Some(past)) => {
                past::check_topics(&subscribe.selections)?;
                subscribe.past = Some(Box::new(past));
                Ok(())
            }
            _ => Ok(()),
        });
        match replayed {
            Ok(()) => Ok(self),
            Err((code, message)) => Err(RequestError {
                id: self.id,
                code,
                message,
                topics: Vec::new(),
            }),
        }
    }
}

/// The JSON of an id, if it is short enough to be echoed.
fn check_id(id: Option<Box<str>>) -> Result<Option<Box<str>>, RequestError> {
    match id {
        Some(id) if id.len() > ID_LEN_MAX => Err(RequestError {
            id: None,
            code: ErrorCode::BadRequest,
            message: format!("id is longer than {ID_LEN_MAX} bytes"),
            topics: Vec::new(),
        }),
        id => Ok(id),
    }
}

/// What is to be unsubscribed. `topics` gets the texts that are no topics, if there are any.
fn unsubscribe(
    named: TopicFields,
    limits: RequestLimits,
    topics: &mut Vec<String>,
) -> Result<Op, Refusal> {
    let (selections, malformed) = select(named, limits)?;
    let message = malformed.first().map(|first| first.message.clone());
    topics.extend(malformed.into_iter().map(|bad| bad.topic));
    match message {
        Some(message) => Err((ErrorCode::BadTopic, message)),
        None => Ok(Op::Unsub(selections)),
    }
}

#[derive(Deserialize)]
struct AuthFields {
    token: Box<str>,
}

fn parse_token(text: &str) -> Result<Token, (ErrorCode, String)> {
    // The parser's own words might quote what was sent.
    let fields: AuthFields = serde_json::from_str(text).map_err(|_| {
        let message = "token is missing or no string: send {\"op\":\"auth\",\"token\":\"...\"}";
        (ErrorCode::BadRequest, message.to_owned())
    })?;
    Ok(Token(fields.token))
}
