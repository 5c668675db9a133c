//! A bus on top of another one.

use async_trait::async_trait;
use bytes::Bytes;

use crate::bus::Bus;
use crate::error::BusError;
use crate::message::{Headers, Message};
use crate::request::Requests;
use crate::store::StreamStore;
use crate::subscription::Subscription;

/// A [`Bus`] that passes each operation on to an inner one, except those that it has itself: for tests
/// with faults, delays and counts.
#[async_trait]
#[expect(missing_docs, reason = "each operation is that of `Bus`")]
pub trait BusLayer: Send + Sync + 'static {
    /// The bus below.
    fn inner(&self) -> &dyn Bus;

    async fn publish(&self, subject: &str, payload: Bytes) -> Result<(), BusError> {
        self.inner().publish(subject, payload).await
    }

    async fn publish_with(
        &self,
        subject: &str,
        headers: Headers,
        payload: Bytes,
    ) -> Result<(), BusError> {
        self.inner().publish_with(subject, headers, payload).await
    }

    async fn publish_durable(&self, subject: &str, payload: Bytes) -> Result<(), BusError> {
        self.inner().publish_durable(subject, payload).await
    }

    async fn subscribe(&self, pattern: &str) -> Result<Subscription, BusError> {
        self.inner().subscribe(pattern).await
    }

    async fn last_values(&self, pattern: &str) -> Result<Vec<Message>, BusError> {
        self.inner().last_values(pattern).await
    }

    fn streams(&self) -> &dyn StreamStore {
        self.inner().streams()
    }

    fn requests(&self) -> &dyn Requests {
        self.inner().requests()
    }

    fn is_connected(&self) -> bool {
        self.inner().is_connected()
    }
}

#[async_trait]
impl<L: BusLayer> Bus for L {
    async fn publish(&self, subject: &str, payload: Bytes) -> Result<(), BusError> {
        BusLayer::publish(self, subject, payload).await
    }

    async fn publish_with(
        &self,
        subject: &str,
        headers: Headers,
        payload: Bytes,
    ) -> Result<(), BusError> {
        BusLayer::publish_with(self, subject, headers, payload).await
    }

    async fn publish_durable(&self, subject: &str, payload: Bytes) -> Result<(), BusError> {
        BusLayer::publish_durable(self, subject, payload).await
    }

    async fn subscribe(&self, pattern: &str) -> Result<Subscription, BusError> {
        BusLayer::subscribe(self, pattern).await
    }

    async fn last_values(&self, pattern: &str) -> Result<Vec<Message>, BusError> {
        BusLayer::last_values(self, pattern).await
    }

    fn streams(&self) -> &dyn StreamStore {
        BusLayer::streams(self)
    }

    fn requests(&self) -> &dyn Requests {
        BusLayer::requests(self)
    }

    async fn flush(&self) -> Result<(), BusError> {
        self.inner().flush().await
    }

    async fn drain(&self) -> Result<(), BusError> {
        self.inner().drain().await
    }

    fn is_connected(&self) -> bool {
        BusLayer::is_connected(self)
    }
}
