//! A bus whose pages lack the newest messages, as those of a server that lags behind the leader of a
//! stream.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bus::{
    Append, Appended, Bus, BusError, BusLayer, Consumer, ConsumerSpec, MemoryBus, Message, Page,
    Range, StreamSpec, StreamStatus, StreamStore,
};

/// See the module.
pub(super) struct LaggingBus {
    pub(super) inner: Arc<MemoryBus>,
    /// Its pages end here.
    pub(super) up_to: u64,
    /// So many pages.
    pub(super) pages: AtomicU64,
}

impl LaggingBus {
    /// Whether this page lags.
    fn lags(&self) -> bool {
        let left = |left: u64| left.checked_sub(1);
        self.pages
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, left)
            .is_ok()
    }

    fn has(&self, message: &Message) -> bool {
        let position = message.position.as_ref();
        position.is_none_or(|position| position.sequence <= self.up_to)
    }
}

#[async_trait]
impl BusLayer for LaggingBus {
    fn inner(&self) -> &dyn Bus {
        &*self.inner
    }

    async fn last_values(&self, pattern: &str) -> Result<Vec<Message>, BusError> {
        let mut kept = self.inner.last_values(pattern).await?;
        if self.lags() {
            kept.retain(|message| self.has(message));
        }
        Ok(kept)
    }

    fn streams(&self) -> &dyn StreamStore {
        self
    }
}

#[async_trait]
impl StreamStore for LaggingBus {
    async fn append(&self, append: Append) -> Result<Appended, BusError> {
        self.inner.append(append).await
    }

    async fn append_all(&self, batch: Vec<Append>) -> Result<u64, BusError> {
        self.inner.append_all(batch).await
    }

    async fn last(&self, subject: &str) -> Result<Option<Message>, BusError> {
        self.inner.last(subject).await
    }

    async fn range(&self, range: &Range) -> Result<Page, BusError> {
        let mut page = self.inner.range(range).await?;
        if self.lags() {
            page.messages.retain(|message| self.has(message));
        }
        Ok(page)
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
