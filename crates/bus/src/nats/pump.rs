//! From the connection into one subscription's queue.

use std::collections::HashSet;
use std::sync::Arc;

use async_nats::{HeaderMap, Subscriber};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};

use super::link::Link;
use crate::message::is_brokers;
use crate::queue::Queue;
use crate::subject::{Prefix, is_server_subject};
use crate::{Headers, Message};

/// Subjects whose text is shared between messages, for each subscription.
const SUBJECTS_MAX: usize = 65_536;

/// Moves messages until the link closes, then the messages that have already arrived, and closes the
/// queue.
pub(super) async fn run(
    mut subscriber: Subscriber,
    queue: Arc<Queue>,
    prefix: Prefix,
    link: Arc<Link>,
) {
    let mut pump = Pump {
        queue,
        prefix,
        subjects: Subjects::default(),
        connects: link.connects(),
    };
    let closed = link.closed();
    loop {
        tokio::select! {
            biased;
            message = subscriber.next() => match message {
                Some(message) => pump.deliver(&message, link.connects()),
                None => break,
            },
            () = closed.cancelled() => {
                // Unconstrained, because otherwise the runtime's fairness would end the loop early.
                tokio::task::unconstrained(async {
                    while let Some(Some(message)) = subscriber.next().now_or_never() {
                        pump.deliver(&message, link.connects());
                    }
                })
                .await;
                break;
            }
        }
    }
    pump.queue.close();
}

struct Pump {
    queue: Arc<Queue>,
    prefix: Prefix,
    subjects: Subjects,
    /// How often the connection had been made when the last message came.
    connects: u64,
}

impl Pump {
    /// Passes a message on that came when the connection had been made so often.
    fn deliver(&mut self, message: &async_nats::Message, connects: u64) {
        if connects != self.connects {
            // Reported before the message: messages in between are missing, and the receiver must
            // know this when it sees the later ones.
            self.connects = connects;
            self.queue.push_reconnected(connects);
        }
        // A subscription to everything also gets the replies to our own requests.
        if self.prefix.is_empty() && is_server_subject(&message.subject) {
            return;
        }
        let Some(subject) = self.prefix.strip(&message.subject) else {
            return;
        };
        self.queue.push(Message {
            subject: self.subjects.shared(subject),
            payload: detached(&message.payload),
            headers: message.headers.as_ref().and_then(headers_of),
            position: None,
        });
    }
}

/// A copy. The payload is a part of the connection's read buffer. A holder of the payload, such as
/// a gateway with the last value of each topic, would keep 64 KiB alive with it.
pub(super) fn detached(payload: &Bytes) -> Bytes {
    Bytes::copy_from_slice(payload)
}

/// The publisher's headers, without the broker's own. Headers of other programs that our
/// publications cannot have are left out.
pub(super) fn headers_of(map: &HeaderMap) -> Option<Arc<Headers>> {
    let mut headers = Headers::new();
    for (name, values) in map.iter() {
        let name: &str = name.as_ref();
        if let (false, Some(value)) = (is_brokers(name), values.last()) {
            let _ = headers.set(name, value.as_str());
        }
    }
    (!headers.is_empty()).then(|| Arc::new(headers))
}

/// Headers as the client library has them.
pub(super) fn map_of(headers: &Headers) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in headers.iter() {
        map.insert(name, value);
    }
    map
}

/// The text of each subject once.
#[derive(Default)]
struct Subjects(HashSet<Arc<str>>);

impl Subjects {
    fn shared(&mut self, subject: &str) -> Arc<str> {
        if let Some(shared) = self.0.get(subject) {
            return Arc::clone(shared);
        }
        if self.0.len() >= SUBJECTS_MAX {
            self.0.clear();
        }
        let shared: Arc<str> = subject.into();
        self.0.insert(Arc::clone(&shared));
        shared
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;
    use crate::Delivery;
    use crate::subject::Pattern;

    #[test]
    fn a_reconnect_is_told_before_the_first_message_that_came_after_it() {
        let pattern = Pattern::new(">").expect("the pattern is valid");
        let queue = Arc::new(Queue::new(pattern, 8, 1_000));
        let mut pump = Pump {
            queue: Arc::clone(&queue),
            prefix: Prefix::new("").expect("no prefix is valid"),
            subjects: Subjects::default(),
            connects: 1,
        };
        let message = async_nats::Message {
            subject: "a.b".into(),
            reply: None,
            payload: Bytes::from_static(b"1"),
            headers: None,
            status: None,
            description: None,
            length: 1,
        };
        for connects in [1, 2, 2] {
            pump.deliver(&message, connects);
        }
        // The keeper says so later, once the streams are there.
        queue.push_reconnected(2);
        let mut taken = VecDeque::new();
        queue.try_take(&mut taken);
        let told: Vec<bool> = taken
            .iter()
            .map(|delivery| *delivery == Delivery::Reconnected)
            .collect();
        assert_eq!(told, [false, true, false, false]);
    }
}
