//! Binance's REST market data below `/binance/api/v3`, for clients that were written for Binance.
//!
//! `listing` names the symbols, `query` reads the parameters, `failure` has the errors with
//! Binance's codes, and `weight` the costs of requests. `rows` reads bars up to now, `span` makes a ticker of them, and `quotes` has the best bids and asks. `klines`,
//! `trades`, `ticker`, `windows`, `depth` and `symbol_info` answer.
//! Source: Binance spot API, market data endpoints.

mod day_tickers;
mod depth;
mod failure;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzz;
mod klines;
mod listing;
mod query;
mod quotes;
mod rows;
mod span;
mod symbol_info;
mod ticker;
mod trades;
mod weight;
mod windows;

use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use metrics::{counter, histogram};
use serde_json::json;
use service::wall_clock_ms;

use super::state::Api;
use failure::{Answer, Failure};
use listing::Market;
use query::Parameters;

/// The path before Binance's own.
const PREFIX: &str = "/binance";

/// The routes below `/binance/api/v3`, and the few others that clients ask for.
pub(super) fn router(api: Api) -> Router {
    let mut router = Router::new();
    for (path, _) in weight::WEIGHTS {
        router = router.route(&format!("{PREFIX}{path}"), get(respond));
    }
    router
        .route(&format!("{PREFIX}/api/{{*path}}"), get(unknown_path))
        .with_state(Market::new(api))
}

/// Counts, limits and answers a request.
async fn respond(State(market): State<Market>, request: Request) -> Response {
    let began = Instant::now();
    let route = request.uri().path().to_owned();
    let path = route.strip_prefix(PREFIX).unwrap_or_default();
    let parameters = Parameters::read(request.uri());
    let is_readable = parameters.is_some();
    let parameters = parameters.unwrap_or_default();
    let weight = weight::of(path, parameters.get("symbol").is_some(), parameters.names());
    let used = match market.api.client(&request) {
        Some(client) => market.weights.take(client, weight, began),
        None => Ok(weight),
    };
    let (answer, used) = match used {
        Ok(used) if is_readable => match market.of_client(path, &request) {
            Ok(market) => (answer(&market, path, &parameters).await, used),
            Err(refusal) => (Err(refusal.into()), used),
        },
        Ok(used) => (Err(failure::unreadable_query()), used),
        Err(failure) => {
            counter!("history_requests_limited_total").increment(1);
            (Err(failure), market.weights.limit())
        }
    };
    let mut response = answer.map_or_else(Failure::into_response, ok);
    let headers = response.headers_mut();
    headers.insert(weight::USED, HeaderValue::from(used));
    headers.insert(weight::USED_MINUTE, HeaderValue::from(used));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Pages of any site may read answers; browsers keep answers to requests with cookies from them.
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    let status = response.status().as_str().to_owned();
    counter!("history_requests_total", "route" => route.clone(), "status" => status).increment(1);
    histogram!("history_request_seconds", "route" => route).record(began.elapsed().as_secs_f64());
    response
}

async fn answer(market: &Market, path: &str, parameters: &Parameters) -> Answer {
    match path {
        "/api/v3/ping" => Ok("{}".to_owned()),
        "/api/v3/time" => Ok(json!({ "serverTime": wall_clock_ms() }).to_string()),
        "/api/v3/exchangeInfo" => symbol_info::exchange_info(market, parameters),
        "/api/v3/klines" | "/api/v3/uiKlines" => klines::klines(market, parameters).await,
        "/api/v3/trades" => trades::newest(market, parameters).await,
        "/api/v3/historicalTrades" => trades::historical(market, parameters).await,
        "/api/v3/aggTrades" => trades::aggregates(market, parameters).await,
        "/api/v3/avgPrice" => ticker::average(market, parameters).await,
        "/api/v3/ticker/price" => ticker::prices(market, parameters).await,
        "/api/v3/ticker/24hr" => ticker::days(market, parameters).await,
        "/api/v3/ticker" => windows::rolling(market, parameters).await,
        "/api/v3/ticker/tradingDay" => windows::trading_day(market, parameters).await,
        "/api/v3/ticker/bookTicker" => ticker::book_tickers(market, parameters).await,
        "/api/v3/depth" => depth::depth(market, parameters).await,
        "/sapi/v1/asset/tradeFee" => Ok(symbol_info::trade_fees(market)),
        _ => Err(failure::unknown_path()),
    }
}

async fn unknown_path() -> Failure {
    failure::unknown_path()
}

fn ok(json: String) -> Response {
    let content_type = HeaderValue::from_static("application/json;charset=UTF-8");
    (
        StatusCode::OK,
        [(CONTENT_TYPE, content_type)],
        Body::from(json),
    )
        .into_response()
}
