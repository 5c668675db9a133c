//! Why a request is refused.

/// A reason without the request's id.
pub(super) type Refusal = (ErrorCode, String);

/// Why a request is refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RequestError {
    /// The request's id, as far as it could be read.
    pub id: Option<Box<str>>,
    /// The code, for programs.
    pub code: ErrorCode,
    /// The reason and what to do, for people.
    pub message: String,
    /// The topics that it names, if any, as written.
    pub topics: Vec<String>,
}

/// The codes of `{"op":"error"}`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ErrorCode {
    /// The frame is not one JSON object.
    InvalidJson,
    /// `op` is missing or unknown.
    UnknownOp,
    /// A field is missing or of the wrong type.
    BadRequest,
    /// A topic is malformed.
    BadTopic,
    /// An option's value is out of its range.
    BadOption,
    /// The request names or matches more topics than allowed.
    TooManyTopics,
    /// The session would hold more subscriptions than allowed.
    TooManySubscriptions,
    /// This gateway does not check tokens.
    AuthNotRequired,
    /// The gateway requires a token first.
    AuthRequired,
    /// The gateway does not accept the token.
    InvalidToken,
    /// The token does not permit these topics.
    Forbidden,
    /// Slow clients use all the memory that the gateway has for answers.
    Overloaded,
}

impl ErrorCode {
    /// Every code, in the order of the reference.
    pub const ALL: &'static [Self] = &[
        Self::InvalidJson,
        Self::UnknownOp,
        Self::BadRequest,
        Self::BadTopic,
        Self::BadOption,
        Self::TooManyTopics,
        Self::TooManySubscriptions,
        Self::AuthNotRequired,
        Self::AuthRequired,
        Self::InvalidToken,
        Self::Forbidden,
        Self::Overloaded,
    ];

    /// The code as sent.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidJson => "invalid_json",
            Self::UnknownOp => "unknown_op",
            Self::BadRequest => "bad_request",
            Self::BadTopic => "bad_topic",
            Self::BadOption => "bad_option",
            Self::TooManyTopics => "too_many_topics",
            Self::TooManySubscriptions => "too_many_subscriptions",
            Self::AuthNotRequired => "auth_not_required",
            Self::AuthRequired => "auth_required",
            Self::InvalidToken => "invalid_token",
            Self::Forbidden => "forbidden",
            Self::Overloaded => "overloaded",
        }
    }
}
