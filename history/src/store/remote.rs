//! Requests to a database server over HTTP, for all stores that are one.
//!
//! Each request has a deadline and a bound for its answer. While the server does not answer, one
//! request at a time tries, after a random pause, and the others fail at once with the reason: so a
//! server that hangs costs its callers one deadline and not one each. Requests that write and questions
//! are apart in this: a question that takes too long keeps no row from being stored.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use rand::Rng as _;
use reqwest::Method;
use reqwest::header::HeaderMap;
use tokio::runtime::Runtime;

use super::{RemoteUrl, StoreError};

/// The first pause after a server did not answer.
const PAUSE_MIN: Duration = Duration::from_millis(250);
/// The longest one.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// How long a connection may take.
const CONNECT_MAX: Duration = Duration::from_secs(2);
/// Shorter than the servers' own bounds, so that no request meets a connection that is being closed.
const IDLE_MAX: Duration = Duration::from_secs(3);
/// The most characters of a server's text in an error.
const REASON_CHARS_MAX: usize = 400;

/// How a server is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RemoteOptions {
    /// How long a request with its answer may take.
    pub timeout: Duration,
    /// The most bytes of an answer.
    pub answer_bytes_max: usize,
    /// Nothing is made there: rows are only read.
    pub is_read_only: bool,
}

impl Default for RemoteOptions {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(10),
            answer_bytes_max: 64 << 20,
            is_read_only: false,
        }
    }
}

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Call<'a> {
    pub(crate) method: Method,
    /// From the first slash on.
    pub(crate) path: &'a str,
    pub(crate) query: &'a [(&'a str, &'a str)],
    pub(crate) headers: &'a [(&'a str, &'a str)],
    pub(crate) body: Bytes,
    pub(crate) purpose: Purpose,
}

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To store rows, and to know what is stored of them.
    Write,
    /// To answer a question.
    Read,
    /// To go through all rows, or to delete many. It may take six times as long, and says nothing about
    /// the server if it takes longer.
    Survey,
}

impl Purpose {
    /// Of requests with one index, each knows whether the server answered the one before.
    const fn lane(self) -> usize {
        match self {
            Self::Write => 0,
            Self::Read | Self::Survey => 1,
        }
    }
}

/// What a server said, whatever its status.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    /// Whether the status is one of success.
    pub(crate) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// A header as text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Whether there is a header whose name, in lower case, begins so.
    pub(crate) fn has_header_of(&self, prefix: &str) -> bool {
        self.headers
            .keys()
            .any(|name| name.as_str().starts_with(prefix))
    }

    /// The beginning of the body as text, on one line, for errors.
    pub(crate) fn reason(&self) -> String {
        let text = String::from_utf8_lossy(&self.body[..self.body.len().min(4 * REASON_CHARS_MAX)]);
        let text: String = text
            .chars()
            .map(|char| if char.is_control() { ' ' } else { char })
            .take(REASON_CHARS_MAX)
            .collect();
        match text.trim() {
            "" => format!("status {}", self.status),
            text => text.to_owned(),
        }
    }
}

/// Since when a server has not answered.
#[derive(Debug, Default)]
struct Outage {
    failures: u32,
    /// Nobody asks before.
    until: Option<Instant>,
    why: String,
}

#[derive(Debug)]
struct Meters {
    up: Gauge,
    errors: Counter,
    seconds: Histogram,
}

/// Sends requests to one server. Calls block, and must not come from async code.
#[derive(Debug)]
pub(crate) struct RemoteClient {
    name: Box<str>,
    origin: String,
    url: RemoteUrl,
    http: reqwest::Client,
    options: RemoteOptions,
    /// By [`Purpose::lane`].
    outages: Mutex<[Outage; 2]>,
    meters: Meters,
    /// `None` only while it is dropped.
    runtime: Option<Runtime>,
}

impl Drop for RemoteClient {
    fn drop(&mut self) {
        // The last owner may be async code, which must not wait for threads.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl RemoteClient {
    /// Makes a client. It sends nothing yet. `ports` are those of HTTP and HTTPS if the URL has none.
    ///
    /// # Errors
    /// `Refused` if this system cannot make one.
    pub(crate) fn new(
        url: &RemoteUrl,
        ports: (u16, u16),
        options: RemoteOptions,
    ) -> Result<Self, StoreError> {
        let name: Box<str> = url.to_string().into();
        let refused = |reason: String| StoreError::Refused {
            store: name.clone(),
            reason,
        };
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_MAX.min(options.timeout))
            .pool_idle_timeout(IDLE_MAX)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .map_err(|error| refused(error.to_string()))?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("history-store")
            .enable_all()
            .build()
            .map_err(|error| refused(error.to_string()))?;
        let meters = Meters {
            up: gauge!("history_store_up"),
            errors: counter!("history_store_request_errors_total"),
            seconds: histogram!("history_store_request_seconds"),
        };
        Ok(Self {
            origin: url.origin(ports.0, ports.1),
            url: url.clone(),
            name,
            http,
            options,
            outages: Mutex::default(),
            meters,
            runtime: Some(runtime),
        })
    }

    /// The server's address, without user and password.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The server's URL.
    pub(crate) fn url(&self) -> &RemoteUrl {
        &self.url
    }

    /// An error of this server that can pass.
    pub(crate) fn away(&self, reason: impl Into<String>) -> StoreError {
        StoreError::Away {
            store: self.name.clone(),
            reason: reason.into(),
        }
    }

    fn outages(&self) -> MutexGuard<'_, [Outage; 2]> {
        // Each change leaves a whole value.
        self.outages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long a request may take.
    pub(crate) fn timeout(&self, purpose: Purpose) -> Duration {
        match purpose {
            Purpose::Survey => self.options.timeout.saturating_mul(6),
            Purpose::Write | Purpose::Read => self.options.timeout,
        }
    }

    /// The most bytes of an answer.
    pub(crate) fn answer_bytes_max(&self) -> usize {
        self.options.answer_bytes_max
    }

    /// Sends a request and reads its answer, of any status.
    ///
    /// # Errors
    /// `Away` if there is none in time, or none is expected; `Refused` if it is too long.
    pub(crate) fn send(&self, call: &Call<'_>) -> Result<Answer, StoreError> {
        let timeout = self.timeout(call.purpose);
        let began = Instant::now();
        {
            let outage = &mut self.outages()[call.purpose.lane()];
            if outage.until.is_some_and(|until| began < until) {
                return Err(self.away(outage.why.clone()));
            }
            if outage.failures > 0 {
                // This one tries for all.
                outage.until = Some(began + timeout);
            }
        }
        let runtime = self.runtime.as_ref().expect("only a drop takes it");
        let answered = runtime.block_on(async {
            let exchange = tokio::time::timeout(timeout, self.exchange(call));
            match exchange.await {
                Ok(Ok(answer)) => Ok(answer),
                Ok(Err(why)) => Err((why, true)),
                Err(_) => {
                    let why = format!("no answer within {} ms", timeout.as_millis());
                    Err((why, call.purpose != Purpose::Survey))
                }
            }
        });
        self.meters.seconds.record(began.elapsed());
        match answered {
            Ok(answer) => {
                let mut outages = self.outages();
                outages[call.purpose.lane()] = Outage::default();
                if outages.iter().all(|outage| outage.failures == 0) {
                    self.meters.up.set(1.0);
                }
                drop(outages);
                answer.ok_or_else(|| {
                    self.meters.errors.increment(1);
                    let bytes = self.options.answer_bytes_max;
                    StoreError::Refused {
                        store: self.name.clone(),
                        reason: format!("an answer has more than {bytes} bytes"),
                    }
                })
            }
            Err((why, is_outage)) => {
                self.meters.errors.increment(1);
                if is_outage {
                    self.failed(call.purpose, &why);
                }
                Err(self.away(why))
            }
        }
    }

    fn failed(&self, purpose: Purpose, why: &str) {
        self.meters.up.set(0.0);
        let outage = &mut self.outages()[purpose.lane()];
        let longest = PAUSE_MIN
            .saturating_mul(1 << outage.failures.min(8))
            .min(PAUSE_MAX);
        let pause = longest.mul_f64(rand::rng().random_range(0.5..=1.0));
        *outage = Outage {
            failures: outage.failures.saturating_add(1),
            until: Some(Instant::now() + pause),
            why: why.to_owned(),
        };
    }

    /// `None` if the answer is too long.
    async fn exchange(&self, call: &Call<'_>) -> Result<Option<Answer>, String> {
        let mut request = self
            .http
            .request(call.method.clone(), format!("{}{}", self.origin, call.path))
            .query(call.query)
            .body(call.body.clone());
        if let Some((user, password)) = self.url.login() {
            request = request.basic_auth(user, password);
        }
        for (name, value) in call.headers {
            request = request.header(*name, *value);
        }
        let mut response = request.send().await.map_err(reason_of)?;
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(reason_of)? {
            if body.len().saturating_add(chunk.len()) > self.options.answer_bytes_max {
                return Ok(None);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Some(Answer {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            body: body.freeze(),
        }))
    }
}

/// The innermost reason, without the URL and what it may hold.
fn reason_of(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut source: &dyn std::error::Error = &error;
    while let Some(inner) = source.source() {
        source = inner;
    }
    source.to_string()
}
