//! How far back a subscription begins.

use serde::Deserialize;

use super::error_code::{ErrorCode, Refusal};
use super::resume_token::ResumeToken;
use super::selection::Selection;
use crate::channel::{Channel, Class};
use crate::value::clock::UnixMillis;

/// How far back a subscription begins: the closed bars from there on come first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Past {
    /// With so many closed bars, at least one.
    Last(usize),
    /// With the first bar that starts at this time or later.
    Start(UnixMillis),
    /// Where the client stopped.
    Token(ResumeToken),
}

/// The `from` of a subscription, in any dialect: one of the fields.
#[derive(Deserialize, Clone, PartialEq, Eq, Debug, Default)]
#[serde(deny_unknown_fields)]
pub struct PastFields {
    /// The number of closed bars.
    #[serde(default)]
    pub last: Option<u64>,
    /// A time, unix ms.
    #[serde(default)]
    pub ms: Option<UnixMillis>,
    /// A [`ResumeToken`].
    #[serde(default)]
    pub token: Option<String>,
}

const FORM: &str =
    "from has one field: {\"last\":500}, {\"ms\":1763697600000} or {\"token\":\"...\"}";

/// Reads `from`.
pub(super) fn past(fields: PastFields) -> Result<Past, Refusal> {
    let bad = |message: &str| (ErrorCode::BadOption, message.to_owned());
    let PastFields { last, ms, token } = fields;
    match (last, ms, token) {
        (Some(last), None, None) => match usize::try_from(last) {
            Ok(last) if last > 0 => Ok(Past::Last(last)),
            _ => Err(bad("from.last is a number of bars, 1 or more")),
        },
        (None, Some(ms), None) => match ResumeToken::new(ms, 0) {
            Some(_) => Ok(Past::Start(ms)),
            None => Err(bad("from.ms is a time in milliseconds since 1970")),
        },
        (None, None, Some(token)) => match token.parse() {
            Ok(token) => Ok(Past::Token(token)),
            Err(error) => Err(bad(&format!("from.token: {error}"))),
        },
        _ => Err(bad(FORM)),
    }
}

/// Only the bars of a topic have a past.
pub(super) fn check_topics(selections: &[Selection]) -> Result<(), Refusal> {
    for selection in selections {
        let pattern = match selection {
            Selection::Pattern(pattern)
            | Selection::OfExchange {
                prefixed: pattern, ..
            } => pattern,
        };
        if selection.is_wildcard() {
            let message = format!(
                "from reads the past of topics, and '{pattern}' is a pattern: name the topics, such as kline:1m:BTC-USD"
            );
            return Err((ErrorCode::BadOption, message));
        }
        let root = pattern.as_str().split(':').next().unwrap_or_default();
        if Channel::of_root(root).is_none_or(|channel| channel.class != Class::Series) {
            let message = format!(
                "from reads bars, and '{pattern}' has none: subscribe it in a request without from"
            );
            return Err((ErrorCode::BadOption, message));
        }
    }
    Ok(())
}
