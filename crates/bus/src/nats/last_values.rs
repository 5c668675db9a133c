//! Reading what the streams retain.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::consumer::pull;
use async_nats::jetstream::consumer::{AckPolicy, Consumer, DeliverPolicy};
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
/// The server forgets our reader after this much silence, should we not say goodbye.
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
            // After a restart of the server the stream may not be there again yet.
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
    let values = read_all(&reader, retained, name).await;
    let reader_name = &reader.cached_info().name;
    // Best effort: the server forgets it by itself.
    let _ = streams
        .context
        .delete_consumer_from_stream(reader_name, name)
        .await;
    values
}

async fn read_all(
    reader: &Consumer<pull::Config>,
    retained: &RetainedRoot,
    name: &str,
) -> Result<Values, BusError> {
    let info = reader.cached_info();
    let depth = retained.depth_per_subject;
    let mut values = Values::new();
    let mut pending = info.num_pending;
    // Publishers go on while we read. With one message per subject, those pending at the start are
    // one of each subject, each of which comes then or as its replacement; so we are done when we
    // have seen as many subjects. Deeper streams are done with what was pending at the start.
    let wanted = usize::try_from(info.num_pending).unwrap_or(usize::MAX);
    let mut seen = 0_usize;
    while pending > 0 && (if depth == 1 { values.len() } else { seen }) < wanted {
        let mut batch = reader
            .fetch()
            .max_messages(BATCH_LEN)
            .messages()
            .await
            .map_err(|error| failed(name, &error.to_string()))?;
        let mut is_empty = true;
        while let Some(message) = timeout(NEXT_DEADLINE, batch.next())
            .await
            .map_err(|_| failed(name, "no answer in time"))?
        {
            let message = message.map_err(|error| failed(name, &error.to_string()))?;
            is_empty = false;
            seen += 1;
            pending = message
                .info()
                .map_err(|error| failed(name, &error.to_string()))?
                .pending;
            let payloads = match values.get_mut(message.subject.as_str()) {
                Some(payloads) => payloads,
                None => values.entry(message.subject.to_string()).or_default(),
            };
            if payloads.len() >= depth {
                payloads.pop_front();
            }
            payloads.push_back(detached(&message.payload));
        }
        if is_empty {
            // The server says that there is nothing more; but it also falls silent when it stops.
            let info = reader
                .get_info()
                .await
                .map_err(|error| failed(name, &error.to_string()))?;
            pending = info.num_pending;
        }
    }
    Ok(values)
}

fn failed(stream_name: &str, reason: &str) -> BusError {
    stream::error(&format!("read stream {stream_name}"), reason, true)
}
