//! Who may ask.

use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::http::header::{HOST, ORIGIN};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use service::{is_forwarded, is_loopback_name};

use super::error::ApiError;
use super::state::Api;

const OTHER_SITE: &str = "without a token, only programs of this host may ask, under its own name (localhost, 127.0.0.1): a web page of another site may not";

/// Permits and counts requests.
pub(super) async fn admit(State(api): State<Api>, request: Request, next: Next) -> Response {
    let response = match judge(&api, request.headers()) {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    };
    let status = response.status().as_str().to_owned();
    metrics::counter!("alerts_http_requests_total", "status" => status).increment(1);
    response
}

fn judge(api: &Api, headers: &HeaderMap) -> Result<(), ApiError> {
    if let Some(token) = &api.token {
        return match token.is_in(headers) {
            true => Ok(()),
            false => Err(ApiError::token_needed()),
        };
    }
    // A browser says where a page comes from, and under which name it knows this host.
    let host = headers
        .get(HOST)
        .map(|host| host.to_str().unwrap_or_default());
    // A proxy on this host speaks for clients that are elsewhere.
    let is_direct = !headers.contains_key(ORIGIN) && !is_forwarded(headers);
    match is_direct && host.is_none_or(is_loopback_name) {
        true => Ok(()),
        false => Err(ApiError::forbidden(OTHER_SITE)),
    }
}
