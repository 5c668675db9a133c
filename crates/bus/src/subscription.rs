//! The receiving end of a subscription.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use crate::Delivery;
use crate::queue::Queue;

/// Receives what matches a pattern. Dropping it unsubscribes.
pub struct Subscription {
    queue: Arc<Queue>,
    /// Taken from the queue, not yet handed out.
    taken: VecDeque<Delivery>,
    /// Unsubscribes when dropped.
    _guard: Box<dyn Send + Sync>,
}

impl Subscription {
    pub(crate) fn new(queue: Arc<Queue>, guard: impl Send + Sync + 'static) -> Subscription {
        Subscription {
            queue,
            taken: VecDeque::new(),
            _guard: Box::new(guard),
        }
    }

    /// Waits for the next delivery; `None` once the bus has drained and all was received. Cancel
    /// safe: a dropped call loses nothing.
    pub async fn recv(&mut self) -> Option<Delivery> {
        if self.taken.is_empty() {
            self.queue.take(&mut self.taken).await;
        }
        self.taken.pop_front()
    }

    /// The next delivery, if there is one, without waiting. `None` also after the drain.
    pub fn try_recv(&mut self) -> Option<Delivery> {
        if self.taken.is_empty() {
            self.queue.try_take(&mut self.taken);
        }
        self.taken.pop_front()
    }

    /// How many deliveries wait here. Others may be on their way.
    pub fn waiting(&self) -> usize {
        self.taken.len() + self.queue.len()
    }

    /// The pattern subscribed to.
    pub fn pattern(&self) -> &str {
        self.queue.pattern().as_str()
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.queue.close();
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Subscription({})", self.pattern())
    }
}
