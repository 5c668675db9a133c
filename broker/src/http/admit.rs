//! The permission of a request, and the rate of an address.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{ConnectInfo, MatchedPath, Request, State};
use axum::http::header::{HOST, ORIGIN};
use axum::http::{HeaderMap, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use metrics::{counter, histogram};
use service::{is_forwarded, is_loopback_name};
use tokio::time::{Instant, timeout};
use tracing::warn;

use super::error::ApiError;
use super::state::Api;
use crate::tokens::Role;

/// What a request may do, for handlers that ask.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Permitted(pub(crate) Role);

const NO_TOKENS: &str = "writing needs a token: start the broker with --tokens-file, or let it listen on a loopback address and ask from this host";
const OTHER_SITE: &str = "without tokens, only programs of this host may ask, under its own name (localhost, 127.0.0.1): a web page of another site may not";
const TOKEN_NEEDED: &str =
    "this needs a token of the file of --tokens-file: send the header Authorization: Bearer TOKEN";

/// Counts, limits and permits requests.
pub(crate) async fn admit(State(api): State<Api>, mut request: Request, next: Next) -> Response {
    let began = Instant::now();
    let route = request.extensions().get::<MatchedPath>();
    let route = route.map_or_else(|| "unknown".to_owned(), |path| path.as_str().to_owned());
    let response = match judge(&api, &request) {
        Err(error) => error.into_response(),
        Ok(role) => match api.places.clone().try_acquire_owned() {
            Err(_) => ApiError::busy().into_response(),
            Ok(_place) => {
                request.extensions_mut().insert(Permitted(role));
                match timeout(api.deadline, next.run(request)).await {
                    Ok(response) => response,
                    Err(_) => ApiError::too_slow().into_response(),
                }
            }
        },
    };
    let status = response.status().as_str().to_owned();
    counter!("broker_http_requests_total", "route" => route.clone(), "status" => status)
        .increment(1);
    histogram!("broker_http_request_seconds", "route" => route)
        .record(began.elapsed().as_secs_f64());
    response
}

fn judge(api: &Api, request: &Request) -> Result<Role, ApiError> {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let peer = peer.map(|peer| peer.0.ip().to_canonical());
    if peer.is_some_and(|peer| !api.addresses.take(peer, std::time::Instant::now())) {
        return Err(ApiError::too_many());
    }
    let path = request.uri().path();
    let needed = needed(request.method(), path);
    let Some(tokens) = &api.tokens else {
        return without_tokens(api, request.headers(), peer, needed);
    };
    let is_open =
        path == "/health" || !path.starts_with("/api/") || !api.config.api.reads_need_token;
    if needed == Role::Read && is_open {
        return Ok(tokens.role(request.headers()).unwrap_or(Role::Read));
    }
    match tokens.role(request.headers()) {
        Some(role) if role >= needed => Ok(role),
        Some(role) => {
            warn!(role = role.as_str(), path, "a token permits too little");
            Err(ApiError::forbidden(
                "wrong_role",
                format!(
                    "this needs a token of role {}, and yours has {}",
                    needed.as_str(),
                    role.as_str()
                ),
            ))
        }
        None => Err(ApiError::token_needed(TOKEN_NEEDED)),
    }
}

fn needed(method: &Method, path: &str) -> Role {
    match *method {
        Method::GET | Method::HEAD => Role::Read,
        Method::POST if path == "/api/v1/publish" => Role::Publish,
        _ => Role::Admin,
    }
}

/// Without tokens, everybody who can run a program on this host may do everything. A web page in a browser
/// of this host is no such program.
fn without_tokens(
    api: &Api,
    headers: &HeaderMap,
    peer: Option<IpAddr>,
    needed: Role,
) -> Result<Role, ApiError> {
    let is_local = api.listens.ip().is_loopback()
        && peer.is_none_or(|peer| peer.is_loopback())
        && !is_forwarded(headers);
    if !is_local {
        return match needed {
            Role::Read => Ok(Role::Read),
            _ => Err(ApiError::forbidden("tokens_needed", NO_TOKENS)),
        };
    }
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    // HTTP/1.0 has no host. A browser always says one.
    let Some(host) = host else {
        return Ok(Role::Admin);
    };
    let is_ours = is_loopback_name(host);
    let origin = headers
        .get(ORIGIN)
        .map(|origin| origin.to_str().unwrap_or("null"));
    let same_origin = origin.is_none_or(|origin| origin == format!("http://{host}"));
    match is_ours && same_origin {
        true => Ok(Role::Admin),
        false => Err(ApiError::forbidden("other_site", OTHER_SITE)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_that_changes_something_needs_admin() {
        assert_eq!(needed(&Method::GET, "/api/v1/publish"), Role::Read);
        assert_eq!(needed(&Method::POST, "/api/v1/publish"), Role::Publish);
        for method in [
            Method::POST,
            Method::PUT,
            Method::DELETE,
            Method::PATCH,
            Method::OPTIONS,
        ] {
            assert_eq!(needed(&method, "/api/v1/streams"), Role::Admin);
        }
    }
}
