//! The bus inside one process.

mod batch;
mod consumer;
mod reader;
mod request;
mod server;
mod store;
mod stream;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, RwLock, Weak};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::task::coop::consume_budget;
use tracing::warn;

use crate::log_limit::LogLimit;
use crate::meter::{self, LostReason, PublishMeter};
use crate::queue::Queue;
use crate::spec::{self, StreamSpec, root_of};
use crate::subject::{Pattern, Prefix, check_subject};
use crate::{Bus, BusConfig, BusError, Headers, Message, Requests, StreamStore, Subscription};

use server::Server;
use stream::{Stream, SubjectId};

/// Subjects whose routes are remembered. A deployment of 10,000 symbols has about as many. Beyond
/// it, routes are looked up again, which is only slower.
const ROUTES_MAX: usize = 65_536;

const FULL_LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Moves messages between the tasks of one process. The last values live as long as the bus.
///
/// Publishing never waits: a subscriber that does not keep up loses its oldest messages and is told
/// (see [`crate::Delivery::Lagged`]).
pub struct MemoryBus {
    shared: Arc<Shared>,
    buffer_messages: usize,
    buffer_bytes: usize,
    questions_max: usize,
    prefix: Prefix,
    subjects_max: usize,
    meter: PublishMeter,
    full_log: LogLimit,
}

#[derive(Default)]
struct Shared {
    /// Publishing takes the read lock, subscribing the write lock. A publication holds its read
    /// lock from the look-up of the route to the last delivery, so a subscriber that then reads the
    /// last values misses nothing.
    routing: RwLock<Routing>,
    /// By root, in the order in which the caller named them.
    streams: RwLock<Vec<Arc<Stream>>>,
    is_closed: AtomicBool,
    /// Reconnects that were told.
    reconnects: AtomicU64,
}

#[derive(Default)]
struct Routing {
    queues: Vec<Arc<Queue>>,
    servers: Vec<Arc<Server>>,
    /// By subject, for the current `queues` and streams.
    routes: HashMap<Arc<str>, Arc<Route>>,
}

/// Where the messages of one subject go.
struct Route {
    subject: Arc<str>,
    queues: Vec<Arc<Queue>>,
    stream: Option<Arc<Stream>>,
    /// `None` if no stream keeps the subject, or its stream has too many subjects.
    subject_id: Option<SubjectId>,
}

impl MemoryBus {
    /// A bus with the bounds of `config` and the streams of `specs`; values for NATS are ignored.
    ///
    /// # Errors
    /// `Config` if the prefix is not a valid subject (nobody shares a memory bus, so the prefix
    /// has no other effect), or a stream cannot be kept.
    pub fn new(config: &BusConfig, specs: &[StreamSpec]) -> Result<MemoryBus, BusError> {
        MemoryBus::build(config, specs, stream::SUBJECTS_MAX)
    }

    fn build(
        config: &BusConfig,
        specs: &[StreamSpec],
        subjects_max: usize,
    ) -> Result<MemoryBus, BusError> {
        let prefix = Prefix::new(&config.bus_prefix)?;
        spec::check_all(specs)?;
        meter::describe();
        meter::connected(true);
        let bus = MemoryBus {
            shared: Arc::default(),
            buffer_messages: config.bus_buffer_messages,
            buffer_bytes: config.bus_buffer_bytes,
            questions_max: config.bus_questions_max.max(1),
            prefix,
            subjects_max,
            meter: PublishMeter::default(),
            full_log: LogLimit::new(FULL_LOG_INTERVAL),
        };
        for spec in specs {
            bus.add_stream(spec.clone());
        }
        Ok(bus)
    }

    /// A bus with the default bounds.
    ///
    /// # Panics
    /// If one of `specs` cannot be kept.
    pub fn with_streams(specs: &[StreamSpec]) -> MemoryBus {
        MemoryBus::new(&BusConfig::default(), specs).expect("the streams can be kept")
    }

    /// Tells all subscribers that the connection was lost and is back, as
    /// [`crate::Delivery::Reconnected`] describes it. For tests of what subscribers do then.
    pub fn tell_reconnected(&self) {
        let reconnect = self.shared.reconnects.fetch_add(1, Ordering::AcqRel) + 1;
        let routing = self.shared.routing.read().expect("nothing panics under it");
        for queue in &routing.queues {
            queue.push_reconnected(reconnect);
        }
    }

    fn add_stream(&self, spec: StreamSpec) {
        let stream = Stream::new(spec, self.subjects_max);
        let mut streams = self
            .shared
            .streams
            .write()
            .expect("nothing panics under it");
        streams.push(Arc::new(stream));
    }

    /// The stream that keeps `subject`, which has no wildcard.
    fn stream_of(&self, subject: &str) -> Result<Arc<Stream>, BusError> {
        check_subject(subject)?;
        let found = root_of(subject).and_then(|root| self.shared.stream(root));
        found.ok_or_else(|| self.not_retained(subject))
    }

    fn not_retained(&self, subject: &str) -> BusError {
        let streams = self.shared.streams.read().expect("nothing panics under it");
        BusError::NotRetained {
            subject: subject.to_owned(),
            retained: spec::list(streams.iter().map(|stream| format!("{}.>", stream.root))),
        }
    }

    /// After the streams have changed.
    fn clear_routes(&self) {
        let mut routing = self
            .shared
            .routing
            .write()
            .expect("nothing panics under it");
        routing.routes.clear();
    }

    fn check_open(&self) -> Result<(), BusError> {
        match self.shared.is_closed() {
            true => Err(BusError::Closed),
            false => Ok(()),
        }
    }

    /// Stores and delivers a message; returns the route.
    fn send(
        &self,
        subject: &str,
        payload: &Bytes,
        headers: Option<&Arc<Headers>>,
    ) -> Result<Arc<Route>, BusError> {
        loop {
            self.check_open()?;
            let routing = self.shared.routing.read().expect("nothing panics under it");
            if let Some(route) = routing.routes.get(subject) {
                route.deliver(payload, headers);
                self.meter.published();
                return Ok(Arc::clone(route));
            }
            drop(routing);
            check_subject(subject)?;
            self.add_route(subject);
        }
    }

    fn add_route(&self, subject: &str) {
        let subject: Arc<str> = subject.into();
        let mut routing = self
            .shared
            .routing
            .write()
            .expect("nothing panics under it");
        let mut queues = Vec::new();
        for queue in &routing.queues {
            if queue.pattern().matches(&subject) {
                queues.push(Arc::clone(queue));
            }
        }
        if routing.routes.len() >= ROUTES_MAX {
            routing.routes.clear();
        }
        let stream = root_of(&subject).and_then(|root| self.shared.stream(root));
        let subject_id = stream.as_ref().and_then(|stream| {
            let id = stream.lock().subject(&subject);
            if id.is_none() {
                self.report_full(stream, &subject);
            }
            id
        });
        let route = Route {
            subject: Arc::clone(&subject),
            queues,
            stream,
            subject_id,
        };
        routing.routes.insert(subject, Arc::new(route));
    }

    fn report_full(&self, stream: &Stream, subject: &str) {
        if let Some(subjects) = self.full_log.pass(Instant::now(), 1) {
            warn!(
                root = &*stream.root,
                subjects_max = self.subjects_max,
                subject,
                subjects,
                "too many retained subjects: new ones are not retained"
            );
        }
    }

    fn retention_full(&self, stream: &Stream) -> BusError {
        BusError::RetentionFull {
            root: stream.root.to_string(),
            subjects_max: self.subjects_max,
        }
    }
}

impl Shared {
    fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Acquire)
    }

    /// The stream with this root.
    fn stream(&self, root: &str) -> Option<Arc<Stream>> {
        let streams = self.streams.read().expect("nothing panics under it");
        streams.iter().find(|stream| &*stream.root == root).cloned()
    }
}

impl Route {
    fn deliver(&self, payload: &Bytes, headers: Option<&Arc<Headers>>) {
        match (&self.stream, self.subject_id) {
            (Some(stream), Some(subject)) => {
                let mut kept = stream.lock();
                kept.put(subject, payload.clone(), headers.cloned());
                self.push(payload, headers);
                if !kept.readers.is_empty() {
                    stream.changed.notify_waiters();
                }
            }
            (Some(_), None) => {
                meter::lost(LostReason::RetentionFull, 1);
                self.push(payload, headers);
            }
            (None, _) => self.push(payload, headers),
        }
    }

    fn push(&self, payload: &Bytes, headers: Option<&Arc<Headers>>) {
        for queue in &self.queues {
            queue.push(Message {
                subject: Arc::clone(&self.subject),
                payload: payload.clone(),
                headers: headers.cloned(),
                position: None,
            });
        }
    }
}

#[async_trait]
impl Bus for MemoryBus {
    async fn publish(&self, subject: &str, payload: Bytes) -> Result<(), BusError> {
        // It never waits, so a task that only publishes would never yield its thread.
        consume_budget().await;
        self.send(subject, &payload, None).map(|_| ())
    }

    async fn publish_with(
        &self,
        subject: &str,
        headers: Headers,
        payload: Bytes,
    ) -> Result<(), BusError> {
        consume_budget().await;
        let headers = (!headers.is_empty()).then(|| Arc::new(headers));
        self.send(subject, &payload, headers.as_ref()).map(|_| ())
    }

    async fn publish_durable(&self, subject: &str, payload: Bytes) -> Result<(), BusError> {
        let stream = self.stream_of(subject)?;
        consume_budget().await;
        let started_at = Instant::now();
        let route = self.send(subject, &payload, None)?;
        if route.subject_id.is_none() {
            return Err(self.retention_full(&stream));
        }
        meter::stored(started_at.elapsed());
        Ok(())
    }

    async fn subscribe(&self, pattern: &str) -> Result<Subscription, BusError> {
        let pattern = Pattern::new(pattern)?;
        let queue = Arc::new(Queue::new(pattern, self.buffer_messages, self.buffer_bytes));
        let mut routing = self
            .shared
            .routing
            .write()
            .expect("nothing panics under it");
        // Under the lock, because `drain` closes the queues that exist then.
        if self.shared.is_closed() {
            return Err(BusError::Closed);
        }
        routing.queues.push(Arc::clone(&queue));
        routing.routes.clear();
        drop(routing);
        let guard = Unsubscribe {
            shared: Arc::downgrade(&self.shared),
            queue: Arc::clone(&queue),
        };
        Ok(Subscription::new(queue, guard))
    }

    async fn last_values(&self, pattern: &str) -> Result<Vec<Message>, BusError> {
        let pattern = Pattern::new(pattern)?;
        self.check_open()?;
        let streams = self.shared.streams.read().expect("nothing panics under it");
        let mut messages = Vec::new();
        for stream in &*streams {
            messages.extend(stream.lock().messages_of(&pattern));
        }
        Ok(messages)
    }

    fn streams(&self) -> &dyn StreamStore {
        self
    }

    fn requests(&self) -> &dyn Requests {
        self
    }

    async fn flush(&self) -> Result<(), BusError> {
        if self.is_connected() {
            return Ok(());
        }
        Err(BusError::Closed)
    }

    async fn drain(&self) -> Result<(), BusError> {
        let mut routing = self
            .shared
            .routing
            .write()
            .expect("nothing panics under it");
        self.shared.is_closed.store(true, Ordering::Release);
        meter::connected(false);
        for queue in routing.queues.drain(..) {
            queue.close();
        }
        // Responders receive what waits, then the end.
        routing.servers.clear();
        routing.routes.clear();
        let streams = self.shared.streams.read().expect("nothing panics under it");
        for stream in &*streams {
            stream.changed.notify_waiters();
        }
        Ok(())
    }

    fn is_connected(&self) -> bool {
        !self.shared.is_closed()
    }
}

/// Takes a subscription out of the routing when its receiver is dropped.
struct Unsubscribe {
    shared: Weak<Shared>,
    queue: Arc<Queue>,
}

impl Drop for Unsubscribe {
    fn drop(&mut self) {
        let Some(shared) = self.shared.upgrade() else {
            return;
        };
        // A poisoned lock means that another thread has panicked.
        if let Ok(mut routing) = shared.routing.write() {
            routing
                .queues
                .retain(|queue| !Arc::ptr_eq(queue, &self.queue));
            routing.routes.clear();
        }
    }
}

#[cfg(test)]
mod tests;
