//! Reads pages of a stream's retained messages, by direct requests: no consumer is created.

use std::time::Duration;

use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::{Client, StatusCode};
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use super::api::{self, unix_ns};
use super::pump::{detached, headers_of};
use super::stream::{Streams, Wanted};
use crate::{BusError, Message, Page, Position, Range, Start};

/// Messages of one request: the server holds its lock for them.
const BATCH_LEN: usize = 1_000;

/// Reads one page of `wanted`. `filter` is the pattern with the prefix.
pub(super) async fn page(
    streams: &Streams,
    client: &Client,
    wanted: &Wanted,
    filter: &str,
    range: &Range,
    waited: Duration,
) -> Result<Page, BusError> {
    let name = wanted.name.as_str();
    let action = format!("read stream {name}");
    let created_ns = created(&streams.info(name, &action, &json!({})).await?);
    if let Start::After(position) = range.start
        && position.stream_created_ns != created_ns
    {
        return Err(position_lost(wanted));
    }
    let mut reading = Reading {
        name,
        filter,
        created_ns,
        action: &action,
        deadline: Instant::now() + waited,
        messages: Vec::new(),
        bytes: 0,
        is_end: false,
    };
    let mut from = from(range.start);
    while reading.messages.len() < range.messages_max && !reading.is_end {
        match reading.batch(streams, client, range, from).await? {
            Batch::Full => break,
            Batch::UpTo(sequence) => from = json!({ "seq": sequence.saturating_add(1) }),
        }
    }
    // A stream that was created again in the meantime has other messages under these sequences.
    let info = streams.info(name, &action, &json!({})).await?;
    if created(&info) != created_ns {
        return Err(position_lost(wanted));
    }
    let mut messages = Vec::new();
    for (subject, mut message) in reading.messages {
        if let Some(subject) = streams.prefix.strip(&subject) {
            message.subject = subject.into();
            messages.push(message);
        }
    }
    Ok(Page {
        messages,
        is_end: reading.is_end,
        first_sequence: info["state"]["first_seq"].as_u64().unwrap_or_default(),
        last_sequence: info["state"]["last_seq"].as_u64().unwrap_or_default(),
    })
}

struct Reading<'a> {
    name: &'a str,
    filter: &'a str,
    created_ns: u64,
    action: &'a str,
    deadline: Instant,
    /// With their subject, the prefix included.
    messages: Vec<(String, Message)>,
    bytes: usize,
    is_end: bool,
}

/// The progress of a request.
enum Batch {
    /// The page is full.
    Full,
    /// Everything up to this sequence is read.
    UpTo(u64),
}

impl Reading<'_> {
    async fn batch(
        &mut self,
        streams: &Streams,
        client: &Client,
        range: &Range,
        from: Value,
    ) -> Result<Batch, BusError> {
        let wanted = (range.messages_max - self.messages.len()).min(BATCH_LEN);
        let mut question = from;
        question["next_by_subj"] = json!(self.filter);
        question["batch"] = json!(wanted);
        question["max_bytes"] = json!(range.bytes_max - self.bytes);
        let inbox = client.new_inbox();
        let closed = |_| BusError::Closed;
        let mut answers = client
            .subscribe(inbox.clone())
            .await
            .map_err(|_| BusError::Closed)?;
        let subject = format!("{}.DIRECT.GET.{}", streams.api.prefix(), self.name);
        client
            .publish_with_reply(subject, inbox, question.to_string().into())
            .await
            .map_err(closed)?;
        let mut last = 0;
        loop {
            let answer = timeout_at(self.deadline, answers.next())
                .await
                .map_err(|_| self.failed("no answer in time"))?
                .ok_or(BusError::Closed)?;
            let header = |name: &str| {
                let value = answer
                    .headers
                    .as_ref()
                    .and_then(|headers| headers.get(name));
                value.map(|value| value.as_str())
            };
            let number = |name: &str| header(name).and_then(|text| text.parse::<u64>().ok());
            match answer.status {
                None | Some(StatusCode::OK) => {}
                // The end of a batch says how many messages are behind it.
                Some(status) if status.as_u16() == 204 => {
                    self.is_end = number("Nats-Num-Pending") == Some(0);
                    return Ok(Batch::UpTo(last));
                }
                Some(StatusCode::NOT_FOUND) => {
                    self.is_end = true;
                    return Ok(Batch::UpTo(last));
                }
                Some(status) => {
                    let reason = answer.description.clone().unwrap_or_default();
                    return Err(self.failed(&format!("{status} {reason}")));
                }
            }
            let (Some(sequence), Some(subject)) = (number("Nats-Sequence"), header("Nats-Subject"))
            else {
                return Err(self.failed("an answer without a sequence"));
            };
            last = sequence;
            let message = Message {
                subject: std::sync::Arc::default(),
                payload: detached(&answer.payload),
                headers: answer.headers.as_ref().and_then(headers_of),
                position: Some(Box::new(Position {
                    stream_created_ns: self.created_ns,
                    sequence,
                    stored_ns: unix_ns(header("Nats-Time-Stamp").unwrap_or_default()),
                })),
            };
            self.bytes += message.bytes();
            if self.bytes > range.bytes_max && !self.messages.is_empty() {
                return Ok(Batch::Full);
            }
            self.messages.push((subject.to_owned(), message));
            if self.bytes >= range.bytes_max {
                return Ok(Batch::Full);
            }
            // A server before 2.11 returns one message for each request, and says no number.
            if number("Nats-Num-Pending").is_none() {
                return Ok(Batch::UpTo(last));
            }
        }
    }

    fn failed(&self, reason: &str) -> BusError {
        api::error(self.action, reason, true)
    }
}

fn from(start: Start) -> Value {
    match start {
        Start::Oldest => json!({ "seq": 1 }),
        Start::After(position) => json!({ "seq": position.sequence.saturating_add(1) }),
        Start::Since(since_ns) => json!({ "start_time": rfc3339(since_ns) }),
    }
}

/// As the API writes times.
pub(super) fn rfc3339(unix_ns: u64) -> Value {
    let Ok(start_time) = async_nats::datetime::from_nanos(i128::from(unix_ns)) else {
        return Value::Null;
    };
    // The client library writes this only for a consumer.
    let policy = serde_json::to_value(DeliverPolicy::ByStartTime { start_time });
    policy.map_or(Value::Null, |mut policy| policy["opt_start_time"].take())
}

/// When a stream was created, unix ns, by the server's answer.
pub(super) fn created(info: &Value) -> u64 {
    unix_ns(info["created"].as_str().unwrap_or_default())
}

pub(super) fn position_lost(wanted: &Wanted) -> BusError {
    BusError::PositionLost {
        root: wanted.spec.root.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_the_api_reads_them() {
        let text = rfc3339(1_700_000_000_123_456_789);
        assert_eq!(text, json!("2023-11-14T22:13:20.123456789Z"));
        assert_eq!(
            unix_ns(text.as_str().expect("text")),
            1_700_000_000_123_456_789
        );
        assert_eq!(unix_ns("no time"), 0);
    }
}
