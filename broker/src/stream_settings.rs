//! The settings of a stream, as the configuration and the HTTP API have them.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::config::units::{Bytes, Period};

/// Most subjects of a stream.
const SUBJECTS_MAX: usize = 256;
/// Longest name of a stream.
const NAME_LEN_MAX: usize = 64;

/// What a stream takes and how long it keeps it. In an update, absent fields stay as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct StreamSettings {
    /// Its subjects, with wildcards.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subjects: Option<Vec<String>>,
    /// When a message may go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention: Option<Retention>,
    /// Where messages are kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage: Option<Storage>,
    /// How long a message is kept; 0 for no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_age: Option<Period>,
    /// Most messages; -1 for no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_msgs: Option<i64>,
    /// Most bytes; 0 for no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<Bytes>,
    /// Most messages of each subject; -1 for no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_msgs_per_subject: Option<i64>,
    /// What happens to a message that finds the stream full.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub discard: Option<Discard>,
    /// Copies in a cluster, 1 to 5.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas: Option<u8>,
    /// A rule that publishes each stored message again, under another subject.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub republish: Option<Republish>,
    /// A rule that stores messages under other subjects than they came with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject_transform: Option<SubjectTransform>,
}

/// When a message may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Retention {
    /// When a limit is reached.
    Limits,
    /// When one consumer has acknowledged it.
    Workqueue,
    /// When every consumer has acknowledged it.
    Interest,
}

/// Where messages are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Storage {
    /// On disk.
    File,
    /// In the server's memory: gone when it ends.
    Memory,
}

/// What happens to a message that finds the stream full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Discard {
    /// The oldest message goes.
    Old,
    /// The new message is refused.
    New,
}

/// A rule of NATS: each stored message is published again.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Republish {
    /// The messages that it is for.
    #[serde(default = "all_subjects")]
    pub src: String,
    /// Their new subjects; empty to take the rule away.
    pub dest: String,
    /// Whether the payload is left out.
    #[serde(default)]
    pub headers_only: bool,
}

/// A rule of NATS: messages are stored under other subjects.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SubjectTransform {
    /// The messages that it is for.
    #[serde(default = "all_subjects")]
    pub src: String,
    /// Their new subjects; empty to take the rule away.
    pub dest: String,
}

fn all_subjects() -> String {
    ">".to_owned()
}

/// Checks the name of a stream.
///
/// # Errors
/// What a name may be.
pub fn check_name(name: &str) -> Result<(), String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if name.is_empty() || name.len() > NAME_LEN_MAX || !name.bytes().all(is_plain) {
        return Err(format!(
            "a stream's name has 1 to {NAME_LEN_MAX} letters, digits, _ and -"
        ));
    }
    Ok(())
}

impl StreamSettings {
    /// Checks each field that is set.
    ///
    /// # Errors
    /// What is wrong, and what would be right.
    pub fn check(&self) -> Result<(), String> {
        if let Some(subjects) = &self.subjects {
            if subjects.is_empty() || subjects.len() > SUBJECTS_MAX {
                return Err(format!(
                    "subjects: a stream has 1 to {SUBJECTS_MAX} of them"
                ));
            }
            for subject in subjects {
                check_pattern(subject).map_err(|reason| format!("subjects: {reason}"))?;
            }
        }
        for (field, limit) in [
            ("max_msgs", self.max_msgs),
            ("max_msgs_per_subject", self.max_msgs_per_subject),
        ] {
            if limit.is_some_and(|limit| limit != -1 && limit < 1) {
                return Err(format!("{field}: a limit is 1 or more, or -1 for none"));
            }
        }
        if self
            .replicas
            .is_some_and(|copies| !(1..=5).contains(&copies))
        {
            return Err("replicas: a stream has 1 to 5 copies".to_owned());
        }
        let mut rules = Vec::new();
        rules.extend(self.republish.as_ref().map(|rule| (&rule.src, &rule.dest)));
        rules.extend(
            self.subject_transform
                .as_ref()
                .map(|rule| (&rule.src, &rule.dest)),
        );
        for (src, dest) in rules {
            check_pattern(src).map_err(|reason| format!("src: {reason}"))?;
            if !dest.is_empty() {
                check_destination(dest).map_err(|reason| format!("dest: {reason}"))?;
            }
        }
        Ok(())
    }

    /// Checks that a new stream can be made of them: it has subjects and a bound.
    ///
    /// # Errors
    /// What is missing.
    pub fn check_whole(&self) -> Result<(), String> {
        self.check()?;
        if self.subjects.is_none() {
            return Err("subjects: a stream needs them, such as [\"orders.>\"]".to_owned());
        }
        let is_bounded = self.max_age.is_some_and(|age| age.as_nanos() > 0)
            || self.max_msgs.is_some_and(|limit| limit > 0)
            || self.max_bytes.is_some_and(|limit| limit.0 > 0)
            || self.max_msgs_per_subject.is_some_and(|limit| limit > 0);
        if !is_bounded {
            return Err(
                "set max_age, max_msgs, max_bytes or max_msgs_per_subject, or it grows for ever"
                    .to_owned(),
            );
        }
        Ok(())
    }

    /// The fields that are set, as the JetStream API has them.
    pub(crate) fn api_fields(&self) -> Map<String, Value> {
        let mut fields = Map::new();
        let mut set = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                fields.insert(name.to_owned(), value);
            }
        };
        set("subjects", self.subjects.as_ref().map(|all| json!(all)));
        set("retention", self.retention.map(|value| json!(value)));
        set("storage", self.storage.map(|value| json!(value)));
        set("max_age", self.max_age.map(|age| json!(age.as_nanos())));
        set("max_msgs", self.max_msgs.map(|limit| json!(limit)));
        set(
            "max_bytes",
            self.max_bytes.map(|limit| match limit.0 {
                0 => json!(-1),
                bytes => json!(bytes),
            }),
        );
        set(
            "max_msgs_per_subject",
            self.max_msgs_per_subject.map(|limit| json!(limit)),
        );
        set("discard", self.discard.map(|value| json!(value)));
        set("num_replicas", self.replicas.map(|value| json!(value)));
        set(
            "republish",
            self.republish
                .as_ref()
                .map(|rule| match rule.dest.as_str() {
                    "" => Value::Null,
                    dest if rule.headers_only => {
                        json!({"src": rule.src, "dest": dest, "headers_only": true})
                    }
                    dest => json!({"src": rule.src, "dest": dest}),
                }),
        );
        set(
            "subject_transform",
            self.subject_transform
                .as_ref()
                .map(|rule| match rule.dest.as_str() {
                    "" => Value::Null,
                    dest => json!({"src": rule.src, "dest": dest}),
                }),
        );
        fields
    }

    /// The whole configuration of a new stream.
    pub(crate) fn new_config(&self, name: &str) -> Value {
        let mut config = json!({
            "name": name,
            "retention": "limits",
            "storage": "file",
            "num_replicas": 1,
            "discard": "old",
            "allow_direct": true,
        });
        for (field, value) in self.api_fields() {
            config[field] = value;
        }
        config
    }

    /// What differs from a running configuration: the field, its value there, and the one here.
    pub(crate) fn differences(&self, running: &Value) -> Vec<(String, Value, Value)> {
        let mut found = Vec::new();
        for (field, wanted) in self.api_fields() {
            let there = running.get(&field).unwrap_or(&Value::Null);
            let is_same = *there == wanted || (is_unlimited(there) && is_unlimited(&wanted));
            if !is_same {
                found.push((field, there.clone(), wanted));
            }
        }
        found
    }
}

/// The API leaves out fields that are not set, and has 0 or -1 for no limit.
fn is_unlimited(value: &Value) -> bool {
    value.is_null() || value.as_i64().is_some_and(|number| number <= 0)
}

/// Checks a pattern of subjects that are no server's.
pub(crate) fn check_pattern(pattern: &str) -> Result<(), String> {
    let checked = bus::Pattern::new(pattern).map_err(|error| error.to_string())?;
    if checked.as_str().starts_with(['$', '_']) {
        return Err(format!("{pattern:?} is reserved for the server"));
    }
    Ok(())
}

/// Checks the right side of a rule: a subject, with `{{wildcard(1)}}` and the like.
pub(crate) fn check_destination(subject: &str) -> Result<(), String> {
    let is_wrong = |letter: char| letter.is_control() || matches!(letter, '"' | '\\');
    if subject.starts_with(['$', '_']) || subject.contains(is_wrong) || subject.len() > 512 {
        return Err(format!("{subject:?} is no subject that messages can go to"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(value: Value) -> StreamSettings {
        serde_json::from_value(value).expect("settings")
    }

    #[test]
    fn only_what_is_set_is_compared_and_no_limit_has_many_names() {
        let wanted = settings(json!({"max_age": 7200, "max_msgs": -1, "storage": "file"}));
        let running = json!({"max_age": 7_200_000_000_000u64, "storage": "file", "discard": "new"});
        assert_eq!(wanted.differences(&running), []);
        let running = json!({"max_age": 1, "max_msgs": 5, "storage": "memory"});
        let names: Vec<String> = wanted
            .differences(&running)
            .into_iter()
            .map(|(field, ..)| field)
            .collect();
        assert_eq!(names, ["max_age", "max_msgs", "storage"]);
    }

    #[test]
    fn settings_that_cannot_hold_are_refused_with_what_would_be_right() {
        for (value, reason) in [
            (json!({}), "subjects: a stream needs them"),
            (json!({"subjects": []}), "1 to 256"),
            (json!({"subjects": ["a b"], "max_msgs": 1}), "subjects: "),
            (
                json!({"subjects": ["$JS.API.>"], "max_msgs": 1}),
                "reserved",
            ),
            (json!({"subjects": ["_INBOX.>"], "max_msgs": 1}), "reserved"),
            (json!({"subjects": ["a.>"]}), "or it grows for ever"),
            (
                json!({"subjects": ["a.>"], "max_msgs": -1}),
                "or it grows for ever",
            ),
            (json!({"subjects": ["a.>"], "max_msgs": 0}), "1 or more"),
            (
                json!({"subjects": ["a.>"], "max_msgs": 1, "replicas": 6}),
                "1 to 5",
            ),
            (
                json!({"subjects": ["a.>"], "max_msgs": 1, "republish": {"dest": "$JS.API.x"}}),
                "dest: ",
            ),
        ] {
            let error = settings(value.clone()).check_whole().expect_err(reason);
            assert!(error.contains(reason), "{value}: {error}");
        }
        let whole = settings(json!({"subjects": ["a.>"], "max_age": "1h"}));
        assert_eq!(whole.check_whole(), Ok(()));
        for name in ["", "A.B", "A B", "A*", "Ä", &"A".repeat(65)] {
            assert!(check_name(name).is_err(), "{name}");
        }
        assert_eq!(check_name("MARKET_DATA-2"), Ok(()));
    }
}
