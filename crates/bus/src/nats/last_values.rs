//! Reads the messages that the streams retain.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::consumer::pull;
use async_nats::jetstream::consumer::{AckPolicy, Consumer, DeliverPolicy};
use async_nats::jetstream::stream::LastRawMessageErrorKind;
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::time::timeout;

use super::api;
use super::pump::{detached, headers_of};
use super::stream::{Streams, Subjects, Wanted};
use crate::subject::{Pattern, Prefix};
use crate::{BusError, Message, Position};

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
    for wanted in &streams.all() {
        let Some(subjects) = pattern.within_root(&wanted.spec.root) else {
            continue;
        };
        let filter = prefix.add(&subjects);
        let values = match read_stream(streams, wanted, &filter).await {
            // After a restart of the server, the stream may not exist again yet.
            Err(error) if error.is_retryable() => {
                streams.ensure().await?;
                read_stream(streams, wanted, &filter).await?
            }
            result => result?,
        };
        for (subject, kept) in values {
            let Some(subject) = prefix.strip(&subject) else {
                continue;
            };
            let subject: Arc<str> = subject.into();
            messages.extend(kept.into_iter().map(|message| Message {
                subject: Arc::clone(&subject),
                ..message
            }));
        }
    }
    Ok(messages)
}

/// Messages by subject with the prefix; their own subject is not filled in yet.
type Values = HashMap<String, VecDeque<Message>>;

async fn read_stream(streams: &Streams, wanted: &Wanted, filter: &str) -> Result<Values, BusError> {
    let name = wanted.name.as_str();
    let subjects = streams.subjects(name, filter).await?;
    if subjects.names.is_empty() {
        return Ok(Values::new());
    }
    let config = pull::Config {
        deliver_policy: match wanted.spec.messages_per_subject_max {
            Some(1) => DeliverPolicy::LastPerSubject,
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
        .api
        .context
        .create_consumer_on_stream(config, name)
        .await
        .map_err(|error| failed(name, &error.to_string()))?;
    let depth = wanted.spec.messages_per_subject_max;
    let depth = depth.map_or(usize::MAX, |depth| {
        usize::try_from(depth).unwrap_or(usize::MAX)
    });
    let values = read_all(&reader, depth, name, &subjects).await;
    let reader_name = &reader.cached_info().name;
    // Best effort: the server forgets the reader by itself.
    let _ = streams
        .api
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
    subjects: &Subjects,
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
            is_done |= info.stream_sequence >= subjects.last_sequence;
            let position = Position {
                stream_created_ns: subjects.created_ns,
                sequence: info.stream_sequence,
                stored_ns: api::of_datetime(info.published),
            };
            let kept = match values.get_mut(message.subject.as_str()) {
                Some(kept) => kept,
                None => values.entry(message.subject.to_string()).or_default(),
            };
            if kept.len() >= depth {
                kept.pop_front();
            }
            kept.push_back(kept_message(
                &message.payload,
                message.headers.as_ref(),
                position,
            ));
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
    subjects: Subjects,
    values: &mut Values,
) -> Result<(), BusError> {
    let stream = streams
        .api
        .context
        .get_stream_no_info(name)
        .await
        .map_err(|error| failed(name, &error.to_string()))?;
    let created_ns = subjects.created_ns;
    let missing = subjects
        .names
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
                let position = Position {
                    stream_created_ns: created_ns,
                    sequence: message.sequence,
                    stored_ns: api::of_datetime(message.time),
                };
                let kept = kept_message(&message.payload, Some(&message.headers), position);
                values.insert(subject, VecDeque::from([kept]));
            }
            // Somebody deleted it after it was listed.
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => {}
            Err(error) => return Err(failed(name, &error.to_string())),
        }
    }
    Ok(())
}

/// A message whose subject is not filled in yet.
fn kept_message(payload: &Bytes, headers: Option<&HeaderMap>, position: Position) -> Message {
    Message {
        subject: Arc::default(),
        payload: detached(payload),
        headers: headers.and_then(headers_of),
        position: Some(Box::new(position)),
    }
}

fn failed(stream_name: &str, reason: &str) -> BusError {
    api::error(&format!("read stream {stream_name}"), reason, true)
}
