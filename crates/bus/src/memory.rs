//! The bus inside one process.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock, Weak};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::task::coop::consume_budget;
use tracing::warn;

use crate::log_limit::LogLimit;
use crate::meter::{self, LostReason, PublishMeter};
use crate::queue::Queue;
use crate::retention::{RetainedRoot, retained_root};
use crate::subject::{Pattern, Prefix, check_subject};
use crate::{Bus, BusConfig, BusError, Message, Subscription};

/// Subjects whose routes are remembered. A deployment of 10,000 symbols has about as many. Beyond
/// it, routes are looked up again, which is only slower.
const ROUTES_MAX: usize = 65_536;

/// Subjects retained below one root.
const RETAINED_SUBJECTS_MAX: usize = 1_000_000;

const FULL_LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Moves messages between the tasks of one process. The last values live as long as the bus.
///
/// Publishing never waits: a subscriber that does not keep up loses its oldest messages and is told
/// (see [`crate::Delivery::Lagged`]).
pub struct MemoryBus {
    shared: Arc<Shared>,
    buffer_messages: usize,
    buffer_bytes: usize,
    retained_subjects_max: usize,
    meter: PublishMeter,
    full_log: LogLimit,
}

#[derive(Default)]
struct Shared {
    /// Publishing takes the read lock, subscribing the write lock. A publication holds its read
    /// lock from the look-up of the route to the last delivery, so a subscriber that then reads the
    /// last values misses nothing.
    routing: RwLock<Routing>,
    retained: RwLock<Retained>,
    is_closed: AtomicBool,
    /// Reconnects that were told.
    reconnects: AtomicU64,
}

#[derive(Default)]
struct Routing {
    queues: Vec<Arc<Queue>>,
    /// By subject, for the current `queues`.
    routes: HashMap<Arc<str>, Arc<Route>>,
}

#[derive(Default)]
struct Retained {
    /// Subjects in use, by root.
    subjects: HashMap<&'static str, usize>,
    slots: HashMap<Arc<str>, Arc<Slot>>,
}

/// Where the messages of one subject go.
struct Route {
    subject: Arc<str>,
    queues: Vec<Arc<Queue>>,
    /// `None` if the subject is not retained, or cannot be retained any more.
    slot: Option<Arc<Slot>>,
    root: Option<&'static RetainedRoot>,
}

/// The newest messages of one subject, oldest first.
struct Slot {
    depth: usize,
    payloads: Mutex<VecDeque<Bytes>>,
}

impl MemoryBus {
    /// A bus with the bounds of `config`; values for NATS are ignored.
    ///
    /// # Errors
    /// `Config` if the prefix is not a valid subject. (Nobody shares a memory bus, so the prefix
    /// has no other effect.)
    pub fn new(config: &BusConfig) -> Result<MemoryBus, BusError> {
        Prefix::new(&config.bus_prefix)?;
        meter::describe();
        meter::connected(true);
        Ok(MemoryBus {
            shared: Arc::default(),
            buffer_messages: config.bus_buffer_messages,
            buffer_bytes: config.bus_buffer_bytes,
            retained_subjects_max: RETAINED_SUBJECTS_MAX,
            meter: PublishMeter::default(),
            full_log: LogLimit::new(FULL_LOG_INTERVAL),
        })
    }

    /// A bus with the default bounds.
    pub fn with_defaults() -> MemoryBus {
        MemoryBus::new(&BusConfig::default()).expect("the default prefix is valid")
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

    /// Stores and delivers `payload`; returns the route.
    fn send(&self, subject: &str, payload: &Bytes) -> Result<Arc<Route>, BusError> {
        loop {
            if self.shared.is_closed.load(Ordering::Acquire) {
                return Err(BusError::Closed);
            }
            let routing = self.shared.routing.read().expect("nothing panics under it");
            if let Some(route) = routing.routes.get(subject) {
                route.deliver(payload);
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
        let root = retained_root(&subject);
        let slot = root.and_then(|root| self.slot(root, &subject));
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
        let route = Route {
            subject: Arc::clone(&subject),
            queues,
            slot,
            root,
        };
        routing.routes.insert(subject, Arc::new(route));
    }

    /// The slot of `subject`, created if necessary; `None` if there are too many.
    fn slot(&self, root: &'static RetainedRoot, subject: &Arc<str>) -> Option<Arc<Slot>> {
        let mut retained = self
            .shared
            .retained
            .write()
            .expect("nothing panics under it");
        if let Some(slot) = retained.slots.get(subject) {
            return Some(Arc::clone(slot));
        }
        let subjects = retained.subjects.entry(root.root).or_default();
        if *subjects >= self.retained_subjects_max {
            if let Some(subjects) = self.full_log.pass(Instant::now(), 1) {
                warn!(
                    root = root.root,
                    subjects_max = self.retained_subjects_max,
                    subject = &**subject,
                    subjects,
                    "too many retained subjects: new ones are not retained"
                );
            }
            return None;
        }
        *subjects += 1;
        let slot = Arc::new(Slot {
            depth: root.depth_per_subject,
            payloads: Mutex::default(),
        });
        retained
            .slots
            .insert(Arc::clone(subject), Arc::clone(&slot));
        Some(slot)
    }
}

impl Route {
    fn deliver(&self, payload: &Bytes) {
        let Some(slot) = &self.slot else {
            if self.root.is_some() {
                meter::lost(LostReason::RetentionFull, 1);
            }
            self.push(payload);
            return;
        };
        // Held during the delivery, so that two publishers of one subject leave the same order at
        // subscribers and in the retained values.
        let mut payloads = slot.payloads.lock().expect("nothing panics under it");
        if payloads.len() >= slot.depth {
            payloads.pop_front();
        }
        payloads.push_back(payload.clone());
        self.push(payload);
    }

    fn push(&self, payload: &Bytes) {
        for queue in &self.queues {
            queue.push(Message {
                subject: Arc::clone(&self.subject),
                payload: payload.clone(),
            });
        }
    }
}

#[async_trait]
impl Bus for MemoryBus {
    async fn publish(&self, subject: &str, payload: Bytes) -> Result<(), BusError> {
        // It never waits, so a task that only publishes would never yield its thread.
        consume_budget().await;
        self.send(subject, &payload).map(|_| ())
    }

    async fn publish_durable(&self, subject: &str, payload: Bytes) -> Result<(), BusError> {
        check_subject(subject)?;
        let Some(root) = retained_root(subject) else {
            return Err(BusError::NotRetained {
                subject: subject.to_owned(),
            });
        };
        consume_budget().await;
        let started_at = Instant::now();
        let route = self.send(subject, &payload)?;
        if route.slot.is_none() {
            return Err(BusError::RetentionFull {
                root: root.root,
                subjects_max: self.retained_subjects_max,
            });
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
        if self.shared.is_closed.load(Ordering::Acquire) {
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
        if self.shared.is_closed.load(Ordering::Acquire) {
            return Err(BusError::Closed);
        }
        let retained = self
            .shared
            .retained
            .read()
            .expect("nothing panics under it");
        let mut messages = Vec::new();
        for (subject, slot) in &retained.slots {
            if !pattern.matches(subject) {
                continue;
            }
            let payloads = slot.payloads.lock().expect("nothing panics under it");
            for payload in payloads.iter() {
                messages.push(Message {
                    subject: Arc::clone(subject),
                    payload: payload.clone(),
                });
            }
        }
        Ok(messages)
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
        routing.routes.clear();
        Ok(())
    }

    fn is_connected(&self) -> bool {
        !self.shared.is_closed.load(Ordering::Acquire)
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
mod tests {
    use super::*;
    use crate::Delivery;

    #[tokio::test]
    async fn retained_subjects_are_bounded_and_the_rest_still_travels() {
        let mut bus = MemoryBus::with_defaults();
        bus.retained_subjects_max = 2;
        let mut all = bus.subscribe(">").await.expect("the pattern is valid");
        for subject in ["closed.1m.A", "closed.1m.B"] {
            bus.publish_durable(subject, Bytes::new())
                .await
                .expect("there is room");
        }
        let error = bus
            .publish_durable("closed.1m.C", Bytes::new())
            .await
            .expect_err("there is no room");
        assert_eq!(
            error.to_string(),
            r#""closed" retains 2 subjects already, no further one"#
        );
        bus.publish("kline.1m.A", Bytes::new())
            .await
            .expect("another root has room");
        for subject in ["closed.1m.A", "closed.1m.B", "closed.1m.C", "kline.1m.A"] {
            match all.try_recv() {
                Some(Delivery::Message(message)) => assert_eq!(&*message.subject, subject),
                other => panic!("{subject} expected, got {other:?}"),
            }
        }
        let values = bus.last_values(">").await.expect("the bus is open");
        assert_eq!(values.len(), 3);
    }

    #[tokio::test]
    async fn routes_are_bounded() {
        let bus = MemoryBus::with_defaults();
        for index in 0..=ROUTES_MAX {
            bus.publish(&format!("market.{index}"), Bytes::new())
                .await
                .expect("the subject is valid");
        }
        let routes = bus.shared.routing.read().expect("unused").routes.len();
        assert_eq!(routes, 1);
    }

    #[tokio::test]
    async fn dropped_subscription_leaves_nothing_behind() {
        let bus = MemoryBus::with_defaults();
        let subscription = bus
            .subscribe("kline.>")
            .await
            .expect("the pattern is valid");
        bus.publish("kline.1m.A", Bytes::new())
            .await
            .expect("the subject is valid");
        drop(subscription);
        let routing = bus.shared.routing.read().expect("unused");
        assert!(routing.queues.is_empty());
        assert!(routing.routes.is_empty());
    }
}
