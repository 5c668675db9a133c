//! One venue's REST interface, within its limits.

use std::sync::Mutex;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use reqwest::header::{HeaderMap, RETRY_AFTER};
use tracing::warn;

use crate::budget::WindowBudget;
use crate::exchange::{Exchange, RestFault, RestRequest};
use crate::feed::dial::VenueTls;
use crate::host_clock::now_ms;

/// First pause, ms, after a venue has refused a request without saying for how long.
const PAUSE_BASE_MS: i64 = 5_000;
/// Longest such pause: it doubles with each refusal.
const PAUSE_MAX_MS: i64 = 600_000;
/// Longest pause that a venue may ask for, ms: its longest ban.
const PAUSE_TOLD_MAX_MS: i64 = 3 * 86_400_000;
/// Longest answer that is read, bytes.
const BODY_BYTES_MAX: usize = 16 << 20;

/// A client that never asks for more than the venue allows, and pauses when the venue says so.
#[derive(Debug)]
pub struct RestClient {
    venue: Venue,
    http: reqwest::Client,
    base: String,
    pace: Mutex<Pace>,
}

struct Venue(&'static dyn Exchange);

impl std::fmt::Debug for Venue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.name())
    }
}

#[derive(Debug)]
struct Pace {
    budget: WindowBudget,
    paused_until_ms: i64,
    /// Pauses in a row.
    pauses: u32,
}

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum RestError {
    /// The venue asks for fewer requests (429, 418): the client pauses by itself.
    #[error("the venue asks for fewer requests")]
    RateLimited,
    /// The venue refuses this address (403, 451): the client pauses by itself.
    #[error("the venue refuses this address with status {status}")]
    TurnedAway {
        /// HTTP status.
        status: u16,
    },
    /// The venue does not have the symbol.
    #[error("the venue does not have this symbol")]
    UnknownSymbol,
    /// The venue will not answer this request, now or later.
    #[error("refused with status {status}: {body}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// The beginning of its answer.
        body: String,
    },
    /// It may work later.
    #[error("the request failed: {0}")]
    Unavailable(String),
}

impl RestError {
    /// Whether the same request may succeed soon.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::RateLimited | Self::Unavailable(_))
    }
}

impl RestClient {
    /// A client of the interface at `base`.
    ///
    /// # Panics
    /// If the TLS library cannot be initialised, which only a broken build does.
    #[must_use]
    pub fn new(
        exchange: &'static dyn Exchange,
        base: String,
        timeout: Duration,
        tls: &VenueTls,
    ) -> Self {
        let certificates = tls.rest_certificates().into_iter();
        let http = certificates
            .fold(reqwest::Client::builder(), |builder, certificate| {
                builder.add_root_certificate(certificate)
            })
            .timeout(timeout)
            .user_agent(concat!("klinecast/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .expect("the TLS provider is built in");
        let limits = exchange.limits();
        Self {
            venue: Venue(exchange),
            http,
            base,
            pace: Mutex::new(Pace {
                budget: WindowBudget::new(limits.rest_weight_max, limits.rest_window_ms),
                paused_until_ms: 0,
                pauses: 0,
            }),
        }
    }

    /// Waits for its turn and asks.
    ///
    /// # Errors
    /// See [`RestError`].
    pub async fn get(&self, request: &RestRequest) -> Result<Bytes, RestError> {
        self.get_within(request, 100).await
    }

    /// The same, and leaves a part of the venue's budget to others: it waits until no more than this
    /// percentage of the budget is used.
    ///
    /// # Errors
    /// See [`RestError`].
    pub async fn get_within(
        &self,
        request: &RestRequest,
        percent: u32,
    ) -> Result<Bytes, RestError> {
        let exchange = self.venue.0;
        let pauses = self.turn(request.weight, percent).await;
        let url = format!("{}{}", self.base, request.path_and_query);
        let response = self.http.get(url).send().await.map_err(unavailable)?;
        let status = response.status().as_u16();
        metrics::counter!("marketdata_rest_requests_total", "exchange" => exchange.name(), "status" => status.to_string())
            .increment(1);
        self.note_used(response.headers());
        let told_ms = retry_after_ms(response.headers(), now_ms());
        let body = read(response).await?;
        match exchange.rest_fault(status, &body) {
            None => {
                self.pace().pauses = 0;
                Ok(body)
            }
            Some(RestFault::TooMany) => {
                self.pause(told_ms, pauses, status);
                Err(RestError::RateLimited)
            }
            Some(RestFault::TurnedAway) => {
                self.pause(told_ms, pauses, status);
                Err(RestError::TurnedAway { status })
            }
            Some(RestFault::UnknownSymbol) => Err(RestError::UnknownSymbol),
            Some(RestFault::Unavailable) => Err(RestError::Unavailable(format!(
                "status {status}: {}",
                excerpt(&body)
            ))),
            Some(RestFault::Refused) => Err(RestError::Refused {
                status,
                body: excerpt(&body),
            }),
        }
    }

    /// Waits until this weight may be used. Returns the number of pauses by then.
    async fn turn(&self, weight: u32, percent: u32) -> u32 {
        let budget = u64::from(self.venue.0.limits().rest_weight_max);
        let most = u32::try_from(budget * u64::from(percent) / 100).unwrap_or(u32::MAX);
        loop {
            let wait_ms = {
                let mut pace = self.pace();
                let now = now_ms();
                if pace.paused_until_ms > now {
                    pace.paused_until_ms - now
                } else {
                    match pace.budget.take_below(now, weight, most.max(1)) {
                        Ok(()) => return pace.pauses,
                        Err(wait_ms) => wait_ms,
                    }
                }
            };
            tokio::time::sleep(millis(wait_ms)).await;
        }
    }

    /// Other programs at this address use the venue's budget, too, and so did this program before
    /// its restart.
    fn note_used(&self, headers: &HeaderMap) {
        let Some(name) = self.venue.0.limits().rest_used_header else {
            return;
        };
        let used = headers
            .get(name)
            .and_then(|value| value.to_str().ok()?.trim().parse().ok());
        if let Some(used) = used {
            self.pace().budget.note_used(now_ms(), used);
        }
    }

    /// Makes no requests for a while: as long as the venue says, or twice as long as the last time.
    /// Requests that were on their way at the same time count as one reason: `pauses` is the number
    /// when the request began.
    fn pause(&self, told_ms: Option<i64>, pauses: u32, status: u16) {
        let pause_ms = {
            let mut pace = self.pace();
            let is_new = pace.pauses == pauses;
            if is_new {
                pace.pauses = pace.pauses.saturating_add(1);
            }
            let doublings = pace.pauses.saturating_sub(1).min(16);
            let grown_ms = (PAUSE_BASE_MS << doublings).min(PAUSE_MAX_MS);
            let pause_ms = told_ms.unwrap_or(grown_ms);
            let until_ms = now_ms().saturating_add(pause_ms);
            pace.paused_until_ms = pace.paused_until_ms.max(until_ms);
            pause_ms
        };
        metrics::counter!("marketdata_rest_pauses_total", "exchange" => self.venue.0.name(), "status" => status.to_string())
            .increment(1);
        warn!(
            exchange = self.venue.0.name(),
            status, pause_ms, "the venue refuses requests, pausing: missing trades wait"
        );
    }

    fn pace(&self) -> std::sync::MutexGuard<'_, Pace> {
        self.pace
            .lock()
            .expect("no code panics while it holds the pace")
    }
}

fn unavailable(error: reqwest::Error) -> RestError {
    // Without the address: the log line has the symbol.
    RestError::Unavailable(error.without_url().to_string())
}

/// Reads a body of bounded length, whatever its headers say.
async fn read(mut response: reqwest::Response) -> Result<Bytes, RestError> {
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(unavailable)? {
        if body.len() + chunk.len() > BODY_BYTES_MAX {
            return Err(RestError::Unavailable("answer too long".to_owned()));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

fn excerpt(body: &[u8]) -> String {
    String::from_utf8_lossy(body).chars().take(200).collect()
}

/// How long the venue asks for a pause: in seconds, or until a date.
fn retry_after_ms(headers: &HeaderMap, now: i64) -> Option<i64> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let pause_ms = match text.parse::<i64>() {
        Ok(seconds) => seconds.saturating_mul(1_000),
        Err(_) => unix_ms(httpdate::parse_http_date(text).ok()?)?.saturating_sub(now),
    };
    Some(pause_ms.clamp(0, PAUSE_TOLD_MAX_MS))
}

fn unix_ms(time: SystemTime) -> Option<i64> {
    let since = time.duration_since(UNIX_EPOCH).ok()?;
    i64::try_from(since.as_millis()).ok()
}

fn millis(ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::*;
    use crate::exchange::registry;

    /// A client of a server that gives these answers, one a connection.
    fn client(exchange: &str, answers: Vec<Vec<u8>>) -> RestClient {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let base = format!("http://{}", listener.local_addr().expect("bound"));
        std::thread::spawn(move || {
            for answer in answers {
                let Ok((mut stream, _)) = listener.accept() else {
                    return;
                };
                let _ = stream.read(&mut [0; 4_096]);
                // The client may hang up before it has read everything.
                let _ = stream.write_all(&answer);
            }
        });
        let exchange = registry::find(exchange).expect("registered");
        RestClient::new(
            exchange,
            base,
            Duration::from_secs(30),
            &VenueTls::default(),
        )
    }

    fn answer(status: &str, headers: &str, body: &str) -> Vec<u8> {
        let length = body.len();
        format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}").into_bytes()
    }

    fn request() -> RestRequest {
        RestRequest {
            path_and_query: "/x".to_owned(),
            weight: 1,
        }
    }

    fn paused_ms(client: &RestClient) -> i64 {
        client.pace().paused_until_ms - now_ms()
    }

    #[tokio::test]
    async fn a_venue_that_turns_us_away_is_left_alone_for_ever_longer() {
        for (exchange, status, body) in [
            ("binance", "403 Forbidden", "<html>"),
            ("binance", "451 Unavailable", ""),
            ("coinbase", "418 Teapot", ""),
            (
                "okx",
                "200 OK",
                r#"{"code":"50011","msg":"Too Many Requests","data":[]}"#,
            ),
        ] {
            let client = client(exchange, vec![answer(status, "", body); 3]);
            for longest_ms in [5_000, 10_000, 20_000] {
                client.get(&request()).await.expect_err("turned away");
                let paused_ms = paused_ms(&client);
                assert!(
                    paused_ms > longest_ms / 2 && paused_ms <= longest_ms,
                    "{status}: {paused_ms}"
                );
                client.pace().paused_until_ms = 0;
            }
        }
    }

    #[tokio::test]
    async fn requests_that_are_turned_away_together_pause_once_and_an_answer_ends_it() {
        let teapot = answer("418 Teapot", "", "");
        let client = client(
            "binance",
            vec![
                teapot.clone(),
                teapot.clone(),
                teapot,
                answer("200 OK", "", "[]"),
            ],
        );
        let (first, second, third) = (request(), request(), request());
        let results = tokio::join!(client.get(&first), client.get(&second), client.get(&third));
        assert!(results.0.is_err() && results.1.is_err() && results.2.is_err());
        assert_eq!(client.pace().pauses, 1);
        client.pace().paused_until_ms = 0;
        client.get(&first).await.expect("an answer");
        assert_eq!(client.pace().pauses, 0);
    }

    #[test]
    fn a_retry_after_is_read_in_seconds_and_as_a_date() {
        let now = 784_111_777_000;
        for (text, pause_ms) in [
            ("7", Some(7_000)),
            ("Sun, 06 Nov 1994 08:50:07 GMT", Some(30_000)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("99999999999999999999", None),
            ("9223372036854775807", Some(PAUSE_TOLD_MAX_MS)),
            ("-5", Some(0)),
            ("soon", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, text.parse().expect("a header"));
            assert_eq!(retry_after_ms(&headers, now), pause_ms, "{text}");
        }
    }

    #[tokio::test]
    async fn a_body_without_a_length_is_read_up_to_the_limit_only() {
        let mut endless = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n".to_vec();
        endless.resize(endless.len() + BODY_BYTES_MAX + 1, b' ');
        let client = client("binance", vec![endless]);
        let error = client.get(&request()).await.expect_err("too long");
        assert!(error.to_string().contains("too long"), "{error}");
    }

    #[tokio::test]
    async fn weight_that_others_at_this_address_used_is_not_used_again() {
        let used = answer("200 OK", "x-mbx-used-weight-1m: 4000\r\n", "[]");
        let client = client("binance", vec![used]);
        client.get(&request()).await.expect("an answer");
        let rest_max = client.venue.0.limits().rest_weight_max;
        let mut pace = client.pace();
        pace.budget
            .take(now_ms(), rest_max - 4_000)
            .expect("what is left");
        pace.budget.take(now_ms(), 1).expect_err("no more");
    }
}
