//! The errors of the bus, one for each decision that a caller can make.

/// Why the bus refused or failed. No message ever contains a password or a token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BusError {
    /// The subject cannot be published to.
    #[error("invalid subject {subject:?}: {reason}")]
    Subject {
        /// As given.
        subject: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The pattern cannot be subscribed to.
    #[error("invalid pattern {pattern:?}: {reason}")]
    Pattern {
        /// As given.
        pattern: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A durable publication outside the retained roots.
    #[error(
        "subject {subject:?} is not in a retained root, so it cannot be published durably (retained: {retained})"
    )]
    NotRetained {
        /// As given.
        subject: String,
        /// The subjects that streams keep.
        retained: String,
    },
    /// The payload is larger than the bus accepts.
    #[error("payload of {payload_bytes} bytes is too large, the bus takes {payload_bytes_max}")]
    PayloadTooLarge {
        /// Size of the payload, in bytes.
        payload_bytes: usize,
        /// Largest size, in bytes.
        payload_bytes_max: usize,
    },
    /// The memory bus already retains its largest number of subjects.
    #[error("{root:?} retains {subjects_max} subjects already, no further one")]
    RetentionFull {
        /// First token of the subject.
        root: String,
        /// The bound.
        subjects_max: usize,
    },
    /// A header cannot be carried.
    #[error("header {name:?}: {reason}")]
    Header {
        /// Its name, shortened.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The stream does not look as a publication expects, so nothing was stored.
    #[error("{subject:?} is not stored: the stream has changed since it was read")]
    NotAsExpected {
        /// The subject published to.
        subject: String,
    },
    /// The stream does not store several messages together: publish them one by one.
    #[error("the stream of {subject:?} takes no batches")]
    NoBatches {
        /// The first subject published to.
        subject: String,
    },
    /// A position of a stream that went missing and was created again: it says nothing of this one.
    #[error("stream of {root:?}: it was created again since that position; read it from the start")]
    PositionLost {
        /// First token of the subjects.
        root: String,
    },
    /// A consumer of this name reads something else.
    #[error("consumer {name:?} reads {running}, not {wanted}; use another name, or delete it")]
    ConsumerConflict {
        /// The name of both.
        name: String,
        /// The pattern of the running one.
        running: String,
        /// The pattern asked for.
        wanted: String,
    },
    /// A lease cannot be read or taken.
    #[error("lease {subject:?}: {reason}")]
    Lease {
        /// Where it is kept.
        subject: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// No responder serves this subject at the moment.
    #[error("nobody answers requests to {subject:?}")]
    NoResponders {
        /// As asked.
        subject: String,
    },
    /// The responder of this subject has too many questions.
    #[error("the service of {subject:?} is busy")]
    Busy {
        /// As asked.
        subject: String,
    },
    /// The responder of this subject answered with an error.
    #[error("request to {subject:?} refused: {reason}")]
    Refused {
        /// As asked.
        subject: String,
        /// As answered.
        reason: String,
    },
    /// The configuration is invalid.
    #[error("{reason}")]
    Config {
        /// Which value, and what is wrong with it.
        reason: String,
    },
    /// No server could be reached within the deadline.
    #[error(
        "no nats server reached at {servers} within {waited_ms} ms: {reason}; check that nats-server runs there and that the address and port are right"
    )]
    Unreachable {
        /// The servers, without credentials.
        servers: String,
        /// How long was tried, in milliseconds.
        waited_ms: u64,
        /// The reason of the last attempt's failure.
        reason: &'static str,
    },
    /// The server answered, but refuses these credentials.
    #[error(
        "the nats server at {servers} refused the credentials; check user, password or token in the bus address"
    )]
    Unauthorized {
        /// The servers, without credentials.
        servers: String,
    },
    /// The server runs without JetStream, or the account has no permission for it.
    #[error(
        "the nats server at {servers} has no jetstream: {reason}; start it with `nats-server -js`, or enable jetstream for the account"
    )]
    JetStreamDisabled {
        /// The servers, without credentials.
        servers: String,
        /// What the server said.
        reason: String,
    },
    /// Another stream has our subjects, or our stream cannot be changed to the configuration.
    #[error("stream {stream}: {reason}")]
    StreamConflict {
        /// The stream that we need.
        stream: String,
        /// The obstacle, and what to do.
        reason: String,
    },
    /// JetStream answered with an error.
    #[error("jetstream failed to {action}: {reason}")]
    JetStream {
        /// The request.
        action: String,
        /// What it said.
        reason: String,
        /// Whether the same request may succeed later.
        retryable: bool,
    },
    /// The connection is currently lost.
    #[error("not connected to nats")]
    Disconnected,
    /// The server did not accept the message or did not answer in time.
    #[error("nats did not {action} within {waited_ms} ms")]
    Timeout {
        /// What was awaited.
        action: &'static str,
        /// For how long, in milliseconds.
        waited_ms: u64,
    },
    /// The bus has drained.
    #[error("the bus is closed")]
    Closed,
}

impl BusError {
    /// Whether the same call may succeed later without anyone changing anything.
    pub fn is_retryable(&self) -> bool {
        match self {
            BusError::Unreachable { .. }
            | BusError::Disconnected
            | BusError::Timeout { .. }
            | BusError::NoResponders { .. }
            | BusError::Busy { .. } => true,
            BusError::JetStream { retryable, .. } => *retryable,
            _ => false,
        }
    }
}
