//! A REST request to a venue, and its reply.

use std::collections::HashMap;
use std::net::IpAddr;

/// A GET request to a venue.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// Its path.
    pub(crate) path: String,
    /// Its query; if a key is repeated, the last value counts.
    pub(crate) query: HashMap<String, String>,
    /// Whether the client asked for times in microseconds (Binance).
    pub(crate) micros: bool,
    /// The address of the client.
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
