//! Questions to the JetStream API, and its answers.
//!
//! It uses the API's JSON, because the client library's typed configuration would drop unknown
//! settings when a stream is updated.

use async_nats::jetstream::Context;
use async_nats::jetstream::context::RequestErrorKind;
use serde_json::Value;

use crate::BusError;

// Error codes of the JetStream API. Source: nats-server, server/errors.json.
pub(super) const CONSUMER_NOT_FOUND: u64 = 10_014;
pub(super) const NOT_ENABLED_FOR_ACCOUNT: u64 = 10_039;
pub(super) const STREAM_NAME_EXISTS: u64 = 10_058;
pub(super) const STREAM_NOT_FOUND: u64 = 10_059;
pub(super) const SUBJECT_OVERLAP: u64 = 10_065;
pub(super) const NOT_ENABLED: u64 = 10_076;
pub(super) const WRONG_LAST_SEQUENCE: u64 = 10_071;
/// The stream takes no batches.
pub(super) const NO_BATCHES: u64 = 10_174;
/// `not available`, `no suitable peers`, `incomplete results`, ...: the cluster elects a leader.
const CLUSTER_BUSY: [u64; 4] = [10_004, 10_005, 10_008, 10_009];

/// The JetStream API of one account.
pub(super) struct Api {
    pub(super) context: Context,
    /// For messages, without credentials.
    servers: String,
}

impl Api {
    pub(super) fn new(context: Context, servers: String) -> Api {
        Api { context, servers }
    }

    /// What the API's subjects begin with.
    pub(super) fn prefix(&self) -> &'static str {
        "$JS.API"
    }

    /// The outer error is ours, the inner one the API's.
    pub(super) async fn request(
        &self,
        action: &str,
        subject: &str,
        body: &Value,
    ) -> Result<Result<Value, Refusal>, BusError> {
        let answer: Value = match self.context.request(subject.to_owned(), body).await {
            Ok(answer) => answer,
            Err(error) => {
                return Err(match error.kind() {
                    RequestErrorKind::NoResponders => self.disabled("nobody answers its api"),
                    RequestErrorKind::TimedOut => self::error(
                        action,
                        "no answer in time; a cluster may lack a majority of its servers",
                        true,
                    ),
                    RequestErrorKind::InvalidSubject | RequestErrorKind::Other => {
                        self::error(action, &error.to_string(), true)
                    }
                });
            }
        };
        let Some(refused) = answer.get("error") else {
            return Ok(Ok(answer));
        };
        let description = refused["description"].as_str().unwrap_or("no reason given");
        let code = refused["err_code"].as_u64().unwrap_or_default();
        if code == NOT_ENABLED || code == NOT_ENABLED_FOR_ACCOUNT {
            return Err(self.disabled(description));
        }
        Ok(Err(Refusal {
            code,
            description: description.to_owned(),
        }))
    }

    fn disabled(&self, reason: &str) -> BusError {
        BusError::JetStreamDisabled {
            servers: self.servers.clone(),
            reason: reason.to_owned(),
        }
    }
}

/// An error that the JetStream API gave.
pub(super) struct Refusal {
    pub(super) code: u64,
    pub(super) description: String,
}

impl Refusal {
    pub(super) fn is_retryable(&self) -> bool {
        CLUSTER_BUSY.contains(&self.code)
    }

    pub(super) fn into_error(self, action: &str) -> BusError {
        error(action, &self.description, self.is_retryable())
    }
}

pub(super) fn error(action: &str, reason: &str, retryable: bool) -> BusError {
    BusError::JetStream {
        action: action.to_owned(),
        reason: reason.to_owned(),
        retryable,
    }
}

/// Unix ns of a time that the API gives as RFC 3339; 0 for one that cannot be read or is before
/// 1970.
pub(super) fn unix_ns(text: &str) -> u64 {
    async_nats::datetime::parse_rfc3339(text).map_or(0, of_datetime)
}

pub(super) fn of_datetime(time: async_nats::datetime::DateTime) -> u64 {
    u64::try_from(time.unix_timestamp_nanos()).unwrap_or(0)
}
