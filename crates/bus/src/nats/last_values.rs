//! Reads the messages that the streams retain.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::consumer::pull;
use async_nats::jetstream::consumer::{AckPolicy, Consumer, DeliverPolicy};
use async_nats::jetstream::stream::LastRawMessageErrorKind;
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::time::timeout;

use super::pump::detached;
use super::stream::{self, Streams};
use crate::retention::{RETAINED, RetainedRoot};
use crate::subject::{Pattern, Prefix};
use crate::{BusError, Message};

/// Messages asked for at once.
const BATCH_LEN: usize = 1_000;
/// Requests under way at once.
const REQUESTS_MAX: usize = 64;
/// The server forgets our reader after this silence, if we do not delete it.
const READER_IDLE: Duration = Duration::from_secs(30);
/// How long the server may take for the next message.
const NEXT_DEADLINE: Duration = Duration::from_secs(5);

pub(super) async fn read(
    streams: &Streams,
    prefix: &Prefix,
    pattern: &Pattern,
) -> Result<Vec<Message>, BusError> {
    let mut messages = Vec::new();
    for retained in &RETAINED {
        let Some(subjects) = pattern.within_root(retained.root) else {
            continue;
        };
        let filter = prefix.add(&subjects);
        let values = match read_stream(streams, retained, &filter).await {
            // After a restart of the server, the stream may not exist again yet.
            Err(error) if error.is_retryable() => {
                streams.ensure().await?;
                read_stream(streams, retained, &filter).await?
            }
            result => result?,
        };
        for (subject, payloads) in values {
            let Some(subject) = prefix.strip(&subject) else {
                continue;
            };
            let subject: Arc<str> = subject.into();
            for payload in payloads {
                messages.push(Message {
                    subject: Arc::clone(&subject),
                    payload,
                });
            }
        }
    }
    Ok(messages)
}

type Values = HashMap<String, VecDeque<Bytes>>;

async fn read_stream(
    streams: &Streams,
    retained: &RetainedRoot,
    filter: &str,
) -> Result<Values, BusError> {
    let name = streams.name_of(retained);
    let (subjects, last_sequence) = streams.subjects(name, filter).await?;
    if subjects.is_empty() {
        return Ok(Values::new());
    }
    let config = pull::Config {
        deliver_policy: match retained.depth_per_subject {
            1 => DeliverPolicy::LastPerSubject,
            _ => DeliverPolicy::All,
        },
        ack_policy: AckPolicy::None,
        filter_subject: filter.to_owned(),
        inactive_threshold: READER_IDLE,
        memory_storage: true,
        num_replicas: 1,
        ..pull::Config::default()
    };
    let reader: Consumer<pull::Config> = streams
        .context
        .create_consumer_on_stream(config, name)
        .await
        .map_err(|error| failed(name, &error.to_string()))?;
    let values = read_all(&reader, retained.depth_per_subject, name, last_sequence).await;
    let reader_name = &reader.cached_info().name;
    // Best effort: the server forgets the reader by itself.
    let _ = streams
        .context
        .delete_consumer_from_stream(reader_name, name)
        .await;
    let mut values = values?;
    read_missing(streams, name, subjects, &mut values).await?;
    Ok(values)
}

/// Reads until all messages up to `last_sequence` have come, or the server has no more.
async fn read_all(
    reader: &Consumer<pull::Config>,
    depth: usize,
    name: &str,
    last_sequence: u64,
) -> Result<Values, BusError> {
    let mut values = Values::new();
    loop {
        let mut batch = reader
            .fetch()
            .max_messages(BATCH_LEN)
            .messages()
            .await
            .map_err(|error| failed(name, &error.to_string()))?;
        let mut is_empty = true;
        let mut is_done = false;
        while let Some(message) = timeout(NEXT_DEADLINE, batch.next())
            .await
            .map_err(|_| failed(name, "no answer in time"))?
        {
            let message = message.map_err(|error| failed(name, &error.to_string()))?;
            let info = message
                .info()
                .map_err(|error| failed(name, &error.to_string()))?;
            is_empty = false;
            // Publishers continue while we read: newer messages come through the subscription.
            is_done |= info.stream_sequence >= last_sequence;
            let payloads = match values.get_mut(message.subject.as_str()) {
                Some(payloads) => payloads,
                None => values.entry(message.subject.to_string()).or_default(),
            };
            if payloads.len() >= depth {
                payloads.pop_front();
            }
            payloads.push_back(detached(&message.payload));
        }
        if is_empty || is_done {
            return Ok(values);
        }
    }
}

/// Adds the newest message of each of `subjects` that was not read.
///
/// A message that is replaced while we read can escape the reader, whose count of pending messages
/// passes through zero: seen with nats-server 2.15 and a publisher in a loop. Therefore the reader
/// also ignores that count.
async fn read_missing(
    streams: &Streams,
    name: &str,
    subjects: Vec<String>,
    values: &mut Values,
) -> Result<(), BusError> {
    let stream = streams
        .context
        .get_stream_no_info(name)
        .await
        .map_err(|error| failed(name, &error.to_string()))?;
    let missing = subjects
        .into_iter()
        .filter(|subject| !values.contains_key(subject))
        .collect::<Vec<String>>();
    let mut answers = futures_util::stream::iter(missing)
        .map(|subject| {
            let stream = &stream;
            async move {
                let answer = stream.get_last_raw_message_by_subject(&subject).await;
                (subject, answer)
            }
        })
        .buffer_unordered(REQUESTS_MAX);
    while let Some((subject, answer)) = answers.next().await {
        match answer {
            Ok(message) => {
                let payloads = VecDeque::from([message.payload]);
                values.insert(subject, payloads);
            }
            // Somebody deleted it after it was listed.
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => {}
            Err(error) => return Err(failed(name, &error.to_string())),
        }
    }
    Ok(())
}

fn failed(stream_name: &str, reason: &str) -> BusError {
    stream::error(&format!("read stream {stream_name}"), reason, true)
}
