//! The number of messages that each subject retains. The caller says it, and it is the same on
//! every bus.

use std::time::Duration;

use crate::BusError;
use crate::subject::check_subject;

/// A stream that the caller wants: the subjects below one first token, and their retention.
///
/// If several limits are set, the oldest messages are dropped until all of them hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamSpec {
    /// First token of the subjects, which have a second one: `closed` stands for `closed.>`.
    pub root: String,
    /// Messages kept of each subject, the newest ones.
    pub messages_per_subject_max: Option<u64>,
    /// Messages kept of all subjects together, the newest ones.
    pub messages_max: Option<u64>,
    /// Bytes kept of all subjects together. NATS also counts what it stores beside a message.
    pub bytes_max: Option<u64>,
    /// How long a message is kept.
    pub age_max: Option<Duration>,
    /// Whether it survives a restart of the NATS server. Values that are published again within
    /// about a second need not survive it, and storing them would only wear out a disk.
    pub is_durable: bool,
    /// Whether publications expect sequences of it that are not their own, as the fence of a lease
    /// does ([`crate::Lease::fence`]). A stream that was lost and is created again then counts from the
    /// microseconds since 1970 on, above all that it ever counted, and not from 1: no fence of before
    /// fits it by chance. It also takes batches ([`crate::StreamStore::append_all`]).
    pub is_fenced: bool,
}

impl StreamSpec {
    /// A stream that keeps the newest `messages` of each subject below `root`.
    pub fn newest(root: impl Into<String>, messages: u64, is_durable: bool) -> StreamSpec {
        StreamSpec {
            root: root.into(),
            messages_per_subject_max: Some(messages),
            messages_max: None,
            bytes_max: None,
            age_max: None,
            is_durable,
            is_fenced: false,
        }
    }

    /// The same, for publications behind fences.
    #[must_use]
    pub fn fenced(self, is_fenced: bool) -> StreamSpec {
        StreamSpec { is_fenced, ..self }
    }

    /// The subjects as a pattern: `closed.>`.
    pub fn subjects(&self) -> String {
        format!("{}.>", self.root)
    }

    /// Checks that the root is one token and that at least one limit bounds the stream.
    ///
    /// # Errors
    /// `Config`, with what is wrong.
    pub(crate) fn check(&self) -> Result<(), BusError> {
        let wrong = |reason: String| BusError::Config {
            reason: format!("stream of {:?}: {reason}", self.root),
        };
        check_subject(&self.root).map_err(|error| wrong(error.to_string()))?;
        if self.root.contains(['.', '/', '\\']) {
            return Err(wrong("its root must be one token of letters".to_owned()));
        }
        let limits = [
            self.messages_per_subject_max,
            self.messages_max,
            self.bytes_max,
        ];
        if limits.contains(&Some(0)) || self.age_max == Some(Duration::ZERO) {
            return Err(wrong("a limit of 0 keeps nothing".to_owned()));
        }
        if limits
            .iter()
            .flatten()
            .any(|limit| i64::try_from(*limit).is_err())
        {
            return Err(wrong("a limit is beyond what nats can hold".to_owned()));
        }
        if limits == [None; 3] && self.age_max.is_none() {
            return Err(wrong("set a limit, or it grows for ever".to_owned()));
        }
        Ok(())
    }
}

/// Checks each of `specs`, and that no two have the same root.
pub(crate) fn check_all(specs: &[StreamSpec]) -> Result<(), BusError> {
    for (index, spec) in specs.iter().enumerate() {
        spec.check()?;
        if specs[..index].iter().any(|other| other.root == spec.root) {
            return Err(BusError::Config {
                reason: format!("stream of {:?}: two streams have this root", spec.root),
            });
        }
    }
    Ok(())
}

/// The first token of `subject`, if a second one follows: the root of the stream that keeps it.
pub(crate) fn root_of(subject: &str) -> Option<&str> {
    subject.split_once('.').map(|(root, _)| root)
}

/// The subjects of some streams for a message: `kline.>, closed.>`.
pub(crate) fn list(specs: impl Iterator<Item = String>) -> String {
    let subjects: Vec<String> = specs.collect();
    match subjects.is_empty() {
        true => "none".to_owned(),
        false => subjects.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_the_whole_first_token_and_needs_a_second() {
        assert_eq!(root_of("closed.1m.BTC-USD"), Some("closed"));
        assert_eq!(root_of("closed"), None);
    }

    #[test]
    fn specs_that_cannot_be_kept_are_refused_with_the_reason() {
        let spec = |root: &str| StreamSpec::newest(root, 1, true);
        let unbounded = StreamSpec {
            messages_per_subject_max: None,
            ..spec("trades")
        };
        for (specs, reason) in [
            (vec![spec("a.b")], "its root must be one token of letters"),
            (vec![spec("")], r#"invalid subject "": it is empty"#),
            (
                vec![spec("*")],
                r#"invalid subject "*": a wildcard can only be subscribed to"#,
            ),
            (
                vec![StreamSpec::newest("trades", 0, true)],
                "a limit of 0 keeps nothing",
            ),
            (
                vec![StreamSpec::newest("trades", u64::MAX, true)],
                "a limit is beyond what nats can hold",
            ),
            (vec![unbounded], "set a limit, or it grows for ever"),
            (
                vec![spec("trades"), spec("trades")],
                "two streams have this root",
            ),
        ] {
            let error = check_all(&specs).expect_err(reason);
            let root = &specs[0].root;
            assert_eq!(error.to_string(), format!("stream of {root:?}: {reason}"));
        }
        assert_eq!(check_all(&[spec("trades"), spec("closed")]), Ok(()));
    }
}
