//! Who may ask.

use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::http::header::{HOST, ORIGIN};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::error::ApiError;
use super::state::Api;

/// A proxy's word about the client that it speaks for.
const FORWARDED_FOR: &str = "x-forwarded-for";

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
    let is_direct = !headers.contains_key(ORIGIN) && !headers.contains_key(FORWARDED_FOR);
    match is_direct && host.is_none_or(is_loopback_name) {
        true => Ok(()),
        false => Err(ApiError::forbidden(OTHER_SITE)),
    }
}

/// Whether a host, with or without a port, names this one.
fn is_loopback_name(host: &str) -> bool {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !name.is_empty() && !port.contains(']') => (name, Some(port)),
        _ => (host, None),
    };
    let is_port = port.is_none_or(|port| port.parse::<u16>().is_ok());
    is_port && matches!(name, "localhost" | "127.0.0.1" | "[::1]")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_host_are_local() {
        for host in [
            "localhost",
            "localhost:8092",
            "127.0.0.1:1",
            "[::1]",
            "[::1]:80",
        ] {
            assert!(is_loopback_name(host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "localhost.evil.example:80",
            "127.0.0.1.evil",
            "localhost:x",
            "[::2]",
        ] {
            assert!(!is_loopback_name(host), "{host}");
        }
    }
}
