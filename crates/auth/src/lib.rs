//! Checks the tokens of clients, and says which topics they permit.
//!
//! # Layout
//!
//! - [`TokenConfig`]: the flags of every program that checks tokens;
//! - [`Auth`]: the checks. A token comes with a request (`credential`) or in a message. `token` checks it with the
//!   `keys` and the signatures of `crypto`. After too many failures, the tokens of an address are not
//!   checked (`failures`);
//! - [`Grant`]: what a token gives: [`Permissions`] for a time.

mod config;
mod credential;
mod crypto;
mod failures;
mod keys;
mod permissions;
mod token;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::HeaderMap;
use metrics::{counter, gauge};
use service::AddressGroups;
use tracing::{error, info};

pub use config::{AuthMode, TokenConfig};
pub use credential::Source;
pub use permissions::Permissions;
pub use token::{Grant, TokenError};

use credential::Credential;
use failures::Failures;
use keys::{KeyFiles, KeyStore, Reloaded};
use token::Tokens;

/// The names of the metrics of one program.
#[derive(Clone, Copy, Debug)]
pub struct MetricNames {
    /// Tokens by `source` and `outcome`: a counter.
    pub checks: &'static str,
    /// Keys: a gauge.
    pub keys: &'static str,
    /// Times that the key files were read again, by `outcome`: a counter.
    pub key_reloads: &'static str,
    /// Addresses whose failures could not be counted, by `budget`: a counter.
    pub unmetered: &'static str,
}

/// Checks the tokens of a program that requires or accepts them.
#[derive(Debug)]
pub struct Auth {
    tokens: Tokens,
    failures: Failures,
    cookie: Option<String>,
    keys_check_interval: Duration,
    is_required: bool,
    anonymous: Arc<Permissions>,
    names: MetricNames,
}

impl Auth {
    /// The checks of a configuration; `None` if it asks for no authentication. Addresses of one of
    /// the `groups` are one client.
    ///
    /// # Errors
    /// The fault in the configuration or the key files, for people.
    pub fn new(
        config: &TokenConfig,
        groups: AddressGroups,
        names: MetricNames,
    ) -> Result<Option<Arc<Self>>, String> {
        config.check()?;
        if config.auth_mode == AuthMode::Off {
            return Ok(None);
        }
        crypto::install();
        let files = KeyFiles {
            hs256_secret: config.auth_hs256_secret_file.clone(),
            jwks: config.auth_jwks_file.clone(),
        };
        let keys = KeyStore::open(files).map_err(|error| error.to_string())?;
        let auth = Self {
            tokens: Tokens::new(config, keys),
            failures: Failures::new(config.auth_failures_per_ip, names.unmetered, groups),
            cookie: config.auth_cookie.clone(),
            keys_check_interval: Duration::from_millis(config.auth_keys_check_ms.max(10)),
            is_required: config.auth_mode == AuthMode::Required,
            anonymous: Arc::new(Permissions::new(config.auth_anonymous_topics.clone())),
            names,
        };
        auth.report_keys();
        Ok(Some(Arc::new(auth)))
    }

    /// Whether clients without a token get nothing.
    #[must_use]
    pub fn is_required(&self) -> bool {
        self.is_required
    }

    /// The permissions of clients without a token, if these are allowed.
    #[must_use]
    pub fn anonymous(&self) -> &Arc<Permissions> {
        &self.anonymous
    }

    /// The grant of a request's token, if it has one.
    ///
    /// # Errors
    /// Why the token is not accepted.
    pub fn check_request(
        &self,
        headers: &HeaderMap,
        query: &[(String, String)],
        client: IpAddr,
    ) -> Result<Option<Grant>, TokenError> {
        match credential::find(headers, query, self.cookie.as_deref()) {
            Credential::None => Ok(None),
            Credential::Ambiguous => self
                .judge(Source::Header, client, Err(TokenError::Malformed))
                .map(Some),
            Credential::Token(source, token) => self.check(source, token, client).map(Some),
        }
    }

    /// The grant of a token that came from `source`.
    ///
    /// # Errors
    /// Why the token is not accepted.
    pub fn check(&self, source: Source, token: &str, client: IpAddr) -> Result<Grant, TokenError> {
        let outcome = if self.failures.is_beyond(client, Instant::now()) {
            Err(TokenError::TooManyFailures)
        } else {
            self.tokens.check(token)
        };
        self.judge(source, client, outcome)
    }

    /// Counts an outcome.
    fn judge(
        &self,
        source: Source,
        client: IpAddr,
        outcome: Result<Grant, TokenError>,
    ) -> Result<Grant, TokenError> {
        let label = match &outcome {
            Ok(_) => "ok",
            Err(error) => error.as_str(),
        };
        counter!(self.names.checks, "source" => source.as_str(), "outcome" => label).increment(1);
        if outcome.is_err() {
            self.failures.count(client, Instant::now());
        }
        outcome
    }

    /// Reads the keys again whenever their files change, for as long as it is polled.
    pub async fn watch_keys(self: Arc<Self>) {
        loop {
            tokio::time::sleep(self.keys_check_interval).await;
            let this = Arc::clone(&self);
            let reloaded = tokio::task::spawn_blocking(move || this.tokens.keys().reload()).await;
            let outcome = match reloaded {
                Ok(Reloaded::Unchanged) => continue,
                Ok(Reloaded::Changed) => {
                    self.report_keys();
                    info!(keys = self.tokens.keys().count(), "keys read again");
                    "ok"
                }
                Err(error) => {
                    error!(%error, "keys cannot be read again, keeping the old ones");
                    "failed"
                }
                Ok(Reloaded::Failed(error)) => {
                    error!(%error, "keys cannot be read again, keeping the old ones");
                    "failed"
                }
            };
            counter!(self.names.key_reloads, "outcome" => outcome).increment(1);
        }
    }

    fn report_keys(&self) {
        gauge!(self.names.keys).set(self.tokens.keys().count() as f64);
    }
}
