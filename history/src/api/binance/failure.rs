//! Errors with Binance's codes.

use auth::TokenError;
use axum::Json;
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tracing::error;

use crate::api::error::ApiError;
use crate::api::refusal::Refusal;
use crate::range::RangeError;
use crate::store::StoreError;

/// JSON text, or why there is none.
pub(super) type Answer = Result<String, Failure>;

/// A request that is refused: `{"code":-1121,"msg":"Invalid symbol."}`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Failure {
    status: StatusCode,
    code: i32,
    message: String,
    /// When to ask again, s.
    retry_after_s: Option<u64>,
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body())).into_response();
        if let Some(seconds) = self.retry_after_s {
            let seconds = HeaderValue::from(seconds);
            response.headers_mut().insert(RETRY_AFTER, seconds);
        }
        response
    }
}

impl Failure {
    /// What is sent.
    pub(super) fn body(&self) -> Value {
        json!({"code": self.code, "msg": self.message})
    }

    fn bad(code: i32, message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            code,
            message: message.into(),
            retry_after_s: None,
        }
    }

    /// There is no such thing here.
    fn not_here(message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::NOT_FOUND,
            ..Self::bad(-1000, message)
        }
    }
}

/// The client has used its weight of this minute, which ends in so many seconds.
pub(super) fn too_much_weight(limit: u32, retry_after_s: u64) -> Failure {
    let message = format!(
        "Too much request weight used; current limit is {limit} request weight per 1 MINUTE. Please use WebSocket Streams for live updates to avoid polling the API."
    );
    Failure {
        status: StatusCode::TOO_MANY_REQUESTS,
        retry_after_s: Some(retry_after_s),
        ..Failure::bad(-1003, message)
    }
}

/// Too many questions wait for the store.
pub(super) fn busy() -> Failure {
    Failure {
        status: StatusCode::SERVICE_UNAVAILABLE,
        retry_after_s: Some(1),
        ..Failure::bad(
            -1008,
            "Request throttled by system-level protection: ask again in a second.",
        )
    }
}

/// A parameter that is no number, or no list.
pub(super) fn illegal(key: &str) -> Failure {
    Failure::bad(
        -1100,
        format!("Illegal characters found in parameter '{key}'."),
    )
}

/// A query that cannot be decoded.
pub(super) fn unreadable_query() -> Failure {
    Failure::bad(-1100, "Illegal characters found in a parameter.")
}

/// A parameter that must be there.
pub(super) fn missing(key: &str) -> Failure {
    Failure::bad(
        -1102,
        format!("Mandatory parameter '{key}' was not sent, was empty/null, or malformed."),
    )
}

/// A value out of its range.
pub(super) fn invalid(key: &str, what_to_write: &str) -> Failure {
    Failure::bad(
        -1130,
        format!("Data sent for parameter '{key}' is not valid: {what_to_write}."),
    )
}

/// Parameters that exclude each other.
pub(super) fn combination(message: &str) -> Failure {
    Failure::bad(
        -1128,
        format!("Combination of optional parameters invalid: {message}."),
    )
}

/// An interval that cannot be served.
pub(super) fn invalid_interval() -> Failure {
    Failure::bad(-1120, "Invalid interval.")
}

/// A symbol that is not known.
pub(super) fn invalid_symbol() -> Failure {
    Failure::bad(-1121, "Invalid symbol.")
}

/// Nothing is served at this path.
pub(super) fn unknown_path() -> Failure {
    Failure::not_here("Nothing is served at this path: docs/binance.md lists what there is.")
}

/// There is no order book of a symbol.
pub(super) fn no_book() -> Failure {
    Failure::not_here(
        "There is no order book of this symbol here: let marketdata follow books (--channels ticker,book), or ask /api/v3/ticker/price for the newest price.",
    )
}

/// There is an order book of a symbol, and it is not known to be right.
pub(super) fn no_right_book(reason: &str) -> Failure {
    Failure {
        status: StatusCode::SERVICE_UNAVAILABLE,
        retry_after_s: Some(1),
        ..Failure::bad(
            -1008,
            format!(
                "The order book of this symbol is not right now ({reason}): ask again in a second."
            ),
        )
    }
}

/// There is no quote of a symbol, or of any.
pub(super) fn no_quote() -> Failure {
    Failure::not_here(
        "There is no quote of the order book here: let marketdata follow quotes (--channels ticker,quote), or ask /api/v3/ticker/price for the newest price.",
    )
}

/// There is a quote, and the market may be elsewhere.
pub(super) fn old_quote() -> Failure {
    Failure {
        status: StatusCode::SERVICE_UNAVAILABLE,
        retry_after_s: Some(1),
        ..Failure::bad(
            -1008,
            "The newest quote of this symbol is old, and its feed is not live: ask again in a second.",
        )
    }
}

/// No trades of a symbol are stored.
pub(super) fn no_trades(symbol: &str) -> Failure {
    Failure::not_here(format!(
        "No trades of {symbol} are stored: ask /api/v3/klines, or let history keep trades."
    ))
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Missing => Self {
                status: StatusCode::UNAUTHORIZED,
                ..Self::bad(
                    -1002,
                    "You are not authorized to execute this request: give your token as API key, in the header Authorization: Bearer ..., or as ?token=... in the URL.",
                )
            },
            Refusal::Token(error @ TokenError::TooManyFailures) => Self {
                status: StatusCode::TOO_MANY_REQUESTS,
                retry_after_s: Some(10),
                ..Self::bad(-1003, format!("Too many requests: {error}."))
            },
            Refusal::Token(error) => Self {
                status: StatusCode::UNAUTHORIZED,
                ..Self::bad(
                    -2015,
                    format!("Invalid API-key, IP, or permissions for action: {error}."),
                )
            },
        }
    }
}

/// The client's token does not permit it.
pub(super) fn forbidden(error: &ApiError) -> Failure {
    Failure {
        status: StatusCode::FORBIDDEN,
        ..Failure::bad(
            -2015,
            format!("Invalid API-key, IP, or permissions for action: {error}."),
        )
    }
}

impl From<RangeError> for Failure {
    fn from(error: RangeError) -> Self {
        match error {
            RangeError::Unknown { .. } | RangeError::Ambiguous { .. } => invalid_symbol(),
            RangeError::NoSource { .. } | RangeError::TooWide { .. } => {
                Self::bad(-1120, format!("Invalid interval: {error}."))
            }
            RangeError::Cursor(error) => internal(&error),
            RangeError::Store(error) => internal(&error),
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        internal(&error)
    }
}

/// The program cannot answer now. The log has the reason.
pub(super) fn internal(error: &dyn std::error::Error) -> Failure {
    error!(%error, "history cannot be read");
    Failure {
        status: StatusCode::SERVICE_UNAVAILABLE,
        ..Failure::bad(
            -1001,
            "Internal error; unable to process your request. Please try again.",
        )
    }
}
