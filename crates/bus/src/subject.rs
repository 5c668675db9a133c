//! Subjects, patterns over them, and the prefix of a deployment.

use std::fmt;

use crate::BusError;

/// Longest subject or pattern, prefix included, in bytes.
pub const SUBJECT_BYTES_MAX: usize = 512;

/// Checks that `subject` can be published to: tokens separated by dots, none empty, without
/// whitespace, control characters and wildcards; the first one not the server's own (`$...`,
/// `_INBOX`).
///
/// # Errors
/// `Subject`, with what is wrong.
pub fn check_subject(subject: &str) -> Result<(), BusError> {
    let reason = match check_tokens(subject) {
        Err(reason) => reason,
        Ok(()) if subject.contains(['*', '>']) => "a wildcard can only be subscribed to",
        Ok(()) if is_server_subject(subject) => "it is reserved for the server",
        Ok(()) => return Ok(()),
    };
    Err(BusError::Subject {
        subject: shortened(subject),
        reason,
    })
}

/// Whether `subject` belongs to the server: replies and its API.
pub(crate) fn is_server_subject(subject: &str) -> bool {
    subject.starts_with('$') || subject.starts_with("_INBOX")
}

/// A subscription's subject, in which `*` matches one token, and a last `>` one or more.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pattern(Box<str>);

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// `Pattern`, with what is wrong.
    pub fn new(pattern: &str) -> Result<Pattern, BusError> {
        match check_pattern(pattern) {
            Ok(()) => Ok(Pattern(pattern.into())),
            Err(reason) => Err(BusError::Pattern {
                pattern: shortened(pattern),
                reason,
            }),
        }
    }

    /// Whether the pattern matches `subject`, which must be valid.
    pub fn matches(&self, subject: &str) -> bool {
        let mut tokens = subject.split('.');
        for wanted in self.0.split('.') {
            match (wanted, tokens.next()) {
                (">", token) => return token.is_some(),
                (_, None) => return false,
                ("*", Some(_)) => {}
                (wanted, Some(token)) if wanted == token => {}
                _ => return false,
            }
        }
        tokens.next().is_none()
    }

    /// The pattern that matches the subjects of both this and `root.>`; `None` if there are none.
    pub(crate) fn within_root(&self, root: &str) -> Option<String> {
        match self.0.split_once('.') {
            None if &*self.0 == ">" => Some(format!("{root}.>")),
            // A single token matches no subject of a root, which have two or more.
            None => None,
            Some((first, rest)) if first == "*" || first == root => Some(format!("{root}.{rest}")),
            Some(_) => None,
        }
    }

    /// The pattern as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The prefix of a deployment's subjects; it may be empty.
#[derive(Clone, Debug)]
pub(crate) struct Prefix {
    /// Empty, or ends with a dot.
    dotted: String,
}

impl Prefix {
    pub(crate) fn new(prefix: &str) -> Result<Prefix, BusError> {
        if prefix.is_empty() {
            return Ok(Prefix {
                dotted: String::new(),
            });
        }
        check_subject(prefix).map_err(|error| BusError::Config {
            reason: format!("bus prefix: {error}"),
        })?;
        Ok(Prefix {
            dotted: format!("{prefix}."),
        })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.dotted.is_empty()
    }

    pub(crate) fn add(&self, subject: &str) -> String {
        format!("{}{subject}", self.dotted)
    }

    /// `None` if the subject is not of this deployment.
    pub(crate) fn strip<'s>(&self, subject: &'s str) -> Option<&'s str> {
        subject.strip_prefix(self.dotted.as_str())
    }

    /// The name of the stream of `root`: NATS allows no dots in it.
    pub(crate) fn stream_name(&self, root: &str) -> String {
        format!("{}{}", self.dotted, root.to_uppercase()).replace('.', "_")
    }
}

fn check_tokens(subject: &str) -> Result<(), &'static str> {
    if subject.is_empty() {
        return Err("it is empty");
    }
    if subject.len() > SUBJECT_BYTES_MAX {
        return Err("it is longer than 512 bytes");
    }
    if subject.split('.').any(str::is_empty) {
        return Err("it has an empty token");
    }
    if subject.contains(|letter: char| letter.is_whitespace() || letter.is_control()) {
        return Err("it has whitespace or a control character");
    }
    Ok(())
}

fn check_pattern(pattern: &str) -> Result<(), &'static str> {
    check_tokens(pattern)?;
    let mut tokens = pattern.split('.').peekable();
    while let Some(token) = tokens.next() {
        if token.len() > 1 && token.contains(['*', '>']) {
            return Err("a wildcard must be a whole token");
        }
        if token == ">" && tokens.peek().is_some() {
            return Err("> must be the last token");
        }
    }
    Ok(())
}

/// An error names the subject, but never a megabyte of it.
fn shortened(subject: &str) -> String {
    subject.chars().take(SUBJECT_BYTES_MAX).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check_match(pattern: &str, subject: &str, expected: bool) {
        let pattern = Pattern::new(pattern).expect("the pattern is valid");
        assert_eq!(pattern.matches(subject), expected, "{pattern} on {subject}");
    }

    #[test]
    fn star_is_one_token_and_tail_is_one_or_more() {
        check_match("kline.1m.BTC-USD", "kline.1m.BTC-USD", true);
        check_match("kline.*.BTC-USD", "kline.1h.BTC-USD", true);
        check_match("kline.*", "kline.1m.BTC-USD", false);
        check_match("kline.>", "kline.1m.OKX.BTC-USDT", true);
        check_match("kline.>", "kline", false);
        check_match(">", "kline", true);
        check_match("*.*", "kline.1m", true);
        check_match("kline.1m", "kline.1m.BTC-USD", false);
        check_match("kline.1", "kline.1m", false);
    }

    #[test]
    fn invalid_subjects_are_refused_with_the_reason() {
        for (subject, reason) in [
            ("", "it is empty"),
            ("kline..BTC", "it has an empty token"),
            (".kline", "it has an empty token"),
            ("kline.", "it has an empty token"),
            ("kline.BTC USD", "it has whitespace or a control character"),
            (
                "kline.a\r\nPUB x",
                "it has whitespace or a control character",
            ),
            ("kline.*", "a wildcard can only be subscribed to"),
            ("kline.>", "a wildcard can only be subscribed to"),
            ("$JS.API.INFO", "it is reserved for the server"),
            ("_INBOX.x", "it is reserved for the server"),
        ] {
            let error = check_subject(subject).expect_err("it is invalid");
            assert_eq!(
                error.to_string(),
                format!("invalid subject {subject:?}: {reason}")
            );
            assert!(!error.is_retryable());
        }
        assert!(check_subject(&"x".repeat(513)).is_err());
        assert_eq!(check_subject("kline.1m.OKX.BTC-USDT"), Ok(()));
    }

    #[test]
    fn invalid_patterns_are_refused_with_the_reason() {
        for (pattern, reason) in [
            ("kline.>.BTC", "> must be the last token"),
            ("kline.BTC*", "a wildcard must be a whole token"),
            ("kline.1m>", "a wildcard must be a whole token"),
            ("", "it is empty"),
            ("a b", "it has whitespace or a control character"),
        ] {
            let error = Pattern::new(pattern).expect_err("it is invalid");
            assert_eq!(
                error.to_string(),
                format!("invalid pattern {pattern:?}: {reason}")
            );
        }
    }

    #[test]
    fn prefix_goes_on_and_off() {
        let prefix = Prefix::new("eu.staging").expect("the prefix is valid");
        assert_eq!(prefix.add("kline.1m.X"), "eu.staging.kline.1m.X");
        assert_eq!(prefix.strip("eu.staging.kline.1m.X"), Some("kline.1m.X"));
        assert_eq!(prefix.strip("us.staging.kline.1m.X"), None);
        assert_eq!(prefix.stream_name("kline"), "eu_staging_KLINE");
        let none = Prefix::new("").expect("no prefix is valid");
        assert_eq!(none.add("kline.1m.X"), "kline.1m.X");
        assert_eq!(none.stream_name("kline"), "KLINE");
        assert!(Prefix::new("eu.*").is_err());
    }

    /// The rules of NATS, written down as plainly as possible.
    fn naive_matches(pattern: &[&str], subject: &[&str]) -> bool {
        match (pattern, subject) {
            ([], []) => true,
            ([">"], [_, ..]) => true,
            (["*", pattern_rest @ ..], [_, subject_rest @ ..]) => {
                naive_matches(pattern_rest, subject_rest)
            }
            ([wanted, pattern_rest @ ..], [token, subject_rest @ ..]) => {
                wanted == token && naive_matches(pattern_rest, subject_rest)
            }
            _ => false,
        }
    }

    fn tokens() -> impl Strategy<Value = Vec<&'static str>> {
        prop::collection::vec(prop::sample::select(vec!["a", "b", "kline", "1m"]), 1..5)
    }

    fn pattern_tokens() -> impl Strategy<Value = Vec<&'static str>> {
        let token = prop::sample::select(vec!["a", "b", "kline", "1m", "*", "*"]);
        (prop::collection::vec(token, 0..5), any::<bool>()).prop_map(|(mut tokens, tail)| {
            if tail || tokens.is_empty() {
                tokens.push(">");
            }
            tokens
        })
    }

    proptest! {
        #[test]
        fn matching_equals_the_naive_rules(pattern in pattern_tokens(), subject in tokens()) {
            let expected = naive_matches(&pattern, &subject);
            let parsed = Pattern::new(&pattern.join(".")).expect("generated patterns are valid");
            prop_assert_eq!(parsed.matches(&subject.join(".")), expected);
        }

        #[test]
        fn pattern_within_a_root_is_what_both_match(
            pattern in pattern_tokens(),
            subject in tokens(),
            root in prop::sample::select(vec!["a", "kline"]),
        ) {
            let subject = subject.join(".");
            let parsed = Pattern::new(&pattern.join(".")).expect("generated patterns are valid");
            let all_of_root = Pattern::new(&format!("{root}.>")).expect("the pattern is valid");
            let is_within = parsed.within_root(root).is_some_and(|within| {
                Pattern::new(&within).expect("the result is valid").matches(&subject)
            });
            prop_assert_eq!(is_within, parsed.matches(&subject) && all_of_root.matches(&subject));
        }

        #[test]
        fn any_text_is_refused_or_matched_without_panic(pattern in ".{0,40}", subject in ".{0,40}") {
            if let Ok(pattern) = Pattern::new(&pattern) {
                pattern.matches(&subject);
            }
            let _ = check_subject(&subject);
        }
    }
}
