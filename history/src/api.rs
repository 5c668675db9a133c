//! History over HTTP and over the bus.
//!
//! - `rest`: `/api/v1/…`; `udf`: `/udf/…` for TradingView; `binance`: `/binance/api/v3/…` for
//!   clients of Binance; `bus`: `history.query`;
//! - `params` reads what is asked, `format` and `body` write the answer, `error` says what was wrong.

pub(crate) mod access;
pub(crate) mod arrow;
pub(crate) mod binance;
mod body;
pub(crate) mod bus;
mod cursor;
mod error;
pub(crate) mod format;
mod params;
mod refusal;
mod rest;
mod state;
mod tick;
pub(crate) mod time;
mod udf;

use std::net::IpAddr;
use std::time::Instant;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, CACHE_CONTROL,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use metrics::{counter, histogram};

use crate::History;

use access::Access;
use error::ApiError;
use state::Api;

/// The description of the API, which needs no token.
const OPENAPI: &str = "/api/v1/openapi.json";

/// The routes: `/api/v1/…`, `/udf/…` and `/binance/…`. A server gives them
/// [`ConnectInfo`](axum::extract::ConnectInfo), or addresses have no limits.
pub fn router(history: History) -> Router {
    let api = Api::new(history);
    Router::new()
        .route("/api/v1/status", get(status))
        .route("/api/v1/bars", get(rest::bars))
        .route("/api/v1/trades", get(rest::trades))
        .route("/api/v1/symbols", get(rest::symbols))
        .route("/api/v1/tick/{exchange}/{symbol}", get(tick::tick))
        .route("/api/v1/completeness", get(rest::completeness))
        .route(OPENAPI, get(openapi))
        .route("/api/{*rest}", get(unknown_route))
        .route("/udf/config", get(udf::config))
        .route("/udf/symbols", get(udf::symbols))
        .route("/udf/symbol_info", get(udf::unknown))
        .route("/udf/search", get(udf::search))
        .route("/udf/history", get(udf::history))
        .route("/udf/time", get(udf::time))
        .route("/udf/quotes", get(udf::quotes::quotes))
        .route("/udf/marks", get(udf::marks))
        .route("/udf/timescale_marks", get(udf::marks))
        .route("/udf/{*rest}", get(udf::unknown))
        .route_layer(from_fn_with_state(api.clone(), admit))
        .with_state(api.clone())
        .merge(binance::router(api))
}

/// Counts and limits requests, and lets pages of any site read the answers.
async fn admit(State(api): State<Api>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let route = request.extensions().get::<MatchedPath>();
    let route = route.map_or_else(|| "unknown".to_owned(), |path| path.as_str().to_owned());
    let client = api.client(&request);
    let mut response = if request.method() == Method::OPTIONS {
        StatusCode::NO_CONTENT.into_response()
    } else if client.is_some_and(|client| !api.admits(client, began)) {
        counter!("history_requests_limited_total").increment(1);
        ApiError::too_many().into_response()
    } else {
        answer(&api, client, request, next).await
    };
    let status = response.status();
    let headers = response.headers_mut();
    // Pages of any site may read answers; browsers keep answers to requests with cookies from them.
    let of_all = HeaderValue::from_static("*");
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, of_all);
    headers.insert(
        ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static(
            "etag, klinecast-degraded, klinecast-source, link, retry-after, www-authenticate",
        ),
    );
    if status == StatusCode::NO_CONTENT {
        headers.insert(
            ACCESS_CONTROL_ALLOW_METHODS,
            HeaderValue::from_static("GET, HEAD, OPTIONS"),
        );
        // `*` does not stand for Authorization.
        let allowed = HeaderValue::from_static("authorization, *");
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, allowed);
        headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
    }
    let status = status.as_str().to_owned();
    counter!("history_requests_total", "route" => route.clone(), "status" => status).increment(1);
    histogram!("history_request_seconds", "route" => route).record(began.elapsed().as_secs_f64());
    response
}

/// Answers a client that may read something.
async fn answer(api: &Api, client: Option<IpAddr>, mut request: Request, next: Next) -> Response {
    let path = request.uri().path();
    if path == OPENAPI {
        return next.run(request).await;
    }
    let auth = api.history.auth.as_deref();
    let access = Access::of_request(auth, request.headers(), request.uri(), client);
    match access {
        Ok(access) => {
            request.extensions_mut().insert(access);
            let mut response = next.run(request).await;
            if auth.is_some() {
                access::keep_private(response.headers_mut());
            }
            response
        }
        Err(refusal) if path.starts_with("/udf/") => udf::UdfError::from(refusal).into_response(),
        Err(refusal) => ApiError::from(refusal).into_response(),
    }
}

async fn status(State(api): State<Api>) -> impl IntoResponse {
    (
        [(CACHE_CONTROL, "no-store")],
        axum::Json(api.history.status()),
    )
}

async fn openapi(headers: HeaderMap) -> Response {
    let document = include_bytes!("api/openapi.json");
    body::Answer::json(document.to_vec()).respond(&headers)
}

async fn unknown_route(uri: Uri) -> ApiError {
    let message = if uri.path().starts_with("/api/v3/") {
        "Binance's requests are below /binance: write /binance/api/v3/klines"
    } else {
        "there is no such route: /api/v1/openapi.json lists what there is"
    };
    ApiError::not_found("unknown_route", message)
}
