//! What a gateway answers.

use std::fmt::Write as _;

use super::error_code::RequestError;
use super::resume_token::ResumeToken;
use crate::topic::{Topic, TopicPattern};

/// The answer to a request, or a message about the session itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reply {
    /// To `sub`, `unsub` and `rate`.
    Ack(Ack),
    /// To `auth`.
    AuthAck(AuthAck),
    /// The session's token expires soon.
    AuthExpiring {
        /// The end of its validity, unix ms.
        expires_ms: u64,
    },
    /// To a request that is refused.
    Error(RequestError),
    /// To `list`.
    List(List),
    /// The past of a topic has been sent: what follows of it is live.
    Live(Live),
    /// To `ping`.
    Pong {
        /// Echoed.
        id: Option<Box<str>>,
    },
}

/// The answer to `sub`, `unsub` and `rate`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Ack {
    /// Echoed.
    pub id: Option<Box<str>>,
    /// What is now subscribed or no longer subscribed by this request.
    pub topics: Vec<TopicPattern>,
    /// Subscribed topics without data: they start when they first appear.
    pub pending: Vec<TopicPattern>,
    /// Topics that could not be resumed: the gateway does not know all that came since.
    pub not_resumed: Vec<Topic>,
    /// Topics of an unsubscription that were not subscribed.
    pub not_subscribed: Vec<TopicPattern>,
}

/// The end of a topic's past: see [`super::Past`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Live {
    /// Which topic.
    pub topic: Topic,
    /// Why bars may be missing before this message; `None` if none are.
    pub unrecovered: Option<Unrecovered>,
    /// How many intervals between the bars before this message have none, because history has none.
    pub missing: u64,
    /// Where the client is now; `None` if it has no closed bar.
    pub token: Option<ResumeToken>,
}

/// Why bars may be missing between the past and the present.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unrecovered {
    /// History gave no answer.
    History,
    /// The newest bar of history and the first bar that the gateway holds do not adjoin.
    Gap,
    /// There are more bars, or revisions of bars that the client has, than the gateway sends for one
    /// request.
    TooMany,
}

impl Unrecovered {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::History, Self::Gap, Self::TooMany];

    /// As sent.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::History => "history",
            Self::Gap => "gap",
            Self::TooMany => "too_many",
        }
    }
}

/// The answer to `auth`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AuthAck {
    /// Echoed.
    pub id: Option<Box<str>>,
    /// The end of the token's validity, unix ms.
    pub expires_ms: u64,
    /// Subscriptions that were removed because the token does not permit them.
    pub unsubscribed: Vec<TopicPattern>,
}

/// The answer to `list`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct List {
    /// Echoed.
    pub id: Option<Box<str>>,
    /// What the session is subscribed to.
    pub subscriptions: Vec<TopicPattern>,
    /// The known topics.
    pub topics: Vec<Topic>,
    /// Whether there are more of them.
    pub is_truncated: bool,
}

impl Reply {
    /// As JSON; empty lists are left out, but for those that the request asks for.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut json;
        match self {
            Self::Ack(ack) => {
                json = open("ack", ack.id.as_deref());
                push_strings(
                    &mut json,
                    "topics",
                    ack.topics.iter().map(TopicPattern::as_str),
                );
                push_some(
                    &mut json,
                    "pending",
                    ack.pending.iter().map(TopicPattern::as_str),
                );
                push_some(
                    &mut json,
                    "not_resumed",
                    ack.not_resumed.iter().map(Topic::as_str),
                );
                let not_subscribed = ack.not_subscribed.iter().map(TopicPattern::as_str);
                push_some(&mut json, "not_subscribed", not_subscribed);
            }
            Self::AuthAck(ack) => {
                json = open("ack", ack.id.as_deref());
                let _ = write!(json, r#","expires_ms":{}"#, ack.expires_ms);
                let unsubscribed = ack.unsubscribed.iter().map(TopicPattern::as_str);
                push_some(&mut json, "unsubscribed", unsubscribed);
            }
            Self::AuthExpiring { expires_ms } => {
                json = open("auth_expiring", None);
                let _ = write!(json, r#","expires_ms":{expires_ms}"#);
            }
            Self::Error(error) => {
                json = open("error", error.id.as_deref());
                let _ = write!(json, r#","code":"{}","message":"#, error.code.as_str());
                push_string(&mut json, &error.message);
                push_some(&mut json, "topics", error.topics.iter().map(String::as_str));
            }
            Self::List(list) => {
                json = open("list", list.id.as_deref());
                let subscriptions = list.subscriptions.iter().map(TopicPattern::as_str);
                push_strings(&mut json, "subscriptions", subscriptions);
                push_strings(&mut json, "topics", list.topics.iter().map(Topic::as_str));
                if list.is_truncated {
                    json.push_str(r#","truncated":true"#);
                }
            }
            Self::Live(live) => {
                json = open("live", None);
                let is_recovered = live.unrecovered.is_none();
                let _ = write!(
                    json,
                    r#","topic":"{}","recovered":{is_recovered}"#,
                    live.topic
                );
                if let Some(reason) = live.unrecovered {
                    let _ = write!(json, r#","reason":"{}""#, reason.as_str());
                }
                if live.missing > 0 {
                    let _ = write!(json, r#","missing":{}"#, live.missing);
                }
                if let Some(token) = live.token {
                    let _ = write!(json, r#","token":"{token}""#);
                }
            }
            Self::Pong { id } => json = open("pong", id.as_deref()),
        }
        json.push('}');
        json
    }
}

/// `{"op":"skipped"}`: closed bars of a topic were skipped, and no message of this topic can carry
/// the number, because the subscriber declines all bars that remain.
#[must_use]
pub fn encode_skipped(topic: &Topic, skipped: u64) -> String {
    let mut json = open("skipped", None);
    let _ = write!(json, r#","topic":"{topic}","skipped":{skipped}}}"#);
    json
}

/// The opening brace of an answer, its `op`, and the echoed id.
fn open(op: &str, id: Option<&str>) -> String {
    let mut json = format!(r#"{{"op":"{op}""#);
    if let Some(id) = id {
        let _ = write!(json, r#","id":{id}"#);
    }
    json
}

/// Appends a list, unless it is empty.
fn push_some<'a>(json: &mut String, key: &str, values: impl ExactSizeIterator<Item = &'a str>) {
    if values.len() > 0 {
        push_strings(json, key, values);
    }
}

fn push_strings<'a>(json: &mut String, key: &str, values: impl Iterator<Item = &'a str>) {
    let _ = write!(json, r#","{key}":["#);
    for (index, value) in values.enumerate() {
        if index > 0 {
            json.push(',');
        }
        push_string(json, value);
    }
    json.push(']');
}

fn push_string(json: &mut String, value: &str) {
    json.push_str(&serde_json::to_string(value).expect("a string is valid JSON"));
}
