//! Where a client stopped in the bars of one topic, as a text that outlives every session.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::value::clock::UnixMillis;

/// The first part of every text.
const VERSION: &str = "k1";
/// No time is later, unix ms: the year 9999.
const TIME_MAX_MS: UnixMillis = 253_402_300_799_999;

/// The newest closed bar that a client has, and when the newest of its closed bars became known.
///
/// It says nothing of a publisher or a gateway, so a restart of either spoils nothing. Its text is
/// `k1.<end_ms>.<known_ms>`, and a client may write it from its own bars: the greatest `end_ms`,
/// and the greatest `published_us` divided by 1,000.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ResumeToken {
    end_ms: UnixMillis,
    known_ms: UnixMillis,
}

/// The text is no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "that is no token: send the token of a 'live' message or of a page of bars as it came, or write k1.<end_ms>.<known_ms>"
)]
pub struct ParseResumeTokenError;

impl ResumeToken {
    /// The token of a client whose newest closed bar ends at `end_ms`, and whose bars became known
    /// up to `known_ms`. `None` if a time is before 1970 or after the year 9999.
    #[must_use]
    pub fn new(end_ms: UnixMillis, known_ms: UnixMillis) -> Option<Self> {
        let is_time = |ms: UnixMillis| (0..=TIME_MAX_MS).contains(&ms);
        (is_time(end_ms) && is_time(known_ms)).then_some(Self { end_ms, known_ms })
    }

    /// The end of the newest closed bar that the client has.
    #[must_use]
    pub const fn end_ms(self) -> UnixMillis {
        self.end_ms
    }

    /// When the newest of its closed bars became known: revisions that became known later are new
    /// to it.
    #[must_use]
    pub const fn known_ms(self) -> UnixMillis {
        self.known_ms
    }
}

impl fmt::Display for ResumeToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{VERSION}.{}.{}", self.end_ms, self.known_ms)
    }
}

impl FromStr for ResumeToken {
    type Err = ParseResumeTokenError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.split('.');
        let version = parts.next();
        let mut time = || {
            let digits = parts.next()?;
            let is_plain = digits == "0" || !digits.starts_with('0');
            let is_number = is_plain && digits.bytes().all(|byte| byte.is_ascii_digit());
            is_number.then(|| digits.parse().ok())?
        };
        let times = time().zip(time());
        match (version, times, parts.next()) {
            (Some(VERSION), Some((end_ms, known_ms)), None) => {
                Self::new(end_ms, known_ms).ok_or(ParseResumeTokenError)
            }
            _ => Err(ParseResumeTokenError),
        }
    }
}

impl Serialize for ResumeToken {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ResumeToken {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::value::text::deserialize(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_no_token_is_refused_with_what_to_send() {
        for text in [
            "",
            "k1",
            "k1.",
            "k1.1",
            "k1.1.",
            "k1.1.2.3",
            "k2.1.2",
            "k1.-1.2",
            "k1.+1.2",
            "k1.01.2",
            "k1.1.2 ",
            "k1.1.253402300800000",
            "k1.99999999999999999999.2",
            "K1.1.2",
            "k1.١.2",
        ] {
            let error = text.parse::<ResumeToken>().expect_err(text);
            assert!(error.to_string().contains("send the token"), "{error}");
        }
        assert_eq!(ResumeToken::new(-1, 0), None);
        assert_eq!(ResumeToken::new(0, TIME_MAX_MS + 1), None);
    }

    proptest! {
        #[test]
        fn a_token_comes_back_as_it_was_sent(end_ms in 0..=TIME_MAX_MS, known_ms in 0..=TIME_MAX_MS) {
            let token = ResumeToken::new(end_ms, known_ms).expect("times");
            prop_assert_eq!((token.end_ms(), token.known_ms()), (end_ms, known_ms));
            let text = token.to_string();
            prop_assert_eq!(text.parse(), Ok(token));
            prop_assert_eq!(text, format!("k1.{end_ms}.{known_ms}"));
        }

        #[test]
        fn any_text_is_a_token_in_one_spelling_or_refused(text in "k1\\.[0-9]{1,16}\\.[0-9]{1,16}|.{0,40}") {
            if let Ok(token) = text.parse::<ResumeToken>() {
                prop_assert_eq!(token.to_string(), text);
            }
        }
    }
}
