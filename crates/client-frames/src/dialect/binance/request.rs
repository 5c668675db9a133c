//! What clients ask: the streams of the URL, and one JSON object a frame.

use market_core::protocol::{
    ErrorCode, Filter, Op, Request, RequestError, RequestLimits, Selection, Subscribe,
};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::stream::pattern_of;
use super::{coded_failure, result};

/// The longest id that is repeated, bytes of JSON: Binance has 36 characters.
const ID_BYTES_MAX: usize = 64;
const NOT_AN_OBJECT: &str = "Invalid JSON: send one JSON object a frame, such as {\"method\":\"SUBSCRIBE\",\"params\":[\"btcusdt@kline_1m\"],\"id\":1}";
const NO_STREAMS: &str = "Invalid request: replay_from goes with streams in the URL, such as /binance/ws/btcusdt@kline_1m?replay_from=1763697600000";
const METHODS: &str =
    "`SUBSCRIBE`, `UNSUBSCRIBE`, `LIST_SUBSCRIPTIONS`, `SET_PROPERTY`, `GET_PROPERTY`";

/// What a text frame is.
#[derive(Clone, PartialEq, Debug)]
pub enum Asked {
    /// A request for the shard, or why it is none.
    Request(Result<Request, RequestError>),
    /// A request about the form of the session's frames, which its connection answers.
    Property(Property),
}

/// A request about a property of the connection.
#[derive(Clone, PartialEq, Debug)]
pub struct Property {
    /// Its id, as JSON.
    id: Box<str>,
    wanted: Result<Wanted, (i32, &'static str)>,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Wanted {
    SetCombined(bool),
    GetCombined,
}

impl Property {
    /// Whether frames name their streams from now on, if the request changes it.
    #[must_use]
    pub fn combined(&self) -> Option<bool> {
        match self.wanted {
            Ok(Wanted::SetCombined(is_combined)) => Some(is_combined),
            _ => None,
        }
    }

    /// The answer of a connection whose frames name their streams or not.
    #[must_use]
    pub fn answer(&self, is_combined: bool) -> String {
        match self.wanted {
            Ok(Wanted::SetCombined(_)) => result("null", &self.id),
            Ok(Wanted::GetCombined) if is_combined => result("true", &self.id),
            Ok(Wanted::GetCombined) => result("false", &self.id),
            Err((code, message)) => coded_failure(code, message, Some(&self.id)),
        }
    }
}

#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow, default)]
    method: Option<&'a RawValue>,
    #[serde(borrow, default)]
    params: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'a RawValue>,
}

/// Keeps a `null` apart from a missing field.
fn present<'de: 'a, 'a, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// Reads a client's text frame.
#[must_use]
pub fn parse(text: &str, limits: RequestLimits) -> Asked {
    let refused = |id: Option<&str>, code, message: String| {
        Asked::Request(Err(RequestError {
            id: id.map(Box::from),
            code,
            message,
            topics: Vec::new(),
        }))
    };
    let fields: Fields<'_> = match serde_json::from_str(text) {
        Ok(fields) if text.trim_start().starts_with('{') => fields,
        _ => return refused(None, ErrorCode::InvalidJson, NOT_AN_OBJECT.to_owned()),
    };
    let id = fields.id.map_or("null", RawValue::get);
    if !is_id(id) {
        let message = format!(
            "Invalid request: the id is to be an integer, null, or a string of at most {ID_BYTES_MAX} bytes"
        );
        return refused(None, ErrorCode::BadRequest, message);
    }
    let bad = |message: String| refused(Some(id), ErrorCode::BadRequest, message);
    let Some(method) = fields.method else {
        return bad("Invalid request: missing field `method`".to_owned());
    };
    let method: &str = serde_json::from_str(method.get()).unwrap_or_default();
    let params = fields.params.map(RawValue::get);
    match method {
        "SUBSCRIBE" | "UNSUBSCRIBE" => {
            let selections = match selections(params, limits) {
                Ok(selections) => selections,
                Err((code, message)) => return refused(Some(id), code, message),
            };
            // An empty list changes nothing, and is acknowledged.
            let op = match method {
                "SUBSCRIBE" if !selections.is_empty() => subscribe(selections),
                _ => Op::Unsub(selections),
            };
            Asked::Request(Ok(Request {
                id: Some(id.into()),
                op,
            }))
        }
        "LIST_SUBSCRIPTIONS" => Asked::Request(Ok(Request {
            id: Some(id.into()),
            op: Op::List,
        })),
        "SET_PROPERTY" | "GET_PROPERTY" => Asked::Property(Property {
            id: id.into(),
            wanted: property(params, method == "SET_PROPERTY"),
        }),
        other => bad(format!(
            "Invalid request: unknown variant `{}`, expected one of {METHODS}",
            other.chars().take(32).collect::<String>()
        )),
    }
}

/// The subscription of a URL's streams; `None` if no name is that of a stream. Clients number their
/// connections, as in `/ws/0`, so other names are left out. The query may ask for a replay.
#[must_use]
pub fn of_url<'a>(
    names: impl Iterator<Item = &'a str>,
    query: &[(String, String)],
    limits: RequestLimits,
) -> Option<Result<Request, RequestError>> {
    let mut selections = Vec::new();
    for name in names {
        let Some(pattern) = pattern_of(name) else {
            continue;
        };
        if selections.len() >= limits.topics_max {
            return Some(Err(RequestError {
                id: None,
                code: ErrorCode::TooManyTopics,
                message: too_many(limits),
                topics: Vec::new(),
            }));
        }
        selections.push(Selection::Pattern(pattern));
    }
    if selections.is_empty() {
        let is_replay = query.iter().any(|(name, _)| name == "replay_from");
        return is_replay.then(|| {
            Err(RequestError {
                id: None,
                code: ErrorCode::BadOption,
                message: NO_STREAMS.to_owned(),
                topics: Vec::new(),
            })
        });
    }
    let request = Request {
        id: None,
        op: subscribe(selections),
    };
    Some(request.replayed(query))
}

fn subscribe(selections: Vec<Selection>) -> Op {
    Op::Sub(Subscribe {
        selections,
        filter: Filter::default(),
        ..Subscribe::default()
    })
}

fn too_many(limits: RequestLimits) -> String {
    format!(
        "Invalid request: too many parameters: {} streams are allowed in one request",
        limits.topics_max
    )
}

/// An integer, a string or null: the documents contradict each other on signs.
fn is_id(json: &str) -> bool {
    let is_integer = json.parse::<i64>().is_ok() || json.parse::<u64>().is_ok();
    // Half of a surrogate pair is written like a text, and is none: the answer would be no JSON.
    let is_text = || json.starts_with('"') && serde_json::from_str::<String>(json).is_ok();
    json == "null" || is_integer || (json.len() <= ID_BYTES_MAX && is_text())
}

fn selections(
    params: Option<&str>,
    limits: RequestLimits,
) -> Result<Vec<Selection>, (ErrorCode, String)> {
    let bad = |message: &str| (ErrorCode::BadRequest, format!("Invalid request: {message}"));
    let Some(params) = params else {
        return Err(bad("missing field `params`"));
    };
    let names: Vec<std::borrow::Cow<'_, str>> = serde_json::from_str(params)
        .map_err(|_| bad("params are to be the names of streams: [\"btcusdt@kline_1m\"]"))?;
    if names.len() > limits.topics_max {
        return Err((ErrorCode::TooManyTopics, too_many(limits)));
    }
    names
        .iter()
        .map(|name| {
            pattern_of(name).map(Selection::Pattern).ok_or_else(|| {
                let name: String = name.chars().take(64).collect();
                bad(&format!(
                    "'{name}' is not a stream: write <symbol>@kline_<interval>, @trade, @bookTicker, @ticker, @miniTicker or @depth, such as btcusdt@kline_1m"
                ))
            })
        })
        .collect()
}

fn property(params: Option<&str>, is_set: bool) -> Result<Wanted, (i32, &'static str)> {
    let params: Vec<serde_json::Value> = params
        .and_then(|params| serde_json::from_str(params).ok())
        .unwrap_or_default();
    if params.len() > 1 + usize::from(is_set) {
        return Err((2, "Invalid request: too many parameters"));
    }
    match params.first().and_then(serde_json::Value::as_str) {
        Some("combined") => {}
        Some(_) => return Err((0, "Unknown property")),
        None => return Err((2, "Invalid request: property name must be a string")),
    }
    if !is_set {
        return Ok(Wanted::GetCombined);
    }
    params
        .get(1)
        .and_then(serde_json::Value::as_bool)
        .map(Wanted::SetCombined)
        .ok_or((1, "Invalid value type: expected Boolean"))
}
