//! Publications into a stream with a condition.

use std::collections::HashSet;

use bytes::Bytes;

use crate::message::{HEADER_BYTES_MAX, is_header_value};
use crate::spec::root_of;
use crate::subject::check_subject;
use crate::{BusError, Headers};

/// A publication into a stream; see [`crate::StreamStore::append`].
#[derive(Clone, Debug, Default)]
pub struct Append {
    /// The subject, below the root of a stream.
    pub subject: String,
    /// The bytes.
    pub payload: Bytes,
    /// Data beside the payload.
    pub headers: Headers,
    /// A repeat with the same id within [`DUPLICATE_WINDOW`] is not stored again, so that a
    /// publication whose answer was lost can be repeated.
    pub message_id: Option<String>,
    /// The condition under which it is stored.
    pub expected: Option<Expected>,
}

/// For how long a stream remembers message ids.
pub const DUPLICATE_WINDOW: std::time::Duration = std::time::Duration::from_secs(120);

/// The state of a stream that is required to store a publication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// The newest message of the publication's own subject has this sequence; 0 for none.
    LastOfSubject(u64),
    /// The newest message of another subject of the same stream has this sequence; 0 for none. The
    /// fence of a lease. NATS needs server 2.12 for it.
    LastOf {
        /// The other subject.
        subject: String,
        /// Its newest sequence.
        sequence: u64,
    },
    /// The newest message of the stream has this sequence; 0 for none.
    LastOfStream(u64),
}

/// A publication that is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Its number in the stream; that of the first one for a repeat.
    pub sequence: u64,
    /// Whether the message id was known, so that nothing was stored.
    pub is_duplicate: bool,
}

/// Most publications of one batch, as nats-server has it.
pub const BATCH_MESSAGES_MAX: usize = 1_000;

/// Checks a batch as nats-server does, so that every bus takes the same ones.
pub(crate) fn check_batch(batch: &[Append]) -> Result<(), BusError> {
    let wrong = |reason: String| Err(BusError::Config { reason });
    if batch.is_empty() || batch.len() > BATCH_MESSAGES_MAX {
        return wrong(format!(
            "a batch has 1 to {BATCH_MESSAGES_MAX} messages, not {}",
            batch.len()
        ));
    }
    let mut subjects = HashSet::new();
    for append in batch {
        append.check()?;
        if root_of(&append.subject) != root_of(&batch[0].subject) {
            let (first, other) = (&batch[0].subject, &append.subject);
            return wrong(format!("{first:?} and {other:?} are of two streams"));
        }
        if append.message_id.is_some() {
            return wrong("a message of a batch has no id of its own".to_owned());
        }
        subjects.insert(append.subject.as_str());
    }
    for append in batch {
        if let Some(Expected::LastOfStream(_)) = append.expected {
            return wrong("a message of a batch expects nothing of its whole stream".to_owned());
        }
        if let Some(Expected::LastOf { subject, .. }) = &append.expected
            && subjects.contains(subject.as_str())
        {
            return wrong(format!("a batch expects of {subject:?} what it changes"));
        }
    }
    let own = |append: &&Append| matches!(append.expected, Some(Expected::LastOfSubject(_)));
    let mut written = HashSet::new();
    let changed = batch
        .iter()
        .find(|append| !written.insert(append.subject.as_str()) && own(append));
    match changed {
        Some(append) => wrong(format!(
            "a batch expects of {:?} what it changes",
            append.subject
        )),
        None => Ok(()),
    }
}

impl Append {
    /// A publication without conditions.
    pub fn new(subject: impl Into<String>, payload: Bytes) -> Append {
        Append {
            subject: subject.into(),
            payload,
            ..Append::default()
        }
    }

    /// Checks the conditions that the streams cannot check.
    pub(crate) fn check(&self) -> Result<(), BusError> {
        check_subject(&self.subject)?;
        if let Some(id) = &self.message_id
            && (id.is_empty() || id.len() > HEADER_BYTES_MAX || !is_header_value(id))
        {
            return Err(BusError::Header {
                name: "Nats-Msg-Id".to_owned(),
                reason: "a message id is one line of 1 to 4096 bytes without space around it",
            });
        }
        if let Some(Expected::LastOf { subject, .. }) = &self.expected {
            check_subject(subject)?;
            if root_of(subject) != root_of(&self.subject) {
                return Err(BusError::Config {
                    reason: format!(
                        "{:?} cannot expect anything of {subject:?}, which is of another stream",
                        self.subject
                    ),
                });
            }
        }
        Ok(())
    }
}
