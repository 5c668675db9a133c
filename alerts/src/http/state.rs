//! What the routes share.

use std::net::SocketAddr;

use axum::extract::rejection::BytesRejection;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::error::ApiError;
use super::token::Token;
use crate::command::{Command, RuleChange, RuleList};
use crate::config::Config;
use crate::error::Error;
use crate::rule::Rule;
use crate::secret;
use crate::store::{Store, StoredRule};

/// What the routes share.
#[derive(Clone)]
pub(crate) struct Api {
    commands: mpsc::Sender<Command>,
    pub(super) rules: RuleList,
    pub(super) store: Store,
    pub(super) token: Option<Token>,
    window_seconds_max: u32,
    width_s: u32,
}

impl Api {
    /// # Errors
    /// If the token cannot be read or made, or there is none and others than this host's programs could ask.
    pub(crate) fn new(
        config: &Config,
        listens: SocketAddr,
        commands: mpsc::Sender<Command>,
        rules: RuleList,
        store: Store,
    ) -> Result<Self, Error> {
        let token = match &config.token_file {
            Some(path) => {
                if config.token_make {
                    secret::make(path, "--token-file")?;
                }
                Some(Token::read(path)?)
            }
            None if listens.ip().is_loopback() => None,
            None => {
                let text = "without a token, the HTTP API listens on a loopback address only: set --token-file, or --listen 127.0.0.1:8092";
                return Err(Error::Config(text.to_owned()));
            }
        };
        Ok(Self {
            commands,
            rules,
            store,
            token,
            window_seconds_max: config.alerts_window_seconds_max,
            width_s: config.width_s(),
        })
    }

    /// Asks the reader, and waits for its answer.
    pub(super) async fn change(&self, change: RuleChange) -> Result<StoredRule, ApiError> {
        let (answer, answered) = oneshot::channel();
        let command = Command::Change { change, answer };
        self.commands
            .try_send(command)
            .map_err(|_| ApiError::busy())?;
        Ok(answered.await.map_err(|_| ApiError::busy())??)
    }

    /// The rule of a body.
    pub(super) fn checked(
        &self,
        headers: &HeaderMap,
        body: Result<Bytes, BytesRejection>,
    ) -> Result<Rule, ApiError> {
        let body = body?;
        let kind = headers.get(CONTENT_TYPE);
        let kind = kind
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        if !kind.eq_ignore_ascii_case("application/json") {
            return Err(ApiError::wrong_type());
        }
        let rule: Rule = serde_json::from_slice(&body)
            .map_err(|error| ApiError::bad("bad_rule", error.to_string()))?;
        rule.check()
            .map_err(|error| ApiError::bad("bad_rule", error.to_string()))?;
        rule.check_width(self.width_s)
            .map_err(|error| ApiError::bad("bad_rule", error.to_string()))?;
        check_window(&rule, self.window_seconds_max)
            .map_err(|error| ApiError::bad("bad_rule", error))?;
        Ok(rule)
    }
}

/// Whether a rule looks back no further than it may.
pub(crate) fn check_window(rule: &Rule, seconds_max: u32) -> Result<(), String> {
    match rule.when.horizon_s() {
        seconds if seconds > seconds_max => Err(format!(
            "rule {} looks back {seconds} s, and --alerts-window-seconds-max is {seconds_max}",
            rule.name
        )),
        _ => Ok(()),
    }
}
