//! The public routes beside the WebSocket, and the answers to requests for nothing that is served.

use axum::Router;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use axum::routing::get;

const NOT_FOUND: &str = r#"{"code":"not_found","message":"nothing is served at this path: the WebSocket is at /ws, and for clients of Binance at /binance/ws and /binance/stream"}"#;
const METHOD_NOT_ALLOWED: &str = r#"{"code":"method_not_allowed","message":"this path is served with another method: see the Allow header"}"#;

/// The public routes: `extra_routes`, and the question of a balancer.
pub(crate) fn router(extra_routes: Router) -> Router {
    // A balancer asks before it sends a client: a gateway that stands still does not answer.
    extra_routes
        .route("/alive", get(|| async { StatusCode::NO_CONTENT }))
        .layer(axum::middleware::map_response(explain))
}

/// Adds a body to the router's own answers, which are empty.
async fn explain(response: Response) -> Response {
    if response.headers().contains_key(header::CONTENT_TYPE) {
        return response;
    }
    let body = match response.status() {
        StatusCode::NOT_FOUND => NOT_FOUND,
        StatusCode::METHOD_NOT_ALLOWED => METHOD_NOT_ALLOWED,
        _ => return response,
    };
    let (mut parts, _) = response.into_parts();
    parts.headers.remove(header::CONTENT_LENGTH);
    let json = HeaderValue::from_static("application/json");
    parts.headers.insert(header::CONTENT_TYPE, json);
    Response::from_parts(parts, body.into())
}
