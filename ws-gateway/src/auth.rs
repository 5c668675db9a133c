//! Which clients may connect, and which topics they may see.
//!
//! The `origin` decides whether a page may connect. A session's token comes with the handshake or
//! in a frame (`credential`). `token` checks it with the `keys` and the signatures of `crypto`. The
//! result is a [`Grant`]: `permissions` for a time. After too many failures, the tokens of an
//! address are not checked (`failures`). All of this happens in the connection's own task: the
//! shards get grants.

mod config;
mod credential;
mod crypto;
mod failures;
mod keys;
mod origin;
mod permissions;
mod rules;
mod token;

#[cfg(test)]
#[path = "../tests/support/mint.rs"]
#[allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    reason = "shared with the tests from outside"
)]
mod mint;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::HeaderMap;
use metrics::{counter, gauge};
use tracing::{error, info};

pub use config::{AuthConfig, AuthMode};
pub use origin::{OriginPattern, ParseOriginError};

pub(crate) use origin::Origins;
pub(crate) use permissions::Permissions;
pub(crate) use rules::AuthRules;
pub(crate) use token::{Grant, TokenError};

use crate::auth::credential::{Credential, Source};
use crate::auth::failures::Failures;
use crate::auth::keys::{KeyFiles, KeyStore, Reloaded};
use crate::auth::token::Tokens;
use crate::limits::AddressGroups;

/// Checks the tokens of a gateway that requires or accepts them.
#[derive(Debug)]
pub(crate) struct Auth {
    tokens: Tokens,
    failures: Failures,
    cookie: Option<String>,
    keys_check_interval: Duration,
    rules: AuthRules,
}

impl Auth {
    /// The checks of a configuration; `None` if it asks for no authentication.
    ///
    /// # Errors
    /// The fault in the configuration or the key files, for people.
    pub(crate) fn new(
        auth: &AuthConfig,
        groups: AddressGroups,
    ) -> Result<Option<Arc<Self>>, String> {
        auth.check()?;
        if auth.auth_mode == AuthMode::Off {
            return Ok(None);
        }
        crypto::install();
        let files = KeyFiles {
            hs256_secret: auth.auth_hs256_secret_file.clone(),
            jwks: auth.auth_jwks_file.clone(),
        };
        let keys = KeyStore::open(files).map_err(|error| error.to_string())?;
        report_keys(&keys);
        Ok(Some(Arc::new(Self {
            tokens: Tokens::new(auth, keys),
            failures: Failures::new(auth.auth_failures_per_ip, groups),
            cookie: auth.auth_cookie.clone(),
            keys_check_interval: Duration::from_millis(auth.auth_keys_check_ms.max(10)),
            rules: AuthRules {
                is_required: auth.auth_mode == AuthMode::Required,
                anonymous: Arc::new(Permissions::new(auth.auth_anonymous_topics.clone())),
                notice: Duration::from_millis(auth.auth_notice_ms),
                failures_max: auth.auth_failures_per_session.max(1),
            },
        })))
    }

    /// The values that the shards need.
    #[must_use]
    pub(crate) fn rules(&self) -> AuthRules {
        self.rules.clone()
    }

    /// Whether sessions without a token are closed.
    #[must_use]
    pub(crate) fn is_required(&self) -> bool {
        self.rules.is_required
    }

    /// The grant of a handshake's token, if it has one.
    ///
    /// # Errors
    /// Why the token is not accepted.
    pub(crate) fn check_handshake(
        &self,
        headers: &HeaderMap,
        query: &[(String, String)],
        client: IpAddr,
    ) -> Result<Option<Box<Grant>>, TokenError> {
        match credential::find(headers, query, self.cookie.as_deref()) {
            Credential::None => Ok(None),
            Credential::Ambiguous => self.judge(Source::Header, client, Err(TokenError::Malformed)),
            Credential::Token(source, token) => self.check(source, token, client),
        }
        .map(|grant| grant.map(Box::new))
    }

    /// The grant of a token that came in a frame.
    ///
    /// # Errors
    /// Why the token is not accepted.
    pub(crate) fn check_message(
        &self,
        token: &str,
        client: IpAddr,
    ) -> Result<Box<Grant>, TokenError> {
        let grant = self.check(Source::Message, token, client)?;
        Ok(Box::new(
            grant.expect("a token that is taken gives a grant"),
        ))
    }

    fn check(
        &self,
        source: Source,
        token: &str,
        client: IpAddr,
    ) -> Result<Option<Grant>, TokenError> {
        let outcome = if self.failures.is_beyond(client, Instant::now()) {
            Err(TokenError::TooManyFailures)
        } else {
            self.tokens.check(token).map(Some)
        };
        self.judge(source, client, outcome)
    }

    /// Counts an outcome.
    fn judge(
        &self,
        source: Source,
        client: IpAddr,
        outcome: Result<Option<Grant>, TokenError>,
    ) -> Result<Option<Grant>, TokenError> {
        let label = match &outcome {
            Ok(_) => "ok",
            Err(error) => error.as_str(),
        };
        counter!("gateway_auth_total", "source" => source.as_str(), "outcome" => label)
            .increment(1);
        if outcome.is_err() {
            self.failures.count(client, Instant::now());
        }
        outcome
    }

    /// Reads the keys again whenever their files change, for as long as it is polled.
    pub(crate) async fn watch_keys(self: Arc<Self>) {
        loop {
            tokio::time::sleep(self.keys_check_interval).await;
            let this = Arc::clone(&self);
            let reloaded = tokio::task::spawn_blocking(move || this.tokens.keys().reload()).await;
            let outcome = match reloaded {
                Ok(Reloaded::Unchanged) => continue,
                Ok(Reloaded::Changed) => {
                    report_keys(self.tokens.keys());
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
            counter!("gateway_auth_key_reloads_total", "outcome" => outcome).increment(1);
        }
    }
}

fn report_keys(keys: &KeyStore) {
    gauge!("gateway_auth_keys").set(keys.count() as f64);
}
