//! The HTTP API and its page.
//!
//! - `state` is what the routes share;
//! - `admit` says who may ask, and how often; `error` says what was wrong;
//! - `status`, `streams`, `publish`, `messages` and `routing` answer;
//! - `page` is a page for people.

mod admit;
mod body;
mod error;
mod messages;
mod page;
mod publish;
mod routing;
pub(crate) mod state;
mod status;
mod streams;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::header::CONTENT_TYPE;
use axum::middleware::from_fn_with_state;
use axum::response::IntoResponse;
use axum::routing::{delete, get, post, put};

use error::ApiError;
use state::Api;

/// All routes. A server gives them [`axum::extract::ConnectInfo`].
pub(crate) fn router(api: Api) -> Router {
    let body_bytes_max = api.config.api.body_bytes_max;
    Router::new()
        .route("/", get(page::page))
        .route("/page.js", get(page::script))
        .route("/page.css", get(page::style))
        .route("/health", get(status::health))
        .route("/api/v1/status", get(status::status))
        .route("/api/v1/nats/info", get(status::nats_info))
        .route("/api/v1/nats/restart", post(status::restart))
        .route("/api/v1/publish", post(publish::publish))
        .route("/api/v1/streams", get(streams::list))
        .route("/api/v1/streams", post(streams::create))
        .route("/api/v1/streams/{name}", get(streams::one))
        .route("/api/v1/streams/{name}", put(streams::update))
        .route("/api/v1/streams/{name}", delete(streams::delete))
        .route("/api/v1/streams/{name}/purge", post(streams::purge))
        .route(
            "/api/v1/streams/{name}/consumers",
            get(streams::consumers_of),
        )
        .route("/api/v1/streams/{name}/messages", get(messages::messages))
        .route("/api/v1/consumers", get(streams::consumers))
        .route("/api/v1/plan", get(streams::plan))
        .route("/api/v1/plan", post(streams::apply))
        .route("/api/v1/routing", get(routing::routing))
        .route("/api/v1/openapi.json", get(openapi))
        .fallback(unknown_route)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(body_bytes_max))
        .layer(from_fn_with_state(api.clone(), admit::admit))
        .with_state(api)
}

async fn openapi() -> impl IntoResponse {
    (
        [(CONTENT_TYPE, "application/json")],
        include_str!("http/openapi.json"),
    )
}

async fn unknown_route() -> ApiError {
    ApiError::not_found(
        "unknown_route",
        "there is no such route: /api/v1/openapi.json lists what there is",
    )
}

async fn wrong_method() -> ApiError {
    ApiError::wrong_method()
}
