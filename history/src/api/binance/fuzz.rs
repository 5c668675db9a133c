//! The readers of requests without a server, for fuzzers (`loadtest/fuzz`).

use axum::response::IntoResponse;
use market_core::{UnixMillis, Width};

use super::failure::Failure;
use super::klines;
use super::query::Parameters;
use super::rows::Wanted;

/// A request for klines, as it was read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Klines {
    /// How wide.
    pub width: Width,
    /// The first start.
    pub from_ms: Option<UnixMillis>,
    /// The first start after the range.
    pub to_ms: Option<UnixMillis>,
    /// Most bars.
    pub limit: usize,
}

/// A refusal: its status and Binance's code.
#[derive(Clone, Debug)]
pub struct Refused {
    /// The HTTP status.
    pub status: u16,
    /// As it is sent.
    pub body: String,
}

impl Refused {
    fn of(failure: Failure) -> Self {
        let body = failure.body().to_string();
        let status = failure.into_response().status().as_u16();
        Self { status, body }
    }
}

/// Reads the query of `/binance/api/v3/klines`; `None` if no URL has it.
///
/// # Errors
/// [`Refused`].
pub fn klines(query: &str) -> Option<Result<Klines, Refused>> {
    let uri = format!("/binance/api/v3/klines?{query}").parse().ok()?;
    let Some(parameters) = Parameters::read(&uri) else {
        return Some(Err(Refused::of(super::failure::unreadable_query())));
    };
    let read = klines::wanted(&parameters).map_err(Refused::of);
    Some(read.map(
        |Wanted {
             width,
             from_ms,
             to_ms,
             limit,
         }| Klines {
            width,
            from_ms,
            to_ms,
            limit,
        },
    ))
}
