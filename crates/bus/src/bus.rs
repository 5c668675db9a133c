//! The operations of every bus.

use async_trait::async_trait;
use bytes::Bytes;

use crate::BusError;
use crate::message::{Headers, Message};
use crate::request::Requests;
use crate::store::StreamStore;
use crate::subscription::Subscription;

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
    /// their order if each is awaited before the next. In a durable stream (see [`crate::StreamSpec`]) it
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
