//! Carries messages: NATS, or memory. One suite of contract tests runs on both.
//!
//! # Layout
//!
//! - [`Bus`]: the operations of both: publish, subscribe, last values, drain;
//! - [`MemoryBus`]: inside one process, for `klinecast` and for tests;
//! - [`NatsBus`]: between processes, over NATS with JetStream;
//! - [`StreamSpec`]: which subjects keep how many messages, as the caller wants it on both;
//! - [`Message`]: a subject, bytes, headers, and a position where a stream kept it;
//! - [`StreamStore`]: pages of the past ([`Range`]), acknowledged reading ([`Consumer`]), conditional
//!   publications ([`Append`]), and the streams' administration ([`StreamStatus`]);
//! - [`Requests`]: questions and answers;
//! - [`LeaseKey`]: one holder at a time, with a number that only rises;
//! - [`connect`]: the bus that a [`BusConfig`] names.
//!
//! A bus carries subjects and bytes. It does not know what a bar is.
//!
//! # Starting without a hole
//!
//! Subscribe first, then read [`Bus::last_values`]: a message that is published in between arrives
//! in both, never in neither. After [`Delivery::Lagged`] or [`Delivery::Reconnected`], read the
//! last values again, because messages were missed.
//!
//! # Metrics
//!
//! | name | what |
//! |---|---|
//! | `bus_published_total` | messages handed to the bus, or stored by it |
//! | `bus_publish_seconds` | time until a durable publication was stored |
//! | `bus_messages_lost_total{reason}` | `subscriber_queue`: a subscriber read too slowly; `client_queue`: the process read too slowly; `retention_full`: delivered, but not retained |
//! | `bus_questions_refused_total` | questions refused because too many waited |
//! | `bus_redeliveries_total` | messages given out again because nobody acknowledged them |
//! | `bus_reconnects_total` | times that the connection came back |
//! | `bus_streams_created_total` | streams that had gone missing while connected and were created again |
//! | `bus_connected` | 1 while connected, 0 while not |

mod address;
mod admin;
mod append;
mod config;
mod consumer;
mod error;
mod lease;
mod log_limit;
mod memory;
mod message;
mod meter;
mod nats;
mod queue;
mod range;
mod request;
mod spec;
mod store;
mod subject;
mod subscription;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

pub use address::BusAddress;
pub use admin::{StreamHealth, StreamStatus};
pub use append::{Append, Appended, DUPLICATE_WINDOW, Expected};
pub use config::{BusConfig, StreamStorage};
pub use consumer::{Consumer, ConsumerSpec, ConsumerStatus, IN_FLIGHT_MAX, Taken, WAIT_MAX};
pub use error::BusError;
pub use lease::{Claim, Holding, Lease, LeaseEvent, LeaseKey, LeaseWatch, Renewal};
pub use log_limit::LogLimit;
pub use memory::MemoryBus;
pub use message::{Delivery, HEADER_BYTES_MAX, HEADERS_MAX, Headers, Message, Position};
pub use nats::NatsBus;
pub use range::{PAGE_MESSAGES_MAX, Page, Range, Start};
pub use request::{Question, Requests, Responder};
pub use spec::StreamSpec;
pub use store::StreamStore;
pub use subject::{Pattern, SUBJECT_BYTES_MAX, check_subject};
pub use subscription::Subscription;

/// Moves messages between the parts of Klinecast. Subjects are without the configured prefix.
#[async_trait]
pub trait Bus: Send + Sync + 'static {
    /// Publishes at most once, for values that the next one replaces (forming bars, status).
    ///
    /// Messages that one task publishes arrive in that order. Never waits longer than
    /// `bus_publish_deadline_ms`. While NATS is disconnected, it fails at once, so that no old
    /// value is sent after the reconnect.
    ///
    /// # Errors
    /// `Subject`, `PayloadTooLarge`, `Closed`; retryable: `Disconnected`, `Timeout`.
    async fn publish(&self, subject: &str, payload: Bytes) -> Result<(), BusError>;

    /// As `publish`, with headers beside the payload.
    ///
    /// # Errors
    /// As `publish`.
    async fn publish_with(
        &self,
        subject: &str,
        headers: Headers,
        payload: Bytes,
    ) -> Result<(), BusError>;

    /// Publishes and returns once the bus has stored the message, for values that no reader may
    /// miss (closed bars).
    ///
    /// On NATS it retries through an outage until `bus_durable_deadline_ms`. A retry can store and
    /// deliver the message twice, so consumers must be idempotent. Publications of one subject keep
    /// their order if each is awaited before the next. In a durable stream (see [`StreamSpec`]) it
    /// survives a restart of the server.
    ///
    /// # Errors
    /// `Subject`, `NotRetained`, `PayloadTooLarge`, `RetentionFull`, `Closed`; retryable: `Timeout`,
    /// `Disconnected`, `JetStream`.
    async fn publish_durable(&self, subject: &str, payload: Bytes) -> Result<(), BusError>;

    /// Subscribes to `pattern`, with NATS wildcards: `*` is one token, a last `>` is one or more.
    /// When this returns, the subscription is active: all later messages arrive.
    ///
    /// # Errors
    /// `Pattern`, `Closed`; retryable: `Disconnected`, `Timeout`.
    async fn subscribe(&self, pattern: &str) -> Result<Subscription, BusError>;

    /// The retained messages of every matching subject, oldest first per subject, each with its
    /// position.
    ///
    /// # Errors
    /// `Pattern`, `Closed`; retryable: `Disconnected`, `Timeout`, `JetStream`.
    async fn last_values(&self, pattern: &str) -> Result<Vec<Message>, BusError>;

    /// The streams: conditional publications, reads of the past, acknowledged reading.
    fn streams(&self) -> &dyn StreamStore;

    /// Questions and answers.
    fn requests(&self) -> &dyn Requests;

    /// Returns once the server has processed all earlier publications.
    ///
    /// # Errors
    /// `Closed`; retryable: `Disconnected`, `Timeout`.
    async fn flush(&self) -> Result<(), BusError>;

    /// Ends the bus for all its holders: sends the pending publications, and lets every
    /// subscription receive the messages that have arrived, after which `recv` returns `None`. It
    /// takes a bounded time. A second call does nothing.
    ///
    /// # Errors
    /// `Disconnected` or `Timeout` if the last publications may not have reached the server; the
    /// bus is still closed.
    async fn drain(&self) -> Result<(), BusError>;

    /// Whether the bus is connected now. A memory bus is connected until it drains.
    fn is_connected(&self) -> bool;
}

/// Connects to the bus that `config` names, which keeps what `streams` say.
///
/// # Errors
/// As [`NatsBus::connect`], or `Config` if the configuration is invalid.
pub async fn connect(config: &BusConfig, streams: &[StreamSpec]) -> Result<Arc<dyn Bus>, BusError> {
    if config.bus.is_memory() {
        return Ok(Arc::new(MemoryBus::new(config, streams)?));
    }
    Ok(Arc::new(NatsBus::connect(config, streams).await?))
}
