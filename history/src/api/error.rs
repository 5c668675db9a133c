//! Answers that are errors.

use auth::TokenError;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::refusal::Refusal;
use crate::range::RangeError;
use crate::reads::Busy;
use crate::store::StoreError;

/// What a client without a good token is told to send (RFC 6750).
pub(super) const CHALLENGE: HeaderValue = HeaderValue::from_static("Bearer realm=\"klinecast\"");

/// Why a question has no answer, as clients are told: a code for programs, a text for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    pub(crate) code: &'static str,
    pub(crate) message: String,
}

#[derive(Serialize)]
struct Body<'a> {
    error: Fields<'a>,
}

#[derive(Serialize)]
struct Fields<'a> {
    code: &'a str,
    message: &'a str,
}

impl ApiError {
    /// The question is malformed.
    pub(crate) fn bad(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            code,
            message: message.into(),
        }
    }

    pub(crate) fn not_found(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::NOT_FOUND,
            ..Self::bad(code, message)
        }
    }

    /// The client's token does not permit it.
    pub(crate) fn forbidden(message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::FORBIDDEN,
            ..Self::bad("forbidden", message)
        }
    }

    /// The client asks too often.
    pub(crate) fn too_many() -> Self {
        let message = "this address asks too often: wait as long as Retry-After says, and ask for more bars at once (limit, NDJSON)";
        Self {
            status: StatusCode::TOO_MANY_REQUESTS,
            ..Self::bad("rate_limited", message)
        }
    }

    /// It is our fault. The reason is in the log.
    pub(crate) fn internal() -> Self {
        let message = "history cannot read its store: ask again later; its log says why";
        Self {
            status: StatusCode::SERVICE_UNAVAILABLE,
            ..Self::bad("store_failed", message)
        }
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        let (status, code, message) = match refusal {
            Refusal::Missing => (
                StatusCode::UNAUTHORIZED,
                "token_required",
                "a token is needed: send it in the header Authorization: Bearer ..., or add ?token=... to the URL".to_owned(),
            ),
            Refusal::Token(error @ TokenError::TooManyFailures) => (
                StatusCode::TOO_MANY_REQUESTS,
                "too_many_failures",
                error.to_string(),
            ),
            Refusal::Token(error) => (
                StatusCode::UNAUTHORIZED,
                "invalid_token",
                error.to_string(),
            ),
        };
        Self {
            status,
            code,
            message,
        }
    }
}

impl From<Busy> for ApiError {
    fn from(busy: Busy) -> Self {
        Self {
            status: StatusCode::SERVICE_UNAVAILABLE,
            ..Self::bad("busy", busy.to_string())
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        // It names files of this host, which clients must not learn.
        tracing::error!(%error, "the store cannot be read");
        metrics::counter!("history_read_errors_total").increment(1);
        Self::internal()
    }
}

impl From<RangeError> for ApiError {
    fn from(error: RangeError) -> Self {
        let message = error.to_string();
        match error {
            RangeError::Unknown { .. } => Self::not_found("unknown_symbol", message),
            RangeError::Ambiguous { .. } => Self::bad("ambiguous_symbol", message),
            RangeError::NoSource { .. } | RangeError::TooWide { .. } => {
                Self::bad("bad_width", message)
            }
            RangeError::Cursor(_) => Self::bad("bad_cursor", message),
            RangeError::Store(error) => error.into(),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = Body {
            error: Fields {
                code: self.code,
                message: &self.message,
            },
        };
        let json = serde_json::to_vec(&body).unwrap_or_default();
        let mut response = (self.status, json).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, CHALLENGE);
        }
        let is_temporary = [
            StatusCode::TOO_MANY_REQUESTS,
            StatusCode::SERVICE_UNAVAILABLE,
        ];
        if is_temporary.contains(&self.status) {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
