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
    /// With this number of closed bars, at least one.
    Last(usize),
    /// With the first bar that starts at this time or later.
    Start(UnixMillis),
    /// Where the client stopped.
    Token(ResumeToken),
    /// With the first bar that starts at this time or later, and each bar at its end, on a clock
    /// that begins at this time.
    Replay {
        /// First instant of the clock, unix ms.
        start_ms: UnixMillis,
        /// How many seconds of the past go by in a second, at least one.
        speed: u32,
    },
}

/// The fastest replay.
pub const REPLAY_SPEED_MAX: u32 = 1_000;

/// The `from` of a subscription, in any dialect: one of the fields, or `ms` and `speed`.
#[derive(Deserialize, Clone, PartialEq, Eq, Debug, Default)]
#[serde(deny_unknown_fields)]
pub struct PastFields {
    /// The number of closed bars.
    #[serde(default)]
    pub last: Option<u64>,
    /// A time, unix ms.
    #[serde(default)]
    pub ms: Option<UnixMillis>,
    /// With `ms`: how many seconds of the past go by in a second.
    #[serde(default)]
    pub speed: Option<u32>,
    /// A [`ResumeToken`].
    #[serde(default)]
    pub token: Option<String>,
}

const FORM: &str = "from has one field: {\"last\":500}, {\"ms\":1763697600000} or {\"token\":\"...\"}; speed goes with ms";

/// Reads `from`.
pub(super) fn past(fields: PastFields) -> Result<Past, Refusal> {
    let bad = |message: &str| (ErrorCode::BadOption, message.to_owned());
    let PastFields {
        last,
        ms,
        speed,
        token,
    } = fields;
    if speed.is_some() && ms.is_none() {
        return Err(bad(FORM));
    }
    match (last, ms, token) {
        (Some(last), None, None) => match usize::try_from(last) {
            Ok(last) if last > 0 => Ok(Past::Last(last)),
            _ => Err(bad("from.last is a number of bars, 1 or more")),
        },
        (None, Some(ms), None) if ResumeToken::new(ms, 0).is_none() => {
            Err(bad("from.ms is a time in milliseconds since 1970"))
        }
        (None, Some(ms), None) => match speed {
            None => Ok(Past::Start(ms)),
            Some(speed @ 1..=REPLAY_SPEED_MAX) => Ok(Past::Replay {
                start_ms: ms,
                speed,
            }),
            Some(_) => Err(bad(&format!(
                "from.speed is how many seconds of the past go by in a second: a whole number from 1 to {REPLAY_SPEED_MAX}; without it, bars come as fast as you take them"
            ))),
        },
        (None, None, Some(token)) => match token.parse() {
            Ok(token) => Ok(Past::Token(token)),
            Err(error) => Err(bad(&format!("from.token: {error}"))),
        },
        _ => Err(bad(FORM)),
    }
}

/// The replay that a handshake's query asks for, if any: `replay_from` in unix ms, and `speed`.
pub(super) fn of_query(
    replay_from: Option<&str>,
    speed: Option<&str>,
) -> Result<Option<PastFields>, Refusal> {
    let bad = |message: &str| (ErrorCode::BadOption, message.to_owned());
    let Some(replay_from) = replay_from else {
        return match speed {
            None => Ok(None),
            Some(_) => Err(bad("speed goes with replay_from=<milliseconds since 1970>")),
        };
    };
    let ms = replay_from
        .parse()
        .map_err(|_| bad("replay_from is a time in milliseconds since 1970"))?;
    let speed = match speed {
        None => 1,
        Some(speed) => speed.parse().unwrap_or(0),
    };
    Ok(Some(PastFields {
        ms: Some(ms),
        speed: Some(speed),
        ..PastFields::default()
    }))
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
