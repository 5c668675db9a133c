//! Sends alerts to webhooks: signed, in their order, each until the receiver takes it.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use metrics::{counter, gauge};
use reqwest::header::CONTENT_TYPE;
use reqwest::{StatusCode, Url};
use ring::digest::{SHA256, digest};
use ring::hmac;
use service::Shutdown;
use service::wall_clock_ms;
use tokio::sync::Notify;
use tracing::{error, warn};

use crate::error::Error;
use crate::secret;
use crate::store::{Delivery, Store, StoreError};

/// Pause after the first failed attempt; each further one is twice as long.
const RETRY_MIN: Duration = Duration::from_secs(1);
/// Longest pause.
const RETRY_MAX: Duration = Duration::from_secs(300);
/// Longest pause between two looks at the store.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// Bytes of the name of a webhook in the store.
const NAME_BYTES: usize = 16;

/// The address of a webhook. It may hold a secret, so it is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookUrl(Url);

impl fmt::Debug for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WebhookUrl({})", self.name())
    }
}

/// Why a text is no address of a webhook. It does not repeat the text.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "a webhook is an http or https address with a host and without user and password, such as https://host/path"
)]
pub struct WebhookUrlError;

impl WebhookUrl {
    /// Reads an address.
    ///
    /// # Errors
    /// [`WebhookUrlError`].
    pub fn parse(text: &str) -> Result<Self, WebhookUrlError> {
        let url: Url = text.trim().parse().map_err(|_| WebhookUrlError)?;
        let is_web = matches!(url.scheme(), "http" | "https");
        match is_web && url.has_host() && url.username().is_empty() && url.password().is_none() {
            true => Ok(Self(url)),
            false => Err(WebhookUrlError),
        }
    }

    /// As [`WebhookUrl::parse`], for a flag: clap repeats a refused text in its message, so the
    /// refusal waits for [`WebhookUrl::is_usable`].
    ///
    /// # Errors
    /// Never.
    pub(crate) fn from_flag(text: &str) -> Result<Self, std::convert::Infallible> {
        Ok(Self::parse(text).unwrap_or_else(|_| Self(unusable())))
    }

    pub(crate) fn is_usable(&self) -> bool {
        self.0 != unusable()
    }

    /// Its name in the store and in the log: it says nothing of the address.
    pub(crate) fn name(&self) -> String {
        let digest = digest(&SHA256, self.0.as_str().as_bytes());
        hex(&digest.as_ref()[..NAME_BYTES])
    }
}

fn unusable() -> Url {
    Url::parse("unusable:").expect("a scheme alone is an address")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Signs requests.
#[derive(Clone)]
pub(crate) struct Signer(hmac::Key);

impl Signer {
    pub(crate) fn read(path: &Path) -> Result<Self, Error> {
        let secret = secret::read(path, "--webhook-secret-file")?;
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes())))
    }

    /// Of the time in seconds, a point and the body.
    pub(crate) fn sign(&self, seconds: i64, body: &[u8]) -> String {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(format!("{seconds}.").as_bytes());
        context.update(body);
        format!("sha256={}", hex(context.sign().as_ref()))
    }
}

/// One webhook.
pub(crate) struct Webhook {
    /// Its number in the configuration, from 0.
    pub(crate) index: usize,
    pub(crate) url: WebhookUrl,
    pub(crate) http: reqwest::Client,
    pub(crate) signer: Signer,
    pub(crate) attempts_max: u32,
    pub(crate) store: Store,
    pub(crate) raised: Arc<Notify>,
    pub(crate) shutdown: Shutdown,
}

/// A client that follows no redirects: a receiver cannot send alerts elsewhere, such as into this
/// network.
pub(crate) fn client(timeout: Duration) -> Result<reqwest::Client, Error> {
    // A second provider is refused, and the first one stays.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .timeout(timeout)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .build()
        .map_err(|error| Error::Config(format!("webhooks cannot be used: {error}")))
}

impl Webhook {
    /// Delivers until the shutdown.
    pub(crate) async fn run(self) -> Result<(), Error> {
        let name = self.url.name();
        while !self.shutdown.is_triggered() {
            let told = self.raised.notified();
            let rest = match self.next(&name).await {
                Ok(Some(rest)) => rest,
                Ok(None) => {
                    tokio::select! {
                        () = told => {}
                        () = tokio::time::sleep(LOOK_INTERVAL) => {}
                        () = self.shutdown.triggered() => {}
                    }
                    continue;
                }
                Err(error) => {
                    counter!("alerts_store_errors_total").increment(1);
                    error!(%error, "deliveries to a webhook wait for the store");
                    RETRY_MIN
                }
            };
            tokio::select! {
                () = tokio::time::sleep(rest) => {}
                () = self.shutdown.triggered() => {}
            }
        }
        Ok(())
    }

    /// Tries the oldest alert that waits. How long to rest then; `None` if none waits.
    async fn next(&self, name: &str) -> Result<Option<Duration>, StoreError> {
        let hook = name.to_owned();
        let look = move |store: &Store| Ok((store.undelivered(&hook)?, store.waiting(&hook)?));
        let (delivery, waiting) = self.store.run(look).await?;
        gauge!("alerts_webhook_waiting", "webhook" => self.index.to_string()).set(waiting as f64);
        let Some(delivery) = delivery else {
            return Ok(None);
        };
        let (hook, id) = (name.to_owned(), delivery.id);
        let refusal = tokio::select! {
            outcome = self.send(&delivery) => outcome,
            // It is sent again after the next start.
            () = self.shutdown.triggered() => return Ok(Some(Duration::ZERO)),
        };
        let Err(refusal) = refusal else {
            self.store
                .run(move |store| store.delivered(&hook, id))
                .await?;
            return Ok(Some(Duration::ZERO));
        };
        let attempts = delivery.attempts.saturating_add(1);
        let Refusal { why, is_final } = refusal;
        if is_final || attempts >= self.attempts_max {
            let reason = if is_final { "refused" } else { "attempts" };
            counter!("alerts_webhook_dropped_total", "reason" => reason).increment(1);
            error!(
                webhook = self.index,
                alert = delivery.alert.id(),
                attempts,
                why,
                "an alert is dropped for a webhook that does not take it: look at its receiver"
            );
            self.store
                .run(move |store| store.delivered(&hook, id))
                .await?;
            return Ok(Some(Duration::ZERO));
        }
        if attempts.is_power_of_two() {
            warn!(
                webhook = self.index,
                alert = delivery.alert.id(),
                attempts,
                why,
                "a webhook does not take an alert, trying again"
            );
        }
        self.store.run(move |store| store.failed(&hook, id)).await?;
        Ok(Some(rest_after(attempts)))
    }

    /// # Errors
    /// Why the receiver does not have it, for certain or perhaps.
    async fn send(&self, Delivery { alert, .. }: &Delivery) -> Result<(), Refusal> {
        let body = alert.encode();
        let seconds = wall_clock_ms() / 1_000;
        let request = self
            .http
            .post(self.url.0.clone())
            .header(CONTENT_TYPE, "application/json")
            .header("Klinecast-Alert-Id", alert.id())
            .header("Klinecast-Timestamp", seconds.to_string())
            .header("Klinecast-Signature", self.signer.sign(seconds, &body))
            .body(body);
        let (label, outcome) = match request.send().await {
            Ok(answer) if answer.status().is_success() => ("delivered", Ok(())),
            Ok(answer) => ("refused", Err(Refusal::answered(answer.status()))),
            Err(error) => ("failed", Err(Refusal::failed(error))),
        };
        counter!("alerts_webhook_requests_total", "outcome" => label).increment(1);
        outcome
    }
}

/// Why a receiver does not have an alert.
struct Refusal {
    why: String,
    /// Whether each further attempt would be refused, too, and others that wait would be held up.
    is_final: bool,
}

impl Refusal {
    /// The receiver answers that it does not want this content. Other answers, such as 401 and 404, are
    /// about the receiver, and the same for all alerts until somebody repairs it.
    fn answered(status: StatusCode) -> Self {
        let is_final = matches!(
            status,
            StatusCode::BAD_REQUEST
                | StatusCode::GONE
                | StatusCode::PAYLOAD_TOO_LARGE
                | StatusCode::UNSUPPORTED_MEDIA_TYPE
                | StatusCode::UNPROCESSABLE_ENTITY
        );
        Self {
            why: format!("it answers {status}"),
            is_final,
        }
    }

    fn failed(error: reqwest::Error) -> Self {
        Self {
            // Its text would have the address.
            why: error.without_url().to_string(),
            is_final: false,
        }
    }
}

fn rest_after(attempts: u32) -> Duration {
    let doublings = attempts.saturating_sub(1).min(16);
    RETRY_MIN.saturating_mul(1 << doublings).min(RETRY_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_web_addresses_without_credentials_are_webhooks_and_none_is_shown() {
        let secret = "https://host/hooks/s3cret?key=s3cret";
        let url = WebhookUrl::parse(secret).expect("an address");
        assert!(!format!("{url:?}").contains("s3cret"));
        assert!(url.is_usable());
        for text in [
            "",
            "host/path",
            "ftp://host/",
            "file:///etc/passwd",
            "http://",
            "https://u:s3cret@host/",
            "https://u@host/",
        ] {
            let error = WebhookUrl::parse(text).expect_err(text);
            assert!(!error.to_string().contains("s3cret"));
            let flag = WebhookUrl::from_flag(text).expect("never refused");
            assert!(!flag.is_usable(), "{text}");
        }
    }

    #[test]
    fn pauses_double_up_to_five_minutes() {
        let seconds: Vec<u64> = [1, 2, 3, 9, 10, u32::MAX]
            .map(|attempts| rest_after(attempts).as_secs())
            .to_vec();
        assert_eq!(seconds, [1, 2, 4, 256, 300, 300]);
    }

    /// RFC 4231, test case 2, has this key; the text is ours. Computed with
    /// `printf '7.{}' | openssl dgst -sha256 -hmac Jefe`.
    #[test]
    fn a_signature_is_the_hmac_of_time_and_body() {
        let signer = Signer(hmac::Key::new(hmac::HMAC_SHA256, b"Jefe"));
        assert_eq!(
            signer.sign(7, b"{}"),
            "sha256=fab47a0bfa9f75f6455e6e0d75f29f95b3118d10f700dec268f191bdcba9b6b7"
        );
        assert_ne!(signer.sign(8, b"{}"), signer.sign(7, b"{}"));
    }
}
