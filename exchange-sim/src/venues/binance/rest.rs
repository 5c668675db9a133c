//! Binance's REST market data under `/api/v3`, and the few others that clients ask for.

use serde_json::json;

use super::query::time;
use super::{history, symbol_info, ticker};
use crate::exchange::Exchange;
use crate::venues::request::{Reply, Request};

/// The cost of a request, of the 6,000 a minute.
pub(crate) fn weight(request: &Request) -> u64 {
    match request.path.as_str() {
        "/api/v3/exchangeInfo" => 20,
        "/api/v3/historicalTrades" | "/api/v3/trades" => 25,
        "/api/v3/aggTrades" => 4,
        "/api/v3/klines" | "/api/v3/uiKlines" | "/api/v3/avgPrice" => 2,
        "/api/v3/depth" => 5,
        "/api/v3/ticker/24hr" => {
            if request.get("symbol").is_some() {
                2
            } else {
                80
            }
        }
        "/api/v3/ticker/price" | "/api/v3/ticker/bookTicker" => {
            if request.get("symbol").is_some() {
                2
            } else {
                4
            }
        }
        "/api/v3/ticker" | "/api/v3/ticker/tradingDay" => {
            let symbols = request
                .get("symbols")
                .map_or(1, |symbols| symbols.split(',').count() as u64);
            (4 * symbols).min(200)
        }
        "/api/v3/executionRules" => {
            if request.get("symbol").is_some() {
                2
            } else {
                40
            }
        }
        _ => 1,
    }
}

/// Answers a request.
pub(crate) fn respond(exchange: &Exchange, request: &Request) -> Reply {
    let answer = match request.path.as_str() {
        "/api/v3/ping" | "/fapi/v1/ping" | "/dapi/v1/ping" => Ok(Reply::ok("{}")),
        "/api/v3/time" => Ok(Reply::ok(format!(r#"{{"serverTime":{}}}"#, time(request)))),
        "/api/v3/exchangeInfo" => symbol_info::exchange_info(exchange, request),
        "/api/v3/klines" | "/api/v3/uiKlines" => history::klines(exchange, request),
        "/api/v3/trades" => history::trades(exchange, request, false),
        "/api/v3/historicalTrades" => history::trades(exchange, request, true),
        "/api/v3/aggTrades" => history::aggregates(exchange, request),
        "/api/v3/depth" => history::depth(exchange, request),
        "/api/v3/avgPrice" => history::average(exchange, request),
        "/api/v3/ticker/bookTicker" => ticker::rows(exchange, request, ticker::book),
        "/api/v3/ticker/price" => ticker::rows(exchange, request, ticker::price),
        "/api/v3/ticker/24hr" => ticker::rows(exchange, request, ticker::day),
        "/api/v3/ticker/tradingDay" => ticker::trading_day(exchange, request),
        "/api/v3/ticker" => ticker::window(exchange, request),
        "/api/v3/executionRules" => symbol_info::execution_rules(exchange, request),
        "/sapi/v1/asset/tradeFee" => Ok(symbol_info::trade_fees(exchange)),
        "/fapi/v1/exchangeInfo" | "/dapi/v1/exchangeInfo" | "/eapi/v1/exchangeInfo" => Ok(Reply::ok(
            json!({"timezone": "UTC", "serverTime": request.now_ms(), "rateLimits": [], "exchangeFilters": [], "assets": [],
                   "symbols": [], "optionSymbols": []})
            .to_string(),
        )),
        _ => Err(Reply::status(404, r#"{"code":-1000,"msg":"no such path in this simulator"}"#)),
    };
    answer.unwrap_or_else(|failure| failure)
}
