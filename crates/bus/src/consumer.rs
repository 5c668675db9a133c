//! Reading a stream with acknowledgements: for readers that must not lose a message.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;

use crate::subject::Pattern;
use crate::{BusError, Message, Start};

/// Most messages that a consumer may have in flight.
pub const IN_FLIGHT_MAX: usize = 100_000;
/// The longest wait before a message is given out again.
pub const WAIT_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// A durable reader of one stream.
#[derive(Clone, Debug)]
pub struct ConsumerSpec {
    /// Its name, unique on the stream. Readers with the same name share the messages.
    pub name: String,
    /// The subjects. The first token must be the root of a stream, without a wildcard.
    pub pattern: String,
    /// Where it starts when it is created; later it continues where it was.
    pub start: Start,
    /// Most messages that are taken and not acknowledged, up to [`IN_FLIGHT_MAX`].
    pub in_flight_max: usize,
    /// After how long a message that is not acknowledged is given out again, up to [`WAIT_MAX`].
    pub ack_wait: Duration,
}

impl ConsumerSpec {
    /// Checks the spec; gives the root of the stream and the pattern.
    pub(crate) fn check(&self) -> Result<(String, Pattern), BusError> {
        let wrong = |reason: &str| {
            Err(BusError::Config {
                reason: format!("consumer {:?}: {reason}", self.name),
            })
        };
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if self.name.is_empty() || self.name.len() > 64 || !self.name.bytes().all(is_plain) {
            return wrong("its name must be 1 to 64 letters, digits, - and _");
        }
        if self.in_flight_max == 0 || self.in_flight_max > IN_FLIGHT_MAX {
            return wrong("1 to 100000 messages can be in flight");
        }
        if self.ack_wait < Duration::from_millis(1) {
            return wrong("the wait for an acknowledgement must be at least 1 ms");
        }
        if self.ack_wait > WAIT_MAX {
            return wrong("the wait for an acknowledgement must be at most 365 days");
        }
        rooted(&self.pattern)
    }
}

/// A pattern with its root, which must be without a wildcard.
pub(crate) fn rooted(pattern: &str) -> Result<(String, Pattern), BusError> {
    let parsed = Pattern::new(pattern)?;
    match pattern.split_once('.') {
        Some((root, _)) if root != "*" => Ok((root.to_owned(), parsed)),
        _ => Err(BusError::Pattern {
            pattern: pattern.to_owned(),
            reason: "its first token must be the root of a stream, and a second must follow",
        }),
    }
}

/// Gives out the messages of a stream, at least once each.
///
/// What was taken and not acknowledged within [`ConsumerSpec::ack_wait`] is given out again, to
/// which program reads under this name. Dropping it keeps the consumer on the bus: the next one of its
/// name goes on. Retention goes before it: a message that the stream keeps no more is not given
/// out.
pub struct Consumer(Box<dyn ConsumerSource>);

impl Consumer {
    pub(crate) fn new(source: impl ConsumerSource + 'static) -> Consumer {
        Consumer(Box::new(source))
    }

    /// Waits for the next message. Cancel safe: a message that a dropped call had is given out
    /// again after `ack_wait`.
    ///
    /// # Errors
    /// `Closed` once the bus has drained; retryable ones, after which the next call goes on.
    pub async fn next(&mut self) -> Result<Taken, BusError> {
        self.0.next().await
    }

    /// How far it is.
    ///
    /// # Errors
    /// `Closed`; retryable: `Timeout`, `Disconnected`, `JetStream`.
    pub async fn status(&self) -> Result<ConsumerStatus, BusError> {
        self.0.status().await
    }
}

impl fmt::Debug for Consumer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Consumer")
    }
}

/// How far a consumer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConsumerStatus {
    /// Every message up to this sequence is acknowledged, kept no more, or of another subject.
    pub acknowledged_to: u64,
    /// Messages that are taken and not acknowledged.
    pub in_flight: u64,
    /// Messages that were never given out.
    pub waiting: u64,
}

/// A message that waits for its acknowledgement.
pub struct Taken {
    /// The message, with its position.
    pub message: Message,
    /// How often it was given out, this time included.
    pub deliveries: u64,
    handle: Box<dyn AckHandle>,
}

impl Taken {
    pub(crate) fn new(
        message: Message,
        deliveries: u64,
        handle: impl AckHandle + 'static,
    ) -> Taken {
        Taken {
            message,
            deliveries,
            handle: Box::new(handle),
        }
    }

    /// Says that it is done, and waits until the bus has heard it. Where that fails it is given out
    /// again.
    ///
    /// # Errors
    /// `PositionLost` where its stream was created again since; `Closed`; retryable: `Timeout`,
    /// `Disconnected`, and `JetStream` where its consumer or its stream is gone.
    pub async fn ack(&self) -> Result<(), BusError> {
        self.handle.answer(Answer::Done).await
    }

    /// Says that it shall be given out again, not before `after`; [`WAIT_MAX`] if that is longer.
    ///
    /// # Errors
    /// As `ack`.
    pub async fn retry(&self, after: Duration) -> Result<(), BusError> {
        self.handle.answer(Answer::Again(after.min(WAIT_MAX))).await
    }

    /// Says that it is still being worked on: `ack_wait` starts again.
    ///
    /// # Errors
    /// As `ack`.
    pub async fn extend(&self) -> Result<(), BusError> {
        self.handle.answer(Answer::Working).await
    }
}

impl fmt::Debug for Taken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Taken({:?})", self.message)
    }
}

/// The verdict about a message that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Done,
    Again(Duration),
    Working,
}

#[async_trait]
pub(crate) trait ConsumerSource: Send + Sync {
    async fn next(&mut self) -> Result<Taken, BusError>;
    async fn status(&self) -> Result<ConsumerStatus, BusError>;
}

#[async_trait]
pub(crate) trait AckHandle: Send + Sync {
    async fn answer(&self, answer: Answer) -> Result<(), BusError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> ConsumerSpec {
        ConsumerSpec {
            name: "history".to_owned(),
            pattern: "closed.>".to_owned(),
            start: Start::Oldest,
            in_flight_max: 8,
            ack_wait: Duration::from_secs(1),
        }
    }

    #[test]
    fn specs_that_no_bus_can_serve_are_refused_with_the_reason() {
        assert!(spec().check().is_ok());
        for (wrong, reason) in [
            (
                ConsumerSpec {
                    name: "a.b".to_owned(),
                    ..spec()
                },
                r#"consumer "a.b": its name must be 1 to 64 letters, digits, - and _"#,
            ),
            (
                ConsumerSpec {
                    in_flight_max: 0,
                    ..spec()
                },
                r#"consumer "history": 1 to 100000 messages can be in flight"#,
            ),
            (
                ConsumerSpec {
                    ack_wait: Duration::ZERO,
                    ..spec()
                },
                r#"consumer "history": the wait for an acknowledgement must be at least 1 ms"#,
            ),
            (
                ConsumerSpec {
                    ack_wait: Duration::MAX,
                    ..spec()
                },
                r#"consumer "history": the wait for an acknowledgement must be at most 365 days"#,
            ),
            (
                ConsumerSpec {
                    pattern: "*.1m.>".to_owned(),
                    ..spec()
                },
                r#"invalid pattern "*.1m.>": its first token must be the root of a stream, and a second must follow"#,
            ),
        ] {
            let error = wrong.check().expect_err(reason);
            assert_eq!(error.to_string(), reason);
        }
    }
}
