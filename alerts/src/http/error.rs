//! Answers that are errors.

use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::http::HeaderValue;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::command::CommandError;
use crate::store::StoreError;

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

    pub(super) fn bad(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    pub(super) fn not_found(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, message)
    }

    pub(super) fn forbidden(message: &'static str) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", message)
    }

    pub(super) fn token_needed() -> Self {
        let message =
            "this needs the token of --token-file: send the header Authorization: Bearer TOKEN";
        Self::new(StatusCode::UNAUTHORIZED, "token_needed", message)
    }

    pub(super) fn wrong_method() -> Self {
        let message = "this route has no such method: docs/alerts.md lists what there is";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "wrong_method", message)
    }

    pub(super) fn wrong_type() -> Self {
        let message = "the body is JSON: send the header Content-Type: application/json";
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "wrong_type", message)
    }

    fn too_slow() -> Self {
        let message = "the body did not arrive in time: --alerts-idle-ms says how long it may take";
        Self::new(StatusCode::REQUEST_TIMEOUT, "too_slow", message)
    }

    pub(super) fn busy() -> Self {
        let message = "rules cannot be changed now: ask again soon";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", message)
    }
}

impl From<CommandError> for ApiError {
    fn from(error: CommandError) -> Self {
        let message = error.to_string();
        match error {
            CommandError::Unknown(_) => Self::not_found("unknown_rule", message),
            CommandError::Exists(_) => Self::new(StatusCode::CONFLICT, "rule_exists", message),
            CommandError::OfFile(_) => Self::new(StatusCode::CONFLICT, "rule_of_file", message),
            CommandError::TooMany(_) => Self::new(StatusCode::CONFLICT, "too_many_rules", message),
            CommandError::TooManyBars(..) => {
                Self::new(StatusCode::CONFLICT, "too_many_bars", message)
            }
            CommandError::TooManySymbols(_) => {
                Self::new(StatusCode::CONFLICT, "too_many_symbols", message)
            }
            CommandError::Busy(_) => Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", message),
            CommandError::Unstored(_) => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "not_stored", message)
            }
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        // It may name files of this host.
        tracing::error!(%error, "the store cannot be read");
        metrics::counter!("alerts_store_errors_total").increment(1);
        let message = "the store cannot be read: ask again later; the log says why";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "store_failed", message)
    }
}

impl From<QueryRejection> for ApiError {
    fn from(error: QueryRejection) -> Self {
        Self::bad("bad_query", error.body_text())
    }
}

impl From<BytesRejection> for ApiError {
    fn from(error: BytesRejection) -> Self {
        if service::is_late_body(&error) {
            return Self::too_slow();
        }
        match error.status() {
            StatusCode::PAYLOAD_TOO_LARGE => Self::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "too_large",
                "a rule has at most 128 KiB",
            ),
            _ => Self::bad("bad_body", error.body_text()),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = json!({ "error": { "code": self.code, "message": self.message } });
        let mut response = (self.status, axum::Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if self.status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Bearer realm=\"klinecast-alerts\"");
            headers.insert(WWW_AUTHENTICATE, challenge);
        }
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
