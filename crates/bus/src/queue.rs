//! The messages that wait for one subscriber.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tracing::warn;

use crate::log_limit::LogLimit;
use crate::meter::{self, LostReason};
use crate::subject::Pattern;
use crate::{Delivery, Message};

/// Most deliveries that the receiver takes in one go, so that it locks once for all of them.
const TAKE_MAX: usize = 256;

const LAG_LOG_INTERVAL: Duration = Duration::from_secs(10);

/// A bounded queue for one receiver. When it is full, the oldest messages are dropped, because a
/// subscriber needs the newest state. The receiver is told at their place how many are missing.
pub(crate) struct Queue {
    pattern: Pattern,
    messages_max: usize,
    bytes_max: usize,
    state: Mutex<State>,
    arrived: Notify,
    lag_log: LogLimit,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Delivery>,
    messages: usize,
    bytes: usize,
    /// Lost before the first waiting message, not reported yet.
    lost: u64,
    /// A reconnect before the first waiting message, not reported yet.
    has_reconnected: bool,
    /// The newest reconnect that was reported or waits to be.
    reconnect: u64,
    is_closed: bool,
}

impl Queue {
    pub(crate) fn new(pattern: Pattern, messages_max: usize, bytes_max: usize) -> Queue {
        Queue {
            pattern,
            messages_max: messages_max.max(1),
            bytes_max,
            state: Mutex::default(),
            arrived: Notify::new(),
            lag_log: LogLimit::new(LAG_LOG_INTERVAL),
        }
    }

    pub(crate) fn pattern(&self) -> &Pattern {
        &self.pattern
    }

    /// How many deliveries wait.
    pub(crate) fn len(&self) -> usize {
        let state = self.lock();
        state.waiting.len() + usize::from(state.lost > 0) + usize::from(state.has_reconnected)
    }

    /// Adds a message, unless the queue is closed.
    pub(crate) fn push(&self, message: Message) {
        let mut state = self.lock();
        if state.is_closed {
            return;
        }
        state.messages += 1;
        state.bytes += message.bytes();
        state.waiting.push_back(Delivery::Message(message));
        // The newest message always stays, even if it alone exceeds the byte bound.
        let mut lost = 0;
        while state.messages > self.messages_max
            || (state.bytes > self.bytes_max && state.messages > 1)
        {
            match state.waiting.pop_front() {
                Some(Delivery::Message(oldest)) => {
                    state.messages -= 1;
                    state.bytes -= oldest.bytes();
                    lost += 1;
                }
                // Notices before the dropped messages are reported before the remaining messages.
                Some(Delivery::Lagged { lost: before }) => state.lost += before,
                Some(Delivery::Reconnected) => state.has_reconnected = true,
                None => break,
            }
        }
        state.lost += lost;
        drop(state);
        self.arrived.notify_one();
        if lost > 0 {
            self.report(lost);
        }
    }

    /// Tells the receiver that the connection is back, once for each reconnect: the caller counts
    /// them.
    pub(crate) fn push_reconnected(&self, reconnect: u64) {
        let mut state = self.lock();
        if reconnect <= state.reconnect {
            return;
        }
        state.reconnect = reconnect;
        // One notice stands for several: it says to read the last values again.
        if !state.is_closed && state.waiting.back() != Some(&Delivery::Reconnected) {
            state.waiting.push_back(Delivery::Reconnected);
        }
        drop(state);
        self.arrived.notify_one();
    }

    /// Tells the receiver that messages were lost on their way here; the caller has counted them.
    pub(crate) fn push_lost(&self, lost: u64) {
        let mut state = self.lock();
        if state.is_closed {
            return;
        }
        match state.waiting.back_mut() {
            Some(Delivery::Lagged { lost: before }) => *before += lost,
            _ => state.waiting.push_back(Delivery::Lagged { lost }),
        }
        drop(state);
        self.arrived.notify_one();
    }

    /// No more deliveries; waiting messages can still be received.
    pub(crate) fn close(&self) {
        self.lock().is_closed = true;
        self.arrived.notify_one();
    }

    /// Moves deliveries into `taken`, an empty one. False once closed and empty.
    pub(crate) fn try_take(&self, taken: &mut VecDeque<Delivery>) -> bool {
        let mut state = self.lock();
        if state.lost > 0 {
            taken.push_back(Delivery::Lagged {
                lost: std::mem::take(&mut state.lost),
            });
        }
        if std::mem::take(&mut state.has_reconnected) {
            taken.push_back(Delivery::Reconnected);
        }
        let count = state.waiting.len().min(TAKE_MAX);
        for delivery in state.waiting.drain(..count) {
            taken.push_back(delivery);
        }
        for delivery in taken.iter() {
            if let Delivery::Message(message) = delivery {
                state.messages -= 1;
                state.bytes -= message.bytes();
            }
        }
        !(taken.is_empty() && state.is_closed)
    }

    /// As `try_take`, but waits until there is a delivery. For one receiver; cancel safe.
    pub(crate) async fn take(&self, taken: &mut VecDeque<Delivery>) -> bool {
        loop {
            if !self.try_take(taken) {
                return false;
            }
            if !taken.is_empty() {
                return true;
            }
            // A push between the check and the wait has left its permit, so no push is missed.
            self.arrived.notified().await;
        }
    }

    fn report(&self, lost: u64) {
        meter::lost(LostReason::SubscriberQueue, lost);
        if let Some(lost) = self.lag_log.pass(Instant::now(), lost) {
            warn!(
                pattern = self.pattern.as_str(),
                lost,
                queue_len_max = self.messages_max,
                "subscriber is slow, messages dropped"
            );
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics under this lock")
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn queue(messages_max: usize, bytes_max: usize) -> Queue {
        let pattern = Pattern::new(">").expect("the pattern is valid");
        Queue::new(pattern, messages_max, bytes_max)
    }

    fn message(text: &'static str) -> Message {
        Message::new("a.b", Bytes::from_static(text.as_bytes()))
    }

    fn drain(queue: &Queue) -> Vec<String> {
        let mut seen = Vec::new();
        let mut taken = VecDeque::new();
        while queue.try_take(&mut taken) && !taken.is_empty() {
            for delivery in taken.drain(..) {
                seen.push(match delivery {
                    Delivery::Message(message) => {
                        String::from_utf8(message.payload.to_vec()).expect("tests send text")
                    }
                    Delivery::Lagged { lost } => format!("lost {lost}"),
                    Delivery::Reconnected => "reconnected".to_owned(),
                });
            }
        }
        seen
    }

    #[test]
    fn full_queue_drops_the_oldest_and_says_so_at_their_place() {
        let queue = queue(2, 1_000);
        for text in ["1", "2", "3", "4", "5"] {
            queue.push(message(text));
        }
        assert_eq!(queue.len(), 3);
        assert_eq!(drain(&queue), ["lost 3", "4", "5"]);
        assert_eq!(queue.len(), 0);
        queue.push(message("6"));
        assert_eq!(drain(&queue), ["6"]);
    }

    #[test]
    fn bytes_are_bounded_and_the_newest_stays() {
        let queue = queue(100, 10);
        queue.push(message("aaaa"));
        queue.push(message("bbbb"));
        queue.push(message("cccc"));
        assert_eq!(drain(&queue), ["lost 1", "bbbb", "cccc"]);
        queue.push(message("a payload over the bound"));
        assert_eq!(drain(&queue), ["a payload over the bound"]);
    }

    #[test]
    fn notices_keep_their_place_and_survive_a_full_queue() {
        let queue = queue(2, 1_000);
        queue.push(message("1"));
        queue.push_lost(7);
        queue.push_lost(1);
        queue.push_reconnected(1);
        queue.push_reconnected(2);
        queue.push(message("2"));
        queue.push_reconnected(2);
        assert_eq!(drain(&queue), ["1", "lost 8", "reconnected", "2"]);
        queue.push_lost(7);
        queue.push_reconnected(3);
        for text in ["3", "4", "5"] {
            queue.push(message(text));
        }
        assert_eq!(drain(&queue), ["lost 8", "reconnected", "4", "5"]);
    }

    #[test]
    fn closed_queue_gives_what_waits_and_takes_no_more() {
        let queue = queue(2, 1_000);
        queue.push(message("1"));
        queue.close();
        queue.push(message("2"));
        assert_eq!(drain(&queue), ["1"]);
        assert!(!queue.try_take(&mut VecDeque::new()));
    }
}
