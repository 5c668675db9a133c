//! Answers that are errors.

use axum::extract::rejection::{BytesRejection, PathRejection, QueryRejection};
use axum::http::header::{CACHE_CONTROL, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::jetstream::NatsError;
use crate::streams::StreamError;

/// Why a request is not done, as clients are told: a code for programs, a text for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ApiError {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl ApiError {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
        }
    }

    pub(crate) fn bad(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    pub(crate) fn not_found(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, message)
    }

    pub(crate) fn conflict(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, code, message)
    }

    pub(crate) fn forbidden(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, code, message)
    }

    pub(crate) fn token_needed(message: &'static str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "token_needed", message)
    }

    pub(crate) fn wrong_method() -> Self {
        let message = "this route has no such method: /api/v1/openapi.json lists what there is";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "wrong_method", message)
    }

    pub(crate) fn wrong_type() -> Self {
        let message = "the body is JSON: send the header Content-Type: application/json";
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "wrong_type", message)
    }

    pub(crate) fn too_large(message: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message)
    }

    pub(crate) fn too_many() -> Self {
        let message = "this address asks too often: wait as long as Retry-After says";
        Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", message)
    }

    pub(crate) fn busy() -> Self {
        let message = "too many requests are being answered: ask again soon";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", message)
    }

    pub(crate) fn too_slow() -> Self {
        let message =
            "the request took too long: ask again; /health says whether nats-server answers";
        Self::new(StatusCode::GATEWAY_TIMEOUT, "too_slow", message)
    }

    /// Whether it is not the client's fault.
    pub(crate) fn is_ours(&self) -> bool {
        self.status.is_server_error()
    }
}

impl From<NatsError> for ApiError {
    fn from(error: NatsError) -> Self {
        let message = error.to_string();
        let unavailable = StatusCode::SERVICE_UNAVAILABLE;
        match &error {
            NatsError::Disconnected => Self::new(unavailable, "disconnected", message),
            NatsError::NoJetStream => Self::new(unavailable, "no_jetstream", message),
            NatsError::Timeout => Self::new(StatusCode::GATEWAY_TIMEOUT, "no_answer", message),
            NatsError::Unsendable(_) => Self::bad("unsendable", message),
            _ if error.is_no_such_stream() => Self::not_found("unknown_stream", message),
            _ if error.is_conflict() => Self::conflict("conflict", message),
            NatsError::Refused { status, .. } => match status {
                404 => Self::not_found("refused", message),
                400..=499 => Self::bad("refused", message),
                _ => Self::new(unavailable, "refused", message),
            },
        }
    }
}

impl From<StreamError> for ApiError {
    fn from(error: StreamError) -> Self {
        let message = error.to_string();
        match error {
            StreamError::Settings(_) => Self::bad("bad_settings", message),
            StreamError::Own(_) => Self::conflict("own_stream", message),
            StreamError::NoOrigin(_) => Self::conflict("no_origin", message),
            StreamError::Missing(_) => Self::not_found("unknown_stream", message),
            StreamError::Nats(error) => error.into(),
        }
    }
}

impl From<QueryRejection> for ApiError {
    fn from(error: QueryRejection) -> Self {
        Self::bad("bad_query", error.body_text())
    }
}

impl From<PathRejection> for ApiError {
    fn from(error: PathRejection) -> Self {
        Self::bad("bad_path", error.body_text())
    }
}

impl From<BytesRejection> for ApiError {
    fn from(error: BytesRejection) -> Self {
        if service::is_late_body(&error) {
            let message = "the body did not arrive in time: --idle-ms says how long it may take";
            return Self::new(StatusCode::REQUEST_TIMEOUT, "late_body", message);
        }
        match error.status() {
            StatusCode::PAYLOAD_TOO_LARGE => {
                Self::too_large("the body is too long: --body-bytes-max says how long it may be")
            }
            _ => Self::bad("bad_body", error.body_text()),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body =
            json!({ "success": false, "error": { "code": self.code, "message": self.message } });
        let mut response = (self.status, axum::Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        match self.status {
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
            }
            StatusCode::UNAUTHORIZED => {
                let challenge = HeaderValue::from_static("Bearer realm=\"klinecast-broker\"");
                headers.insert(WWW_AUTHENTICATE, challenge);
            }
            _ => {}
        }
        response
    }
}
