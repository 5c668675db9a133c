//! REST requests and replies, and the parts that are common to the venues.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::Ordering;

use crate::exchange::{Exchange, Limit};
use crate::instrument::Venue;
use crate::venues::{binance, coinbase, okx};

/// A GET request to a venue.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// Its path.
    pub(crate) path: String,
    /// Its query; if a key is repeated, the last value counts.
    pub(crate) query: HashMap<String, String>,
    /// Whether the client asked for times in microseconds (Binance).
    pub(crate) micros: bool,
    /// Who asks.
    pub(crate) peer: IpAddr,
    /// When, microseconds since the epoch.
    pub(crate) now_us: i64,
}

impl Request {
    /// When, milliseconds since the epoch.
    pub(crate) fn now_ms(&self) -> i64 {
        self.now_us.div_euclid(1000)
    }

    /// A value of the query.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.query
            .get(key)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    /// A number of the query: `Err` with the key if it is there but not a number.
    pub(crate) fn number(&self, key: &'static str) -> Result<Option<i64>, &'static str> {
        self.get(key)
            .map(|value| value.parse().map_err(|_| key))
            .transpose()
    }
}

/// The answer to a request. The body is JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    /// HTTP status.
    pub(crate) status: u16,
    /// Headers except the content type.
    pub(crate) headers: Vec<(&'static str, String)>,
    /// JSON.
    pub(crate) body: String,
}

impl Reply {
    /// 200 with this JSON.
    pub(crate) fn ok(body: impl Into<String>) -> Reply {
        Reply::status(200, body)
    }

    /// This status with this JSON.
    pub(crate) fn status(status: u16, body: impl Into<String>) -> Reply {
        Reply {
            status,
            headers: Vec::new(),
            body: body.into(),
        }
    }

    /// 200 with a JSON array of rows.
    pub(crate) fn rows(rows: &[String]) -> Reply {
        Reply::ok(format!("[{}]", rows.join(",")))
    }

    /// With one more header.
    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Reply {
        self.headers.push((name, value.into()));
        self
    }
}

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
