//! Messages, and the deliveries that a subscription receives.

use std::sync::Arc;

use bytes::Bytes;

use crate::BusError;

/// Longest name or value of a header, in bytes.
pub const HEADER_BYTES_MAX: usize = 4_096;
/// Most headers of a message.
pub const HEADERS_MAX: usize = 32;

/// A subject and its bytes. Clones share both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The subject, without the configured prefix.
    pub subject: Arc<str>,
    /// The bytes as they were published.
    pub payload: Bytes,
    /// What the publisher said beside the payload; most messages have none.
    pub headers: Option<Arc<Headers>>,
    /// Where a stream keeps it. `None` for a live message: its publisher did not wait for the
    /// stream.
    // In a box, for live messages wait by the ten thousand in queues, and have none.
    pub position: Option<Box<Position>>,
}

impl Message {
    /// A live message without headers.
    pub fn new(subject: impl Into<Arc<str>>, payload: Bytes) -> Message {
        Message {
            subject: subject.into(),
            payload,
            headers: None,
            position: None,
        }
    }

    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.as_deref()?.get(name)
    }

    /// The bytes that it holds, without the subject that it shares.
    pub(crate) fn bytes(&self) -> usize {
        let headers = self.headers.as_deref().map_or(0, Headers::bytes);
        self.payload.len() + headers
    }
}

/// Where a stream keeps a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Position {
    /// When the stream was created, unix ns. A stream that was lost and created again counts from 1
    /// again: a sequence says nothing without this.
    pub stream_created_ns: u64,
    /// Its number in the stream: from 1, rising, with holes where messages are kept no more.
    pub sequence: u64,
    /// When the stream took it, unix ns of the server's clock.
    pub stored_ns: u64,
}

/// Names and values beside a payload, in the order of their names: NATS keeps no other order.
///
/// A name is written as it is compared: upper and lower case differ.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(Vec<(Box<str>, Box<str>)>);

impl Headers {
    /// No headers.
    pub fn new() -> Headers {
        Headers::default()
    }

    /// Adds a header, or replaces its value.
    ///
    /// # Errors
    /// `Header` if NATS cannot carry it: a name of visible ASCII without a colon, a value of one
    /// line, both at most [`HEADER_BYTES_MAX`], at most [`HEADERS_MAX`] of them. Names that begin
    /// with `Nats-` are the broker's; what they say is said through [`crate::Append`].
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), BusError> {
        let refused = |reason| {
            Err(BusError::Header {
                name: name.chars().take(64).collect(),
                reason,
            })
        };
        let is_visible = |byte: u8| byte.is_ascii_graphic() && byte != b':';
        if name.is_empty() || !name.bytes().all(is_visible) {
            return refused("a name is visible ASCII without a colon");
        }
        if is_brokers(name) {
            return refused("names that begin with Nats- are the broker's");
        }
        if !is_header_value(value) {
            return refused("a value is one line without space around it");
        }
        if name.len() > HEADER_BYTES_MAX || value.len() > HEADER_BYTES_MAX {
            return refused("a name or a value has at most 4096 bytes");
        }
        match self.0.binary_search_by(|(other, _)| (**other).cmp(name)) {
            Ok(index) => self.0[index].1 = value.into(),
            Err(_) if self.0.len() >= HEADERS_MAX => {
                return refused("a message has at most 32 headers");
            }
            Err(index) => self.0.insert(index, (name.into(), value.into())),
        }
        Ok(())
    }

    /// The value of a header.
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(other, _)| &**other == name);
        found.map(|(_, value)| &**value)
    }

    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn bytes(&self) -> usize {
        self.0
            .iter()
            .map(|(name, value)| name.len() + value.len())
            .sum()
    }
}

/// Whether NATS can carry this text as a header's value.
pub(crate) fn is_header_value(value: &str) -> bool {
    !value.contains(['\r', '\n']) && value.trim() == value
}

/// Whether a header has a meaning for the broker.
pub(crate) fn is_brokers(name: &str) -> bool {
    let start = name.as_bytes().get(..5);
    start.is_some_and(|start| start.eq_ignore_ascii_case(b"nats-"))
}

/// What a subscription receives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// A message, in the order of its publisher.
    Message(Message),
    /// Messages were lost at this place, because they were not received fast enough; later messages
    /// follow. Read the last values again.
    Lagged {
        /// The number of lost messages. If the whole process was too slow, it is a lower bound,
        /// counted over all its subscriptions.
        lost: u64,
    },
    /// The connection was lost and is back, and the subscription is renewed. Messages in between
    /// are lost. Read the last values again. This comes before the first message of the new
    /// connection, so the retained messages may not be there yet.
    Reconnected,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_that_nats_cannot_carry_are_refused_with_the_reason() {
        let mut headers = Headers::new();
        for (name, value, reason) in [
            ("", "x", "a name is visible ASCII without a colon"),
            ("a b", "x", "a name is visible ASCII without a colon"),
            ("a:", "x", "a name is visible ASCII without a colon"),
            (
                "nats-Msg-Id",
                "x",
                "names that begin with Nats- are the broker's",
            ),
            (
                "a",
                "x\r\nNats-Rollup: all",
                "a value is one line without space around it",
            ),
            ("a", " x", "a value is one line without space around it"),
        ] {
            let error = headers.set(name, value).expect_err(reason);
            assert_eq!(error.to_string(), format!("header {name:?}: {reason}"));
        }
        assert!(headers.set("a", &"x".repeat(HEADER_BYTES_MAX + 1)).is_err());
        for number in 0..HEADERS_MAX {
            assert_eq!(headers.set(&format!("name-{number}"), "x"), Ok(()));
        }
        assert!(headers.set("one-more", "x").is_err());
        assert_eq!(
            headers.set("name-7", "y"),
            Ok(()),
            "a value can be replaced"
        );
        assert_eq!(headers.get("name-7"), Some("y"));
    }

    /// Live messages wait by the ten thousand in queues.
    #[test]
    fn live_message_is_as_small_as_a_cache_line() {
        assert!(size_of::<Message>() <= 64, "{}", size_of::<Message>());
    }
}
