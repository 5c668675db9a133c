//! A page for people. It reads the API like any other client.

use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use axum::response::IntoResponse;

/// Nothing of other sites is loaded, and no other site shows the page in a frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

fn file(kind: &'static str, text: &'static str) -> impl IntoResponse {
    let headers: [(HeaderName, &str); 5] = [
        (CONTENT_TYPE, kind),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (CACHE_CONTROL, "no-cache"),
    ];
    (headers, text)
}

pub(crate) async fn page() -> impl IntoResponse {
    file(
        "text/html; charset=utf-8",
        include_str!("../../page/index.html"),
    )
}

pub(crate) async fn script() -> impl IntoResponse {
    file(
        "text/javascript; charset=utf-8",
        include_str!("../../page/page.js"),
    )
}

pub(crate) async fn style() -> impl IntoResponse {
    file(
        "text/css; charset=utf-8",
        include_str!("../../page/page.css"),
    )
}
