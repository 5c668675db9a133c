//! Live messages that wait for Kafka, within bounds.

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bus::Message;
use serde::Deserialize;

/// Which messages a newer one of their subject replaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    /// None.
    All,
    /// Each.
    Newest,
    /// Forming bars. Closed ones are final: nothing says later what they said.
    NewestAndClosed,
}

/// What waits. A newer value is in the place of the one that it replaces.
#[derive(Debug)]
pub(crate) struct Pending {
    rule: Rule,
    count_max: usize,
    bytes_max: usize,
    /// By number: messages that were replaced or pushed out are missing.
    messages: HashMap<u64, Message>,
    order: VecDeque<u64>,
    /// The message of each subject that a newer one replaces.
    numbers: HashMap<Arc<str>, u64>,
    /// Closed bars, the oldest first.
    closed: VecDeque<u64>,
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

/// Whether a message is a closed bar.
fn is_closed(message: &Message) -> bool {
    #[derive(Deserialize)]
    struct Head<'a> {
        #[serde(borrow)]
        state: Cow<'a, str>,
    }
    serde_json::from_slice::<Head<'_>>(&message.payload).is_ok_and(|head| head.state == "closed")
}

/// Bytes of a message in memory.
fn bytes_of(message: &Message) -> usize {
    message.payload.len() + message.subject.len() + 200
}

impl Pending {
    pub(crate) fn new(rule: Rule, count_max: usize, bytes_max: usize) -> Pending {
        Pending {
            rule,
            count_max: count_max.max(1),
            bytes_max,
            messages: HashMap::new(),
            order: VecDeque::new(),
            numbers: HashMap::new(),
            closed: VecDeque::new(),
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
        let is_closed = self.rule == Rule::NewestAndClosed && is_closed(&message);
        let subject = Arc::clone(&message.subject);
        let number = if let Some(number) = self.numbers.get(&subject).copied()
            && let Some(older) = self.messages.get_mut(&number)
        {
            self.bytes = self.bytes.saturating_sub(bytes_of(older)) + bytes_of(&message);
            *older = message;
            fates.conflated = 1;
            number
        } else {
            let number = self.next;
            self.next += 1;
            self.bytes += bytes_of(&message);
            self.messages.insert(number, message);
            self.order.push_back(number);
            number
        };
        if is_closed {
            self.numbers.remove(&subject);
            self.closed.push_back(number);
        } else if self.rule != Rule::All {
            self.numbers.insert(subject, number);
        }
        while self.len() > self.count_max || self.bytes > self.bytes_max {
            if self.drop_one().is_none() {
                break;
            }
            fates.dropped += 1;
        }
        fates
    }

    /// Gives up the oldest one: of bars, the oldest closed one, so that each market keeps its newest
    /// value.
    fn drop_one(&mut self) -> Option<Message> {
        while let Some(number) = self.closed.pop_front() {
            if let Some(message) = self.messages.remove(&number) {
                self.bytes = self.bytes.saturating_sub(bytes_of(&message));
                self.forget_dropped();
                return Some(message);
            }
        }
        self.pop()
    }

    /// Keeps a message at the front of the order, and of the closed bars.
    fn forget_dropped(&mut self) {
        for numbers in [&mut self.order, &mut self.closed] {
            while let Some(number) = numbers.front() {
                if self.messages.contains_key(number) {
                    break;
                }
                numbers.pop_front();
            }
        }
    }

    fn pop(&mut self) -> Option<Message> {
        let number = self.order.pop_front()?;
        let message = self.messages.remove(&number)?;
        if self.numbers.get(&message.subject) == Some(&number) {
            self.numbers.remove(&message.subject);
        }
        self.bytes = self.bytes.saturating_sub(bytes_of(&message));
        self.forget_dropped();
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
        let mut pending = Pending::new(Rule::Newest, 10, 10_000);
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
        let mut pending = Pending::new(Rule::All, 3, 10_000);
        for text in ["1", "2", "3"] {
            assert_eq!(pending.put(message("a", text)), Fates::default());
        }
        assert_eq!(pending.put(message("a", "4")).dropped, 1);
        let taken = pending.take(2, 10_000);
        assert_eq!(texts(&taken), ["2", "3"]);
        assert_eq!(pending.put_back(taken), Fates::default());
        assert_eq!(texts(&pending.take(9, 10_000)), ["2", "3", "4"]);
        let mut narrow = Pending::new(Rule::All, 100, 500);
        let dropped: u64 = (0..10).map(|_| narrow.put(message("a", "1")).dropped).sum();
        assert_eq!((dropped, narrow.len()), (8, 2));
        assert_eq!(narrow.take(5, 1).len(), 1, "at least one");
    }

    #[test]
    fn closed_bars_all_wait_and_leave_before_the_newest_values_where_there_is_no_room() {
        let mut pending = Pending::new(Rule::NewestAndClosed, 4, 10_000);
        let (forming, closed) = (r#"{"state":"forming"}"#, r#"{"state":"closed"}"#);
        assert_eq!(pending.put(message("a", forming)), Fates::default());
        // The end of a bar replaces what it was before, and the next bar does not replace the end.
        assert_eq!(pending.put(message("a", closed)).conflated, 1);
        assert_eq!(
            pending.put(message("a", r#"{"state":"forming","n":2}"#)),
            Fates::default()
        );
        assert_eq!(pending.put(message("b", forming)), Fates::default());
        assert_eq!(
            pending
                .put(message("a", r#"{"state":"closed","n":2}"#))
                .conflated,
            1
        );
        assert_eq!(pending.put(message("a", forming)), Fates::default());
        let taken = pending.take(1, 10_000);
        assert_eq!(texts(&taken), [closed]);
        assert_eq!(pending.put(message("c", forming)), Fates::default());
        // Five are too many: the oldest closed one leaves.
        assert_eq!(pending.put_back(taken).dropped, 1);
        let left = pending.take(9, 10_000);
        let subjects: Vec<&str> = left.iter().map(|message| &*message.subject).collect();
        assert_eq!(subjects, ["a", "b", "a", "c"]);
        assert_eq!(texts(&left)[0], r#"{"state":"closed","n":2}"#);
        assert!(pending.is_empty() && pending.closed.is_empty() && pending.bytes == 0);
    }

    #[test]
    fn order_holds_when_a_closed_bar_behind_a_value_is_dropped() {
        let mut pending = Pending::new(Rule::NewestAndClosed, 2, 10_000);
        let (forming, closed) = (r#"{"state":"forming"}"#, r#"{"state":"closed"}"#);
        pending.put(message("a", forming));
        pending.put(message("b", closed));
        assert_eq!(pending.put(message("c", forming)).dropped, 1);
        assert_eq!(pending.put(message("d", forming)).dropped, 1);
        let left = pending.take(9, 10_000);
        let subjects: Vec<&str> = left.iter().map(|message| &*message.subject).collect();
        assert_eq!(subjects, ["c", "d"]);
    }
}
