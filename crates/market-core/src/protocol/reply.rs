//! What a gateway answers.

use std::fmt::Write as _;

use super::error_code::ErrorCode;
use crate::topic::Topic;

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
    /// Subscribed topics without data: they start when they first appear.
    pub pending: Vec<&'a str>,
    /// Topics that could not be resumed: the gateway does not know all that came since.
    pub not_resumed: Vec<&'a str>,
    /// Topics of an unsubscription that were not subscribed.
    pub not_subscribed: Vec<&'a str>,
}

impl Ack<'_> {
    /// As JSON; empty lists except `topics` are left out.
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

/// The answer to `auth`: the token is valid until `expires_ms` since 1970. `unsubscribed` names the
/// subscriptions that ended because the token does not permit them.
#[must_use]
pub fn encode_auth_ack(id: Option<&str>, expires_ms: u64, unsubscribed: &[&str]) -> String {
    let mut json = open_answer("ack", id);
    let _ = write!(json, r#","expires_ms":{expires_ms}"#);
    if !unsubscribed.is_empty() {
        push_strings(&mut json, "unsubscribed", unsubscribed);
    }
    json.push('}');
    json
}

/// `{"op":"auth_expiring"}`: the session's token expires at `expires_ms` since 1970.
#[must_use]
pub fn encode_auth_expiring(expires_ms: u64) -> String {
    let mut json = open_answer("auth_expiring", None);
    let _ = write!(json, r#","expires_ms":{expires_ms}}}"#);
    json
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

/// `{"op":"skipped"}`: closed bars of a topic were skipped, and no message of this topic can carry
/// the number, because the subscriber declines all bars that remain.
#[must_use]
pub fn encode_skipped(topic: &Topic, skipped: u64) -> String {
    let mut json = open_answer("skipped", None);
    let _ = write!(json, r#","topic":"{topic}","skipped":{skipped}}}"#);
    json
}

/// `{"op":"error"}`; `topics` are the topics that it names, if any.
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
