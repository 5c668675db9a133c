//! A bus that fails on demand, around the memory bus.

use std::sync::Arc;

use async_trait::async_trait;
use bus::{
    Append, Appended, Bus, BusError, BusLayer, Consumer, ConsumerSpec, Headers, MemoryBus, Message,
    Page, Range, StreamSpec, StreamStatus, StreamStore,
};
use bytes::Bytes;
use tokio::sync::watch;

/// What a publication meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The task that publishes panics.
    Panic,
    /// The bus is away.
    Disconnected,
    /// JetStream has no room.
    NoRoom,
    /// It does not know what a publication expects, and refuses it, as nats-server before 2.12.
    Unfenced,
    /// It does not answer until the fault is over.
    Unanswered,
}

/// See the module.
pub(crate) struct FaultyBus {
    inner: MemoryBus,
    fault: watch::Sender<Option<(&'static str, Fault)>>,
}

impl FaultyBus {
    /// One without a fault.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            inner: MemoryBus::with_streams(&service::streams()),
            fault: watch::Sender::new(None),
        })
    }

    /// Publications to subjects that begin so meet `fault` from now on.
    pub(crate) fn set(&self, prefix: &'static str, fault: Option<Fault>) {
        self.fault.send_replace(fault.map(|fault| (prefix, fault)));
    }

    async fn meet(&self, subject: &str) -> Result<(), BusError> {
        let mut faults = self.fault.subscribe();
        let of_subject = |fault: &Option<(&'static str, Fault)>| {
            fault.filter(|(prefix, _)| subject.starts_with(prefix))
        };
        let is_answered = |fault: &_| !matches!(of_subject(fault), Some((_, Fault::Unanswered)));
        let fault = *faults.wait_for(is_answered).await.expect("the bus lives");
        match of_subject(&fault) {
            None | Some((_, Fault::Unanswered)) => Ok(()),
            Some((_, Fault::Panic)) => panic!("fault of the test at {subject}"),
            Some((_, Fault::Disconnected)) => Err(BusError::Disconnected),
            Some((_, Fault::Unfenced)) => Err(BusError::NotAsExpected {
                subject: subject.to_owned(),
            }),
            Some((_, Fault::NoRoom)) => Err(BusError::JetStream {
                action: "store".to_owned(),
                reason: "insufficient resources".to_owned(),
                retryable: true,
            }),
        }
    }
}

#[async_trait]
impl BusLayer for FaultyBus {
    fn inner(&self) -> &dyn Bus {
        &self.inner
    }

    async fn publish(&self, subject: &str, payload: Bytes) -> Result<(), BusError> {
        self.meet(subject).await?;
        self.inner.publish(subject, payload).await
    }

    async fn publish_with(
        &self,
        subject: &str,
        headers: Headers,
        payload: Bytes,
    ) -> Result<(), BusError> {
        self.meet(subject).await?;
        self.inner.publish_with(subject, headers, payload).await
    }

    async fn publish_durable(&self, subject: &str, payload: Bytes) -> Result<(), BusError> {
        self.meet(subject).await?;
        self.inner.publish_durable(subject, payload).await
    }

    fn streams(&self) -> &dyn StreamStore {
        self
    }
}

#[async_trait]
impl StreamStore for FaultyBus {
    async fn append(&self, append: Append) -> Result<Appended, BusError> {
        self.meet(&append.subject).await?;
        self.inner.append(append).await
    }

    async fn append_all(&self, batch: Vec<Append>) -> Result<u64, BusError> {
        for append in &batch {
            self.meet(&append.subject).await?;
        }
        self.inner.append_all(batch).await
    }

    async fn last(&self, subject: &str) -> Result<Option<Message>, BusError> {
        self.inner.last(subject).await
    }

    async fn range(&self, range: &Range) -> Result<Page, BusError> {
        self.inner.range(range).await
    }

    async fn consume(&self, spec: &ConsumerSpec) -> Result<Consumer, BusError> {
        self.inner.consume(spec).await
    }

    async fn delete_consumer(&self, root: &str, name: &str) -> Result<bool, BusError> {
        self.inner.delete_consumer(root, name).await
    }

    async fn put_stream(&self, spec: StreamSpec) -> Result<(), BusError> {
        self.inner.put_stream(spec).await
    }

    async fn status(&self, root: &str) -> Result<Option<StreamStatus>, BusError> {
        self.inner.status(root).await
    }

    async fn statuses(&self) -> Result<Vec<StreamStatus>, BusError> {
        self.inner.statuses().await
    }

    async fn delete_stream(&self, root: &str) -> Result<bool, BusError> {
        self.inner.delete_stream(root).await
    }
}
