//! The client protocol: what a client may ask, and what a gateway answers.
//!
//! Text frames. A client sends one JSON object a frame; a gateway sends one or more, joined by
//! `\n`. The reference for clients is `docs/protocol.md`, and its tables are tested against the
//! ones here.

mod book_form;
mod past;
mod request;
mod request_limits;
mod resume_token;
mod selection;
mod subscribe;

mod error_code;
mod reply;

mod close_code;
#[cfg(test)]
mod fuzz;

pub use book_form::{BOOK_DEPTHS, BookForm};
pub use close_code::{CloseCode, Reconnect};
pub use error_code::{ErrorCode, RequestError};
pub use past::{Past, PastFields, REPLAY_SPEED_MAX};
pub use reply::{Ack, AuthAck, List, Live, Reply, Unrecovered, encode_skipped};
pub use request::{ID_LEN_MAX, Op, OpFields, Request, Token};
pub use request_limits::RequestLimits;
pub use resume_token::{ParseResumeTokenError, ResumeToken};
pub use selection::Selection;
pub use subscribe::{
    Filter, MAX_RATE_MAX, MAX_RATE_MIN, MalformedTopic, MaxRate, OptionFields, Since, Subscribe,
    TopicFields,
};

#[cfg(test)]
mod tests;
