//! The messages that a resync has read, and their turn among the live ones.
//!
//! The bus retains the newest messages of a topic, and older ones may still wait in our queue: they
//! come first. Others were lost, and are retained: these come before the live messages after them.

use std::collections::{HashMap, VecDeque};

use bus::Message;

/// The messages that were read and not taken yet.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    /// In the order in which they were read; `None` for those that were taken.
    messages: Vec<Option<Message>>,
    /// All before this one were taken.
    at: usize,
    left: usize,
    /// The places of each topic's messages, oldest first.
    by_topic: HashMap<Box<str>, VecDeque<usize>>,
    /// How many live messages waited when these were read, and still do.
    live_first: usize,
}

impl Loaded {
    /// These messages, while so many live ones wait.
    #[must_use]
    pub(crate) fn new(messages: Vec<Message>, live_first: usize) -> Self {
        let mut by_topic: HashMap<Box<str>, VecDeque<usize>> = HashMap::new();
        for (at, message) in messages.iter().enumerate() {
            let topic = topic_of(&message.subject);
            match by_topic.get_mut(topic) {
                Some(places) => places.push_back(at),
                None => {
                    by_topic.insert(topic.into(), VecDeque::from([at]));
                }
            }
        }
        Self {
            left: messages.len(),
            messages: messages.into_iter().map(Some).collect(),
            at: 0,
            by_topic,
            live_first,
        }
    }

    /// Whether all of them were taken.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.left == 0
    }

    /// Whether live messages that waited before these were read come first.
    #[must_use]
    pub(crate) fn waits_for_live(&self) -> bool {
        self.live_first > 0
    }

    /// A live message was taken.
    pub(crate) fn live_taken(&mut self) {
        self.live_first = self.live_first.saturating_sub(1);
    }

    /// No live message waits.
    pub(crate) fn none_waits(&mut self) {
        self.live_first = 0;
    }

    /// The next one in the order in which they were read.
    pub(crate) fn take_next(&mut self) -> Option<Message> {
        while self.at < self.messages.len() {
            let message = self.messages[self.at].take();
            self.at += 1;
            if let Some(message) = message {
                self.left -= 1;
                return Some(message);
            }
        }
        None
    }

    /// Whether there may be a message of the topic of a subject.
    #[must_use]
    pub(crate) fn has_topic_of(&self, subject: &str) -> bool {
        self.by_topic.contains_key(topic_of(subject))
    }

    /// The oldest message of the topic of a subject, if it comes before a live one.
    pub(crate) fn take_of(
        &mut self,
        subject: &str,
        comes_before: impl FnOnce(&Message) -> bool,
    ) -> Option<Message> {
        let topic = topic_of(subject);
        let places = self.by_topic.get_mut(topic)?;
        // Those before `at` had their turn.
        while places.front().is_some_and(|place| *place < self.at) {
            places.pop_front();
        }
        let Some(place) = places.front().copied() else {
            self.by_topic.remove(topic);
            return None;
        };
        if !self.messages[place].as_ref().is_some_and(comes_before) {
            return None;
        }
        places.pop_front();
        self.left -= 1;
        self.messages[place].take()
    }
}

/// What a topic's subjects have in common: `closed.1m.BTC-USD` is the record of
/// `kline.1m.BTC-USD`.
fn topic_of(subject: &str) -> &str {
    subject.split_once('.').map_or(subject, |(_, topic)| topic)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(subject: &str, number: u8) -> Message {
        Message::new(subject, bytes::Bytes::from(vec![number]))
    }

    fn loaded() -> Loaded {
        let messages = vec![
            message("closed.1m.A", 1),
            message("closed.1m.A", 2),
            message("closed.1m.B", 3),
            message("kline.1m.A", 4),
        ];
        Loaded::new(messages, 2)
    }

    fn number(message: Option<Message>) -> Option<u8> {
        message.map(|message| message.payload[0])
    }

    #[test]
    fn messages_that_waited_before_the_read_come_first() {
        let mut loaded = loaded();
        for _ in 0..2 {
            assert!(loaded.waits_for_live());
            loaded.live_taken();
        }
        assert!(!loaded.waits_for_live());
        loaded.live_taken();
        let all: Vec<_> = std::iter::from_fn(|| number(loaded.take_next())).collect();
        assert_eq!(all, [1, 2, 3, 4]);
        assert!(loaded.is_empty());
    }

    #[test]
    fn what_comes_before_a_live_message_is_taken_once_and_in_order() {
        let mut loaded = loaded();
        assert_eq!(number(loaded.take_of("kline.1m.A", |_| true)), Some(1));
        assert_eq!(number(loaded.take_of("kline.1m.A", |_| false)), None);
        assert_eq!(number(loaded.take_of("kline.1m.C", |_| true)), None);
        assert_eq!(number(loaded.take_next()), Some(2));
        assert_eq!(number(loaded.take_of("kline.1m.A", |_| true)), Some(4));
        assert_eq!(number(loaded.take_of("kline.1m.A", |_| true)), None);
        assert!(!loaded.has_topic_of("closed.1m.A") && loaded.has_topic_of("kline.1m.B"));
        assert!(!loaded.is_empty());
        assert_eq!(number(loaded.take_next()), Some(3));
        assert!(loaded.is_empty());
        assert_eq!(number(loaded.take_next()), None);
    }
}
