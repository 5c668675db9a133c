//! The streams of JetStream, as their users see them.

use std::sync::Arc;

use async_nats::jetstream::stream::LastRawMessageErrorKind;
use async_nats::{HeaderMap, Subject};
use async_trait::async_trait;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::api::{self, CONSUMER_NOT_FOUND, STREAM_NOT_FOUND};
use super::consumer::{NatsConsumer, durable_name};
use super::pump::{detached, headers_of, map_of};
use super::range::{self, created};
use super::stream::Wanted;
use super::{NatsBus, timed_out};
use crate::admin::{StreamHealth, StreamStatus};
use crate::append::check_batch;
use crate::consumer::rooted;
use crate::subject::check_subject;
use crate::{
    Append, Appended, BusError, Consumer, ConsumerSpec, Expected, Message, Page, Position, Range,
    StreamSpec, StreamStore,
};

impl NatsBus {
    fn wanted_with(&self, root: &str) -> Result<Arc<Wanted>, BusError> {
        self.check_connected()?;
        self.streams
            .with_root(root)
            .ok_or_else(|| self.streams.not_retained(root))
    }

    pub(super) fn headers_of_append(&self, append: &Append) -> HeaderMap {
        let mut map = map_of(&append.headers);
        if let Some(id) = &append.message_id {
            map.insert("Nats-Msg-Id", id.as_str());
        }
        match &append.expected {
            None => {}
            Some(Expected::LastOfSubject(sequence)) => {
                map.insert("Nats-Expected-Last-Subject-Sequence", sequence.to_string());
            }
            Some(Expected::LastOf { subject, sequence }) => {
                map.insert("Nats-Expected-Last-Subject-Sequence", sequence.to_string());
                let subject = self.prefix.add(subject);
                map.insert("Nats-Expected-Last-Subject-Sequence-Subject", subject);
            }
            Some(Expected::LastOfStream(sequence)) => {
                map.insert("Nats-Expected-Last-Sequence", sequence.to_string());
            }
        }
        map
    }

    async fn status_of(&self, wanted: &Wanted) -> Result<Option<StreamStatus>, BusError> {
        let action = format!("look up stream {}", wanted.name);
        let subject = format!("STREAM.INFO.{}", wanted.name);
        let info = self
            .streams
            .api
            .request(&action, &subject, &json!({}))
            .await?;
        match info {
            Ok(info) => Ok(Some(status(wanted, &info))),
            Err(refusal) if refusal.code == STREAM_NOT_FOUND => Ok(None),
            Err(refusal) => Err(refusal.into_error(&action)),
        }
    }
}

fn status(wanted: &Wanted, info: &Value) -> StreamStatus {
    let state = |name: &str| info["state"][name].as_u64().unwrap_or_default();
    let mut lagging = Vec::new();
    for copy in info["cluster"]["replicas"].as_array().into_iter().flatten() {
        let is_whole = copy["current"].as_bool() == Some(true)
            && copy["offline"].as_bool() != Some(true)
            && copy["lag"].as_u64().unwrap_or_default() == 0;
        if !is_whole {
            lagging.push(copy["name"].as_str().unwrap_or_default().to_owned());
        }
    }
    StreamStatus {
        spec: wanted.spec.clone(),
        name: wanted.name.clone(),
        created_ns: created(info),
        messages: state("messages"),
        bytes: state("bytes"),
        // For a new stream the server says 0.
        first_sequence: state("first_seq").max(1),
        last_sequence: state("last_seq"),
        subjects: state("num_subjects"),
        consumers: state("consumer_count"),
        health: match lagging.is_empty() {
            true => StreamHealth::Whole,
            false => StreamHealth::Lagging(lagging),
        },
    }
}

#[async_trait]
impl StreamStore for NatsBus {
    async fn append(&self, append: Append) -> Result<Appended, BusError> {
        append.check()?;
        self.streams.of_subject(&append.subject)?;
        let map = self.headers_of_append(&append);
        let subject = Subject::from(self.prefix.add(&append.subject));
        let waited = self.config.request_deadline();
        let storing = self.store(&subject, Some(map), append.payload.clone());
        let stored = timeout(waited, storing)
            .await
            .map_err(|_| timed_out("store", waited))??;
        self.meter.published();
        Ok(Appended {
            sequence: stored.sequence,
            is_duplicate: stored.duplicate,
        })
    }

    async fn append_all(&self, batch: Vec<Append>) -> Result<u64, BusError> {
        check_batch(&batch)?;
        self.streams.of_subject(&batch[0].subject)?;
        let messages = batch.len();
        let last = self.store_all(batch).await?;
        (0..messages).for_each(|_| self.meter.published());
        Ok(last)
    }

    async fn last(&self, subject: &str) -> Result<Option<Message>, BusError> {
        self.check_connected()?;
        let wanted = self.streams.of_subject(subject)?;
        let name = wanted.name.as_str();
        let action = format!("read stream {name}");
        let failed = |reason: &str| api::error(&action, reason, true);
        let created_ns = created(&self.streams.info(name, &action, &json!({})).await?);
        let context = &self.streams.api.context;
        let stream = context.get_stream_no_info(name).await;
        let stream = stream.map_err(|error| failed(&error.to_string()))?;
        let full_subject = self.prefix.add(subject);
        match stream.get_last_raw_message_by_subject(&full_subject).await {
            Ok(message) => Ok(Some(Message {
                subject: subject.into(),
                payload: detached(&message.payload),
                headers: headers_of(&message.headers),
                position: Some(Box::new(Position {
                    stream_created_ns: created_ns,
                    sequence: message.sequence,
                    stored_ns: api::of_datetime(message.time),
                })),
            })),
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(failed(&error.to_string())),
        }
    }

    async fn range(&self, range: &Range) -> Result<Page, BusError> {
        range.check()?;
        let (root, pattern) = rooted(&range.pattern)?;
        let wanted = self.wanted_with(&root)?;
        let filter = self.prefix.add(pattern.as_str());
        let waited = self.config.request_deadline();
        range::page(&self.streams, &self.client, &wanted, &filter, range, waited).await
    }

    async fn consume(&self, spec: &ConsumerSpec) -> Result<Consumer, BusError> {
        let (root, _) = spec.check()?;
        let wanted = self.wanted_with(&root)?;
        let (streams, link) = (Arc::clone(&self.streams), Arc::clone(&self.link));
        let waited = self.config.request_deadline();
        let consumer = NatsConsumer::new(streams, link, wanted, spec, waited).await?;
        Ok(Consumer::new(consumer))
    }

    async fn delete_consumer(&self, root: &str, name: &str) -> Result<bool, BusError> {
        let wanted = self.wanted_with(root)?;
        // The name goes into a subject of the API.
        check_subject(name)?;
        let action = format!("delete consumer {name}");
        let info = self.streams.info(&wanted.name, &action, &json!({})).await?;
        let name = durable_name(name, created(&info));
        let subject = format!("CONSUMER.DELETE.{}.{name}", wanted.name);
        match self
            .streams
            .api
            .request(&action, &subject, &json!({}))
            .await?
        {
            Ok(_) => Ok(true),
            Err(refusal) if refusal.code == CONSUMER_NOT_FOUND => Ok(false),
            Err(refusal) => Err(refusal.into_error(&action)),
        }
    }

    async fn put_stream(&self, spec: StreamSpec) -> Result<(), BusError> {
        spec.check()?;
        self.check_connected()?;
        let wanted = Arc::new(self.streams.wanted_of(&spec));
        self.streams.ensure_one(&wanted).await?;
        self.streams.write_wanted(|all| {
            match all.iter_mut().find(|one| one.spec.root == spec.root) {
                Some(one) => *one = wanted,
                None => all.push(wanted),
            }
        });
        Ok(())
    }

    async fn status(&self, root: &str) -> Result<Option<StreamStatus>, BusError> {
        self.check_connected()?;
        match self.streams.with_root(root) {
            Some(wanted) => self.status_of(&wanted).await,
            None => Ok(None),
        }
    }

    async fn statuses(&self) -> Result<Vec<StreamStatus>, BusError> {
        self.check_connected()?;
        let mut statuses = Vec::new();
        for wanted in self.streams.all() {
            statuses.extend(self.status_of(&wanted).await?);
        }
        Ok(statuses)
    }

    async fn delete_stream(&self, root: &str) -> Result<bool, BusError> {
        check_subject(root)?;
        self.check_connected()?;
        let Some(wanted) = self.streams.with_root(root) else {
            return Ok(false);
        };
        // First, because otherwise the keeper would create it again.
        self.streams
            .write_wanted(|all| all.retain(|one| one.spec.root != root));
        let action = format!("delete stream {}", wanted.name);
        let subject = format!("STREAM.DELETE.{}", wanted.name);
        match self
            .streams
            .api
            .request(&action, &subject, &json!({}))
            .await?
        {
            Ok(_) => Ok(true),
            Err(refusal) if refusal.code == STREAM_NOT_FOUND => Ok(false),
            Err(refusal) => Err(refusal.into_error(&action)),
        }
    }
}
