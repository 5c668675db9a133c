//! One venue's REST interface, within its limits.

use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use reqwest::StatusCode;
use reqwest::header::RETRY_AFTER;
use tracing::warn;

use crate::budget::WindowBudget;
use crate::exchange::{Limits, RestRequest};
use crate::host_clock::now_ms;

/// How long a venue that says "too many" without saying for how long is left alone, ms.
const PAUSE_DEFAULT_MS: i64 = 5_000;
/// Longest answer that is read, bytes.
const BODY_BYTES_MAX: usize = 16 << 20;

/// A client that never asks for more than the venue allows, and pauses when told to.
#[derive(Debug)]
pub struct RestClient {
    exchange: &'static str,
    http: reqwest::Client,
    base: String,
    pace: Mutex<Pace>,
}

#[derive(Debug)]
struct Pace {
    budget: WindowBudget,
    paused_until_ms: i64,
}

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum RestError {
    /// The venue wants fewer requests (429, 418): the client pauses by itself.
    #[error("the venue asks for fewer requests")]
    RateLimited,
    /// The venue will not answer this request, now or later.
    #[error("refused with status {status}: {body}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// The beginning of what it said.
        body: String,
    },
    /// It may work later.
    #[error("failed: {0}")]
    Unavailable(String),
}

impl RestError {
    /// Whether the same request may succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        !matches!(self, Self::Refused { .. })
    }
}

impl RestClient {
    /// A client of the interface at `base`.
    ///
    /// # Panics
    /// If the TLS library cannot be initialised, which only a broken build does.
    #[must_use]
    pub fn new(exchange: &'static str, base: String, limits: &Limits, timeout: Duration) -> Self {
        let http = reqwest::Client::builder()
            .timeout(timeout)
            .user_agent(concat!("klinecast/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .expect("the TLS provider is built in");
        Self {
            exchange,
            http,
            base,
            pace: Mutex::new(Pace {
                budget: WindowBudget::new(limits.rest_weight_max, limits.rest_window_ms),
                paused_until_ms: 0,
            }),
        }
    }

    /// Waits for its turn and asks.
    ///
    /// # Errors
    /// See [`RestError`].
    pub async fn get(&self, request: &RestRequest) -> Result<Bytes, RestError> {
        loop {
            let wait_ms = {
                let mut pace = self.pace();
                let now = now_ms();
                if pace.paused_until_ms > now {
                    pace.paused_until_ms - now
                } else {
                    match pace.budget.take(now, request.weight) {
                        Ok(()) => break,
                        Err(wait_ms) => wait_ms,
                    }
                }
            };
            tokio::time::sleep(millis(wait_ms)).await;
        }
        let url = format!("{}{}", self.base, request.path_and_query);
        let unavailable = |error: reqwest::Error| RestError::Unavailable(error.to_string());
        let response = self.http.get(url).send().await.map_err(unavailable)?;
        let status = response.status();
        metrics::counter!("marketdata_rest_requests_total", "exchange" => self.exchange, "status" => status.as_u16().to_string())
            .increment(1);
        if status == StatusCode::TOO_MANY_REQUESTS || status == StatusCode::IM_A_TEAPOT {
            let told = response
                .headers()
                .get(RETRY_AFTER)
                .and_then(|value| value.to_str().ok()?.trim().parse::<i64>().ok());
            let pause_ms = told.map_or(PAUSE_DEFAULT_MS, |seconds| {
                seconds.clamp(0, 3 * 86_400) * 1_000
            });
            self.pause(pause_ms);
            warn!(
                exchange = self.exchange,
                status = status.as_u16(),
                pause_ms,
                "the venue asks for fewer requests, pausing"
            );
            return Err(RestError::RateLimited);
        }
        if response
            .content_length()
            .is_some_and(|bytes| bytes > BODY_BYTES_MAX as u64)
        {
            return Err(RestError::Unavailable("answer too long".to_owned()));
        }
        let body = response.bytes().await.map_err(unavailable)?;
        if status.is_success() {
            return Ok(body);
        }
        let excerpt: String = String::from_utf8_lossy(&body).chars().take(200).collect();
        if status.is_server_error() || status == StatusCode::REQUEST_TIMEOUT {
            return Err(RestError::Unavailable(format!(
                "status {status}: {excerpt}"
            )));
        }
        Err(RestError::Refused {
            status: status.as_u16(),
            body: excerpt,
        })
    }

    /// Asks nothing for so long.
    fn pause(&self, pause_ms: i64) {
        let mut pace = self.pace();
        pace.paused_until_ms = pace.paused_until_ms.max(now_ms() + pause_ms);
    }

    fn pace(&self) -> std::sync::MutexGuard<'_, Pace> {
        self.pace
            .lock()
            .expect("no code panics while it holds the pace")
    }
}

fn millis(ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}
