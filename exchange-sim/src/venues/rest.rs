//! Which venue answers a REST request, and what is common to the venues' answers.

use std::sync::atomic::Ordering;

use super::request::{Reply, Request};
use super::{binance, coinbase, okx};
use crate::exchange::{Exchange, Limit};
use crate::instrument::Venue;

/// The venue of a REST path, if it belongs to one.
pub(crate) fn venue_of(path: &str) -> Option<Venue> {
    if path.starts_with("/api/v5/") {
        return Some(Venue::Okx);
    }
    // Advanced Trade belongs to Coinbase: its clients get Coinbase's error format.
    if path.starts_with("/api/v3/brokerage/") {
        return Some(Venue::Coinbase);
    }
    for prefix in ["/api/v3/", "/sapi/", "/fapi/", "/dapi/", "/eapi/"] {
        if path.starts_with(prefix) {
            return Some(Venue::Binance);
        }
    }
    let first = path
        .trim_start_matches('/')
        .split('/')
        .next()
        .unwrap_or_default();
    matches!(first, "products" | "currencies" | "time").then_some(Venue::Coinbase)
}

/// Answers a request to a venue, within the venue's limits.
pub(crate) fn respond(exchange: &Exchange, venue: Venue, request: &Request) -> Reply {
    exchange
        .counts(venue)
        .requests
        .fetch_add(1, Ordering::Relaxed);
    let weight = match venue {
        Venue::Binance => binance::rest::weight(request),
        Venue::Coinbase | Venue::Okx => 1,
    };
    match exchange.admit(venue, request.peer, Limit::Rest, weight, request.now_ms()) {
        Err(wait_ms) => failure(venue, 429, Some(wait_ms.div_euclid(1000) as u64 + 1)),
        Ok(used) => match venue {
            Venue::Binance => binance::rest::respond(exchange, request)
                .header("x-mbx-used-weight", used.to_string())
                .header("x-mbx-used-weight-1m", used.to_string()),
            Venue::Coinbase => coinbase::rest::respond(exchange, request),
            Venue::Okx => okx::rest::respond(exchange, request),
        },
    }
}

/// A venue's format of a failure: too many requests, a ban, a refusal, or its own fault.
pub(crate) fn failure(venue: Venue, status: u16, retry_after_s: Option<u64>) -> Reply {
    let body = match (venue, status) {
        (Venue::Binance, 429) => {
            r#"{"code":-1003,"msg":"Too many requests; current limit is 6000 request weight per 1 MINUTE. Please use WebSocket Streams for live updates to avoid polling the API."}"#
        }
        (Venue::Binance, 418) => {
            r#"{"code":-1003,"msg":"Way too much request weight used; IP banned. Please use WebSocket Streams for live updates to avoid bans."}"#
        }
        (Venue::Binance, 403) => {
            r#"{"code":-1015,"msg":"Forbidden: the web application firewall has refused the request."}"#
        }
        (Venue::Binance, 451) => {
            r#"{"code":0,"msg":"Service unavailable from a restricted location according to 'b. Eligibility' in https://www.binance.com/en/terms. Please contact customer service if you believe you received this message in error."}"#
        }
        (Venue::Binance, _) => {
            r#"{"code":-1001,"msg":"Internal error; unable to process your request. Please try again."}"#
        }
        (Venue::Coinbase, 429) => r#"{"message":"Public rate limit exceeded"}"#,
        (Venue::Coinbase, 403) => r#"{"message":"Forbidden"}"#,
        (Venue::Coinbase, 451) => r#"{"message":"Unavailable For Legal Reasons"}"#,
        (Venue::Coinbase, _) => r#"{"message":"Internal server error"}"#,
        (Venue::Okx, 429) => r#"{"code":"50011","msg":"Too Many Requests","data":[]}"#,
        (Venue::Okx, 403 | 451) => {
            r#"{"code":"50124","msg":"This service is not available in your region.","data":[]}"#
        }
        (Venue::Okx, _) => r#"{"code":"50026","msg":"System error. Try again later.","data":[]}"#,
    };
    let reply = Reply::status(status, body);
    match retry_after_s {
        Some(seconds) => reply.header("retry-after", seconds.to_string()),
        None => reply,
    }
}
