//! From the connection into one subscription's queue.

use std::collections::HashSet;
use std::sync::Arc;

use async_nats::Subscriber;
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use tokio_util::sync::CancellationToken;

use crate::Message;
use crate::queue::Queue;
use crate::subject::{Prefix, is_server_subject};

/// Subjects whose text is shared between messages, for each subscription.
const SUBJECTS_MAX: usize = 65_536;

/// Moves messages until `closed`, then the messages that have already arrived, and closes the
/// queue.
pub(super) async fn run(
    mut subscriber: Subscriber,
    queue: Arc<Queue>,
    prefix: Prefix,
    closed: CancellationToken,
) {
    let mut subjects = Subjects::default();
    loop {
        tokio::select! {
            biased;
            message = subscriber.next() => match message {
                Some(message) => deliver(&message, &prefix, &mut subjects, &queue),
                None => break,
            },
            () = closed.cancelled() => {
                // Unconstrained, because otherwise the runtime's fairness would end the loop early.
                tokio::task::unconstrained(async {
                    while let Some(Some(message)) = subscriber.next().now_or_never() {
                        deliver(&message, &prefix, &mut subjects, &queue);
                    }
                })
                .await;
                break;
            }
        }
    }
    queue.close();
}

fn deliver(message: &async_nats::Message, prefix: &Prefix, subjects: &mut Subjects, queue: &Queue) {
    // A subscription to everything also gets the replies to our own requests.
    if prefix.is_empty() && is_server_subject(&message.subject) {
        return;
    }
    let Some(subject) = prefix.strip(&message.subject) else {
        return;
    };
    queue.push(Message {
        subject: subjects.shared(subject),
        payload: detached(&message.payload),
    });
}

/// A copy. The payload is a part of the connection's read buffer. A holder of the payload, such as
/// a gateway with the last value of each topic, would keep 64 KiB alive with it.
pub(super) fn detached(payload: &Bytes) -> Bytes {
    Bytes::copy_from_slice(payload)
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
