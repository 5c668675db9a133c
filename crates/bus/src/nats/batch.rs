//! Publications that a stream stores together or not at all.
//!
//! The client library has no call for it, but it is a few headers on messages. Source: nats-server
//! 2.12, ADR-50.

use async_nats::{Message, StatusCode, Subject};
use futures_util::StreamExt;
use serde_json::Value;
use tokio::time::timeout;

use super::{NatsBus, api, timed_out};
use crate::{Append, BusError};

impl NatsBus {
    /// One attempt. The sequence of the last message.
    pub(super) async fn store_all(&self, batch: Vec<Append>) -> Result<u64, BusError> {
        self.check_connected()?;
        let waited = self.config.request_deadline();
        let result = tokio::select! {
            result = timeout(waited, self.send_all(batch)) => result,
            // The answer went down with the connection.
            () = self.link.restored() => return Err(BusError::Disconnected),
        };
        result.map_err(|_| timed_out("store", waited))?
    }

    async fn send_all(&self, batch: Vec<Append>) -> Result<u64, BusError> {
        let first = self.prefix.add(&batch[0].subject);
        let inbox = self.client.new_inbox();
        let id = inbox
            .rsplit('.')
            .next()
            .expect("a part is there")
            .to_owned();
        let closed = |_| BusError::Closed;
        let mut answers = self
            .client
            .subscribe(inbox.clone())
            .await
            .map_err(|_| BusError::Closed)?;
        let inbox = Subject::from(inbox);
        let count = batch.len();
        for (index, append) in batch.into_iter().enumerate() {
            let mut map = self.headers_of_append(&append);
            map.insert("Nats-Batch-Id", id.as_str());
            map.insert("Nats-Batch-Sequence", (index + 1).to_string());
            if index + 1 == count {
                map.insert("Nats-Batch-Commit", "1");
            }
            let (subject, payload) = (self.prefix.add(&append.subject), append.payload);
            if payload.len() > self.client.max_payload() {
                // The server forgets the messages before it.
                return Err(self.too_large(payload.len()));
            }
            // The first answer says whether the stream takes batches, and the last one that all is
            // stored.
            if index == 0 || index + 1 == count {
                let inbox = inbox.clone();
                let sent = self
                    .client
                    .publish_with_reply_and_headers(subject, inbox, map, payload);
                sent.await.map_err(closed)?;
            } else {
                let sent = self.client.publish_with_headers(subject, map, payload);
                sent.await.map_err(closed)?;
            }
        }
        loop {
            let answer = answers.next().await.ok_or(BusError::Closed)?;
            if let Some(stored) = self.read_answer(&first, &answer) {
                return stored;
            }
        }
    }

    /// `None` if the stream has taken the first message and waits for the others.
    fn read_answer(&self, subject: &str, answer: &Message) -> Option<Result<u64, BusError>> {
        let action = format!("store a batch of {subject:?}");
        if answer.status == Some(StatusCode::NO_RESPONDERS) {
            self.link.miss_stream();
            let reason = "no stream takes this subject at the moment";
            return Some(Err(api::error(&action, reason, true)));
        }
        if answer.payload.is_empty() {
            return None;
        }
        let Ok(said) = serde_json::from_slice::<Value>(&answer.payload) else {
            return Some(Err(api::error(&action, "an answer that is no json", true)));
        };
        let stripped = self.prefix.strip(subject).unwrap_or(subject);
        let Some(refused) = said.get("error") else {
            return Some(match (said.get("batch"), said["seq"].as_u64()) {
                (Some(_), Some(sequence)) => Ok(sequence),
                // A server that does not know batches stores each message by itself.
                _ => Err(BusError::NoBatches {
                    subject: stripped.to_owned(),
                }),
            });
        };
        Some(Err(match refused["err_code"].as_u64() {
            Some(api::WRONG_LAST_SEQUENCE) => BusError::NotAsExpected {
                subject: stripped.to_owned(),
            },
            Some(api::NO_BATCHES) => BusError::NoBatches {
                subject: stripped.to_owned(),
            },
            _ => {
                let reason = refused["description"].as_str();
                api::error(&action, reason.unwrap_or("no reason given"), true)
            }
        }))
    }
}
