//! A bus that fails on demand, around the memory bus.

use std::sync::Arc;
use std::sync::Mutex;

use async_trait::async_trait;
use bus::{Bus, BusError, Headers, MemoryBus, Message, Requests, StreamStore, Subscription};
use bytes::Bytes;

/// What a publication meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The task that publishes panics.
    Panic,
    /// The bus is away.
    Disconnected,
    /// JetStream has no room.
    NoRoom,
}

/// See the module.
pub(crate) struct FaultyBus {
    inner: MemoryBus,
    fault: Mutex<Option<(&'static str, Fault)>>,
}

impl FaultyBus {
    /// One without a fault.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            inner: MemoryBus::with_streams(&service::streams()),
            fault: Mutex::new(None),
        })
    }

    /// Publications to subjects that begin so meet `fault` from now on.
    pub(crate) fn set(&self, prefix: &'static str, fault: Option<Fault>) {
        *self.fault.lock().expect("not poisoned") = fault.map(|fault| (prefix, fault));
    }

    fn meet(&self, subject: &str) -> Result<(), BusError> {
        let fault = *self.fault.lock().expect("not poisoned");
        match fault.filter(|(prefix, _)| subject.starts_with(prefix)) {
            None => Ok(()),
            Some((_, Fault::Panic)) => panic!("fault of the test at {subject}"),
            Some((_, Fault::Disconnected)) => Err(BusError::Disconnected),
            Some((_, Fault::NoRoom)) => Err(BusError::JetStream {
                action: "store".to_owned(),
                reason: "insufficient resources".to_owned(),
                retryable: true,
            }),
        }
    }
}

#[async_trait]
impl Bus for FaultyBus {
    async fn publish(&self, subject: &str, payload: Bytes) -> Result<(), BusError> {
        self.meet(subject)?;
        self.inner.publish(subject, payload).await
    }

    async fn publish_with(
        &self,
        subject: &str,
        headers: Headers,
        payload: Bytes,
    ) -> Result<(), BusError> {
        self.meet(subject)?;
        self.inner.publish_with(subject, headers, payload).await
    }

    async fn publish_durable(&self, subject: &str, payload: Bytes) -> Result<(), BusError> {
        self.meet(subject)?;
        self.inner.publish_durable(subject, payload).await
    }

    async fn subscribe(&self, pattern: &str) -> Result<Subscription, BusError> {
        self.inner.subscribe(pattern).await
    }

    async fn last_values(&self, pattern: &str) -> Result<Vec<Message>, BusError> {
        self.inner.last_values(pattern).await
    }

    fn streams(&self) -> &dyn StreamStore {
        self.inner.streams()
    }

    fn requests(&self) -> &dyn Requests {
        self.inner.requests()
    }

    async fn flush(&self) -> Result<(), BusError> {
        self.inner.flush().await
    }

    async fn drain(&self) -> Result<(), BusError> {
        self.inner.drain().await
    }

    fn is_connected(&self) -> bool {
        self.inner.is_connected()
    }
}
