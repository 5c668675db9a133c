//! Live messages that wait for Kafka, within bounds.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bus::Message;

/// What waits. Of a channel with values that replace each other, the newest one of each subject, in
/// the place of its first one.
#[derive(Debug)]
pub(crate) struct Pending {
    is_conflated: bool,
    count_max: usize,
    bytes_max: usize,
    /// By number: messages that were replaced or pushed out are missing.
    messages: HashMap<u64, Message>,
    order: VecDeque<u64>,
    numbers: HashMap<Arc<str>, u64>,
    next: u64,
    bytes: usize,
}

/// What became of messages that were put in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fates {
    /// A newer one has replaced them.
    pub(crate) conflated: u64,
    /// They were pushed out.
    pub(crate) dropped: u64,
}

/// Bytes of a message in memory.
fn bytes_of(message: &Message) -> usize {
    message.payload.len() + message.subject.len() + 200
}

impl Pending {
    pub(crate) fn new(is_conflated: bool, count_max: usize, bytes_max: usize) -> Pending {
        Pending {
            is_conflated,
            count_max: count_max.max(1),
            bytes_max,
            messages: HashMap::new(),
            order: VecDeque::new(),
            numbers: HashMap::new(),
            next: 0,
            bytes: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.messages.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Takes a message in.
    pub(crate) fn put(&mut self, message: Message) -> Fates {
        let mut fates = Fates::default();
        if self.is_conflated
            && let Some(number) = self.numbers.get(&message.subject)
            && let Some(older) = self.messages.get_mut(number)
        {
            self.bytes = self.bytes.saturating_sub(bytes_of(older)) + bytes_of(&message);
            *older = message;
            fates.conflated = 1;
        } else {
            let number = self.next;
            self.next += 1;
            if self.is_conflated {
                self.numbers.insert(Arc::clone(&message.subject), number);
            }
            self.bytes += bytes_of(&message);
            self.messages.insert(number, message);
            self.order.push_back(number);
        }
        while self.len() > self.count_max || self.bytes > self.bytes_max {
            if self.pop().is_none() {
                break;
            }
            fates.dropped += 1;
        }
        fates
    }

    fn pop(&mut self) -> Option<Message> {
        let message = self.messages.remove(&self.order.pop_front()?)?;
        self.numbers.remove(&message.subject);
        self.bytes = self.bytes.saturating_sub(bytes_of(&message));
        Some(message)
    }

    /// The messages that have waited longest: up to a number, and bytes; at least one.
    pub(crate) fn take(&mut self, count_max: usize, bytes_max: usize) -> Vec<Message> {
        let (mut taken, mut bytes) = (Vec::new(), 0_usize);
        while taken.len() < count_max {
            let front = self
                .order
                .front()
                .and_then(|number| self.messages.get(number));
            let Some(next) = front.map(bytes_of) else {
                break;
            };
            bytes = bytes.saturating_add(next);
            if bytes > bytes_max && !taken.is_empty() {
                break;
            }
            taken.extend(self.pop());
        }
        taken
    }

    /// Puts back what could not be written, before all others.
    pub(crate) fn put_back(&mut self, messages: Vec<Message>) -> Fates {
        let newer: Vec<Message> = std::iter::from_fn(|| self.pop()).collect();
        let mut fates = Fates::default();
        for message in messages.into_iter().chain(newer) {
            let fate = self.put(message);
            fates.conflated += fate.conflated;
            fates.dropped += fate.dropped;
        }
        fates
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(subject: &str, text: &'static str) -> Message {
        Message::new(subject, text.into())
    }

    fn texts(messages: &[Message]) -> Vec<&str> {
        let text = |message: &'_ Message| -> String {
            String::from_utf8_lossy(&message.payload).into_owned()
        };
        messages
            .iter()
            .map(|message| &*Box::leak(text(message).into_boxed_str()))
            .collect()
    }

    #[test]
    fn a_newer_value_replaces_the_older_one_in_its_place() {
        let mut pending = Pending::new(true, 10, 10_000);
        assert_eq!(pending.put(message("a", "1")), Fates::default());
        assert_eq!(pending.put(message("b", "2")), Fates::default());
        let replaced = pending.put(message("a", "3"));
        assert_eq!((replaced.conflated, replaced.dropped), (1, 0));
        let taken = pending.take(10, 10_000);
        assert_eq!(texts(&taken), ["3", "2"]);
        assert!(pending.is_empty());
        pending.put(message("b", "4"));
        let back = pending.put_back(taken);
        assert_eq!((back.conflated, back.dropped), (1, 0));
        assert_eq!(texts(&pending.take(10, 10_000)), ["3", "4"]);
    }

    #[test]
    fn entries_of_a_log_are_all_kept_within_the_bounds_and_the_oldest_are_dropped() {
        let mut pending = Pending::new(false, 3, 10_000);
        for text in ["1", "2", "3"] {
            assert_eq!(pending.put(message("a", text)), Fates::default());
        }
        assert_eq!(pending.put(message("a", "4")).dropped, 1);
        let taken = pending.take(2, 10_000);
        assert_eq!(texts(&taken), ["2", "3"]);
        assert_eq!(pending.put_back(taken), Fates::default());
        assert_eq!(texts(&pending.take(9, 10_000)), ["2", "3", "4"]);
        let mut narrow = Pending::new(false, 100, 500);
        let dropped: u64 = (0..10).map(|_| narrow.put(message("a", "1")).dropped).sum();
        assert_eq!((dropped, narrow.len()), (8, 2));
        assert_eq!(narrow.take(5, 1).len(), 1, "at least one");
    }
}
