//! History over HTTP.

use axum::extract::State;
use axum::http::header::CACHE_CONTROL;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};

use crate::History;

/// The routes: `/api/v1/…`.
pub fn router(history: History) -> Router {
    Router::new()
        .route("/api/v1/status", get(status))
        .with_state(history)
}

async fn status(State(history): State<History>) -> impl IntoResponse {
    ([(CACHE_CONTROL, "no-store")], Json(history.status()))
}
