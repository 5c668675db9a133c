//! The streams of the memory bus, as their users see them.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::task::coop::consume_budget;

use super::MemoryBus;
use super::consumer::MemoryConsumer;
use super::stream::{Kept, Stream};
use crate::append::check_batch;
use crate::consumer::rooted;
use crate::subject::check_subject;
use crate::{
    Append, Appended, BusError, Consumer, ConsumerSpec, Expected, Message, Page, Range, StreamSpec,
    StreamStatus, StreamStore,
};

impl MemoryBus {
    /// The stream of a pattern whose first token is a root.
    fn stream_with(&self, root: &str) -> Result<Arc<Stream>, BusError> {
        self.check_open()?;
        self.shared
            .stream(root)
            .ok_or_else(|| self.not_retained(root))
    }

    fn status_of(&self, stream: &Stream) -> StreamStatus {
        stream.status(self.prefix.stream_name(&stream.root))
    }
}

/// Whether the stream is as a publication expects.
pub(super) fn is_as_expected(kept: &Kept, append: &Append) -> bool {
    match &append.expected {
        None => true,
        Some(Expected::LastOfSubject(sequence)) => kept.last_of(&append.subject) == *sequence,
        Some(Expected::LastOf { subject, sequence }) => kept.last_of(subject) == *sequence,
        Some(Expected::LastOfStream(sequence)) => kept.last_sequence == *sequence,
    }
}

#[async_trait]
impl StreamStore for MemoryBus {
    async fn append(&self, append: Append) -> Result<Appended, BusError> {
        append.check()?;
        let stream = self.stream_of(&append.subject)?;
        consume_budget().await;
        let headers = (!append.headers.is_empty()).then(|| Arc::new(append.headers.clone()));
        loop {
            self.check_open()?;
            let routing = self.shared.routing.read().expect("nothing panics under it");
            let Some(route) = routing.routes.get(append.subject.as_str()) else {
                drop(routing);
                self.add_route(&append.subject);
                continue;
            };
            let (Some(stream), Some(subject)) = (&route.stream, route.subject_id) else {
                return Err(self.retention_full(&stream));
            };
            let mut kept = stream.lock();
            // Before the id, as nats-server does it.
            if !is_as_expected(&kept, &append) {
                return Err(BusError::NotAsExpected {
                    subject: append.subject,
                });
            }
            let id = append.message_id.as_deref();
            if let Some(sequence) = id.and_then(|id| kept.sequence_of_id(id)) {
                return Ok(Appended {
                    sequence,
                    is_duplicate: true,
                });
            }
            let sequence = kept.put(subject, append.payload.clone(), headers.clone());
            if let Some(id) = id {
                kept.remember_id(id, sequence);
            }
            route.push(&append.payload, headers.as_ref());
            stream.changed.notify_waiters();
            self.meter.published();
            return Ok(Appended {
                sequence,
                is_duplicate: false,
            });
        }
    }

    async fn append_all(&self, batch: Vec<Append>) -> Result<u64, BusError> {
        check_batch(&batch)?;
        self.put_all(batch).await
    }

    async fn last(&self, subject: &str) -> Result<Option<Message>, BusError> {
        self.check_open()?;
        let stream = self.stream_of(subject)?;
        let kept = stream.lock();
        Ok(kept.message(kept.last_of(subject)))
    }

    async fn range(&self, range: &Range) -> Result<Page, BusError> {
        range.check()?;
        let (root, pattern) = rooted(&range.pattern)?;
        let stream = self.stream_with(&root)?;
        consume_budget().await;
        stream.lock().page(range, &pattern)
    }

    async fn consume(&self, spec: &ConsumerSpec) -> Result<Consumer, BusError> {
        let (root, _) = spec.check()?;
        let stream = self.stream_with(&root)?;
        MemoryConsumer::new(&self.shared, stream, spec).map(Consumer::new)
    }

    async fn delete_consumer(&self, root: &str, name: &str) -> Result<bool, BusError> {
        let stream = self.stream_with(root)?;
        let is_deleted = stream.lock().readers.remove(name).is_some();
        stream.changed.notify_waiters();
        Ok(is_deleted)
    }

    async fn put_stream(&self, spec: StreamSpec) -> Result<(), BusError> {
        spec.check()?;
        self.check_open()?;
        if let Some(stream) = self.shared.stream(&spec.root) {
            stream.lock().set_spec(spec);
            return Ok(());
        }
        self.add_stream(spec);
        self.clear_routes();
        Ok(())
    }

    async fn status(&self, root: &str) -> Result<Option<StreamStatus>, BusError> {
        self.check_open()?;
        let stream = self.shared.stream(root);
        Ok(stream.map(|stream| self.status_of(&stream)))
    }

    async fn statuses(&self) -> Result<Vec<StreamStatus>, BusError> {
        self.check_open()?;
        let streams = self.shared.streams.read().expect("nothing panics under it");
        let statuses = streams.iter().map(|stream| self.status_of(stream));
        Ok(statuses.collect())
    }

    async fn delete_stream(&self, root: &str) -> Result<bool, BusError> {
        check_subject(root)?;
        self.check_open()?;
        let mut streams = self
            .shared
            .streams
            .write()
            .expect("nothing panics under it");
        let index = streams.iter().position(|stream| &*stream.root == root);
        let Some(stream) = index.map(|index| streams.remove(index)) else {
            return Ok(false);
        };
        drop(streams);
        self.clear_routes();
        stream.lock().is_deleted = true;
        stream.changed.notify_waiters();
        Ok(true)
    }
}
