//! The connection to nats-server, and its JetStream API as JSON.
//!
//! The API's own JSON is used: a typed configuration would drop settings that it does not know when
//! a stream is updated.

use std::time::Duration;

use async_nats::client::RequestErrorKind;
use async_nats::connection::State;
use async_nats::{Client, ConnectOptions, Request};
use bytes::Bytes;
use serde_json::{Value, json};

use crate::config::Config;
use crate::config::file::Secret;

/// Longest wait for an answer of the server.
const ANSWER_DEADLINE: Duration = Duration::from_secs(5);
const RECONNECT_DELAY_MAX: Duration = Duration::from_secs(1);
/// Most pages of a list: a page has 256 entries.
const PAGES_MAX: usize = 8;

// Codes of the JetStream API. Source: nats-server, server/errors.json.
const STREAM_NOT_FOUND: u64 = 10_059;
const MESSAGE_NOT_FOUND: u64 = 10_037;
const NAME_EXISTS: u64 = 10_058;
const SUBJECT_OVERLAP: u64 = 10_065;

/// Why the server refused a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NatsError {
    /// No connection.
    #[error("not connected to nats-server; /health says more")]
    Disconnected,
    /// JetStream's API does not answer.
    #[error(
        "jetstream does not answer: it is off (jetstream_enabled), or out of space; /health and nats-server's log say more"
    )]
    NoJetStream,
    /// No answer.
    #[error("nats-server gave no answer within {} ms; in a cluster, a majority of its servers may be away", ANSWER_DEADLINE.as_millis())]
    Timeout,
    /// The server refused.
    #[error("nats-server: {description}")]
    Refused {
        /// Its code, as HTTP has them.
        status: u64,
        /// Its own code.
        code: u64,
        /// Its words.
        description: String,
    },
    /// The connection cannot carry it.
    #[error("{0}")]
    Unsendable(String),
}

impl NatsError {
    pub(crate) fn is_no_such_stream(&self) -> bool {
        matches!(self, Self::Refused { code, .. } if *code == STREAM_NOT_FOUND)
    }

    pub(crate) fn is_no_such_message(&self) -> bool {
        matches!(self, Self::Refused { code, .. } if *code == MESSAGE_NOT_FOUND)
    }

    pub(crate) fn is_conflict(&self) -> bool {
        matches!(self, Self::Refused { code, .. } if [NAME_EXISTS, SUBJECT_OVERLAP].contains(code))
    }
}

/// See the module. Clones share the connection.
#[derive(Clone, Debug)]
pub(crate) struct JetStream {
    client: Client,
}

/// A list, and how many entries it lacks because it has a bound.
pub(crate) struct List {
    pub(crate) entries: Vec<Value>,
    pub(crate) left_off: u64,
}

impl JetStream {
    /// Begins to connect; it goes on in the background, and after each loss again.
    pub(crate) async fn connect(
        config: &Config,
        credentials: Option<(String, Secret)>,
    ) -> anyhow::Result<Self> {
        let mut options = ConnectOptions::new()
            .name("klinecast-broker")
            .connection_timeout(ANSWER_DEADLINE)
            .request_timeout(Some(ANSWER_DEADLINE))
            .ping_interval(Duration::from_secs(5))
            .retry_on_initial_connect()
            .reconnect_delay_callback(|attempts| {
                let exponent = u32::try_from(attempts.min(7)).unwrap_or(7);
                RECONNECT_DELAY_MAX.min(Duration::from_millis(10) * 2u32.pow(exponent))
            });
        if let Some((user, password)) = credentials {
            options = options.user_and_password(user, password.0);
        }
        if let Some(tls) = &config.nats.tls {
            if let Some(file) = &tls.ca_file {
                options = options.add_root_certificates(file.clone());
            }
            if tls.verify {
                options =
                    options.add_client_certificate(tls.cert_file.clone(), tls.key_file.clone());
            }
        }
        // The library's own text may contain what it logs in with.
        let client = options.connect(config.servers()).await.map_err(|error| {
            anyhow::anyhow!("failed to connect to nats-server: {}", error.kind())
        })?;
        Ok(Self { client })
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    /// The server as it introduced itself.
    pub(crate) fn server_info(&self) -> async_nats::ServerInfo {
        self.client.server_info()
    }

    /// Ends the connection once all publications are sent.
    pub(crate) async fn close(&self) {
        if self.is_connected() {
            let _ = tokio::time::timeout(Duration::from_secs(1), self.client.flush()).await;
        }
        let _ = self.client.drain().await;
    }

    /// Publishes to whom it may concern, and waits until the server has it.
    pub(crate) async fn publish(&self, subject: &str, payload: Bytes) -> Result<(), NatsError> {
        if !self.is_connected() {
            return Err(NatsError::Disconnected);
        }
        self.client
            .publish(subject.to_owned(), payload)
            .await
            .map_err(|error| NatsError::Unsendable(error.to_string()))?;
        match tokio::time::timeout(ANSWER_DEADLINE, self.client.flush()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(NatsError::Disconnected),
            Err(_) => Err(NatsError::Timeout),
        }
    }

    /// Publishes without waiting; lost if there is no connection.
    pub(crate) async fn publish_soon(
        &self,
        subject: String,
        payload: Bytes,
    ) -> Result<(), NatsError> {
        if !self.is_connected() {
            return Err(NatsError::Disconnected);
        }
        let sent = self.client.publish(subject, payload).await;
        sent.map_err(|error| NatsError::Unsendable(error.to_string()))
    }

    /// Publishes, and waits for the acknowledgement of the stream that stored it.
    pub(crate) async fn publish_stored(
        &self,
        subject: &str,
        payload: Bytes,
    ) -> Result<Value, NatsError> {
        let answer = self.ask(subject.to_owned(), payload).await?;
        checked(answer)
    }

    /// Asks JetStream's API.
    pub(crate) async fn request(&self, subject: &str, body: &Value) -> Result<Value, NatsError> {
        let payload = match body {
            Value::Null => Bytes::new(),
            body => Bytes::from(body.to_string()),
        };
        let answer = self.ask(format!("$JS.API.{subject}"), payload).await?;
        checked(answer)
    }

    async fn ask(&self, subject: String, payload: Bytes) -> Result<Value, NatsError> {
        if !self.is_connected() {
            return Err(NatsError::Disconnected);
        }
        let request = Request::new()
            .payload(payload)
            .timeout(Some(ANSWER_DEADLINE));
        let answer =
            self.client
                .send_request(subject, request)
                .await
                .map_err(|error| match error.kind() {
                    RequestErrorKind::NoResponders => NatsError::NoJetStream,
                    RequestErrorKind::TimedOut if !self.is_connected() => NatsError::Disconnected,
                    RequestErrorKind::TimedOut => NatsError::Timeout,
                    _ => NatsError::Unsendable(error.to_string()),
                })?;
        serde_json::from_slice(&answer.payload)
            .map_err(|_| NatsError::Unsendable("what answered is not JetStream".to_owned()))
    }

    /// The configuration and state of a stream.
    pub(crate) async fn stream(&self, name: &str) -> Result<Value, NatsError> {
        self.request(&format!("STREAM.INFO.{name}"), &Value::Null)
            .await
    }

    /// All streams, up to a bound.
    pub(crate) async fn streams(&self) -> Result<List, NatsError> {
        self.list("STREAM.LIST", "streams", &json!({})).await
    }

    /// The names of the streams that a subject goes to.
    pub(crate) async fn streams_of(&self, subject: &str) -> Result<Vec<String>, NatsError> {
        let page = self
            .request("STREAM.NAMES", &json!({ "subject": subject }))
            .await?;
        let names = page["streams"].as_array().into_iter().flatten();
        Ok(names.filter_map(Value::as_str).map(str::to_owned).collect())
    }

    /// The consumers of a stream, up to a bound.
    pub(crate) async fn consumers(&self, stream: &str) -> Result<List, NatsError> {
        self.list(&format!("CONSUMER.LIST.{stream}"), "consumers", &json!({}))
            .await
    }

    /// One message: the first one from `sequence` on that matches `subject`.
    pub(crate) async fn message(
        &self,
        stream: &str,
        subject: &str,
        sequence: u64,
    ) -> Result<Value, NatsError> {
        let body = json!({ "seq": sequence, "next_by_subj": subject });
        let answer = self
            .request(&format!("STREAM.MSG.GET.{stream}"), &body)
            .await?;
        Ok(answer["message"].clone())
    }

    async fn list(&self, subject: &str, field: &str, body: &Value) -> Result<List, NatsError> {
        let mut entries = Vec::new();
        let mut total = 0;
        for _ in 0..PAGES_MAX {
            let mut body = body.clone();
            body["offset"] = json!(entries.len());
            let mut page = self.request(subject, &body).await?;
            total = page["total"].as_u64().unwrap_or(0);
            let Value::Array(found) = page[field].take() else {
                break;
            };
            let is_last = found.is_empty();
            entries.extend(found);
            if is_last || entries.len() as u64 >= total {
                break;
            }
        }
        Ok(List {
            left_off: total.saturating_sub(entries.len() as u64),
            entries,
        })
    }
}

fn checked(answer: Value) -> Result<Value, NatsError> {
    let Some(error) = answer.get("error") else {
        return Ok(answer);
    };
    let description = error["description"].as_str().unwrap_or("no reason given");
    Err(NatsError::Refused {
        status: error["code"].as_u64().unwrap_or(500),
        code: error["err_code"].as_u64().unwrap_or(0),
        description: description.chars().take(500).collect(),
    })
}
