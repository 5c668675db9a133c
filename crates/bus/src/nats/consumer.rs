//! Durable consumers of JetStream.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::consumer::pull::{self, Batch};
use async_nats::jetstream::{AckKind, consumer};
use async_nats::{Request, RequestErrorKind, Subject};
use async_trait::async_trait;
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::time::timeout;
use tracing::warn;

use super::api::{self, CONSUMER_NOT_FOUND};
use super::link::Link;
use super::pump::{detached, headers_of};
use super::range::{created, position_lost, rfc3339};
use super::stream::{Streams, Wanted};
use crate::consumer::{AckHandle, Answer, ConsumerSource};
use crate::{BusError, ConsumerSpec, ConsumerStatus, Message, Position, Start, Taken, meter};

/// Messages asked for at once. The wait for their acknowledgement begins when the server gives them
/// out, so few of them wait here.
const BATCH_LEN: usize = 64;
/// How long the server waits for a message before we ask again. A request is lost without a word
/// when another server of a cluster takes the consumer over.
const PULL_EXPIRES: Duration = Duration::from_secs(5);
/// Between two times that a consumer which went missing is made again.
const RENEW_REST: Duration = Duration::from_millis(200);

/// Reads one stream under a name.
pub(super) struct NatsConsumer {
    streams: Arc<Streams>,
    link: Arc<Link>,
    wanted: Arc<Wanted>,
    spec: ConsumerSpec,
    waited: Duration,
    pull: consumer::Consumer<pull::Config>,
    created_ns: u64,
    batch: Option<Batch>,
    /// The first message of the batch, until it is known to be of the stream that was created at
    /// `created_ns`. Here, so that a dropped call does not lose it.
    first: Option<async_nats::jetstream::Message>,
    is_batch_known: bool,
    must_renew: bool,
}

impl NatsConsumer {
    pub(super) async fn new(
        streams: Arc<Streams>,
        link: Arc<Link>,
        wanted: Arc<Wanted>,
        spec: &ConsumerSpec,
        waited: Duration,
    ) -> Result<NatsConsumer, BusError> {
        let (pull, created_ns) = ensure(&streams, &wanted, spec, None).await?;
        Ok(NatsConsumer {
            streams,
            link,
            wanted,
            spec: spec.clone(),
            waited,
            pull,
            created_ns,
            batch: None,
            first: None,
            is_batch_known: false,
            must_renew: false,
        })
    }

    /// The next message of the batch under way; `None` if the batch is over.
    async fn of_batch(&mut self) -> Result<Option<Taken>, BusError> {
        if self.first.is_some() {
            return self.check_first().await;
        }
        if self.batch.is_none() {
            let most = self.spec.in_flight_max.min(BATCH_LEN);
            let pulled = self.pull.batch().max_messages(most).expires(PULL_EXPIRES);
            let pulled = pulled.messages().await;
            self.batch = Some(pulled.map_err(|error| self.failed(&error.to_string()))?);
            self.is_batch_known = false;
        }
        let Some(batch) = &mut self.batch else {
            return Ok(None);
        };
        let closed = self.link.closed();
        let next = tokio::select! {
            next = timeout(PULL_EXPIRES * 2, batch.next()) => next.ok().flatten(),
            // The request went down with the connection.
            () = self.link.restored() => None,
            () = closed.cancelled() => return Err(BusError::Closed),
        };
        match next {
            None => {
                self.batch = None;
                Ok(None)
            }
            Some(Ok(message)) if self.is_batch_known => self.taken(message).map(Some),
            Some(Ok(message)) => {
                self.first = Some(message);
                self.check_first().await
            }
            Some(Err(error)) => {
                self.batch = None;
                self.must_renew = true;
                Err(self.failed(&error.to_string()))
            }
        }
    }

    /// Looks whether the stream is still the known one: another reader of our name may have
    /// made the consumer again, on a stream that was created again. A batch comes from one consumer,
    /// and the look comes after its first message, so it holds for the whole batch. A message of
    /// another stream is given out again later.
    async fn check_first(&mut self) -> Result<Option<Taken>, BusError> {
        let action = format!("look up stream {}", self.wanted.name);
        let body = json!({});
        let info = self.streams.info(&self.wanted.name, &action, &body).await;
        let first = self.first.take();
        let is_known = info.map(|info| created(&info) == self.created_ns);
        if is_known == Ok(true) {
            self.is_batch_known = true;
            return first.map(|message| self.taken(message)).transpose();
        }
        self.batch = None;
        self.must_renew = true;
        is_known?;
        Err(self.failed("the stream was created again"))
    }

    fn taken(&self, message: async_nats::jetstream::Message) -> Result<Taken, BusError> {
        let info = message
            .info()
            .map_err(|error| self.failed(&error.to_string()))?;
        let position = Position {
            stream_created_ns: self.created_ns,
            sequence: info.stream_sequence,
            stored_ns: api::of_datetime(info.published),
        };
        let deliveries = u64::try_from(info.delivered).unwrap_or(1);
        if deliveries > 1 {
            meter::redelivered();
        }
        let reply = message.reply.clone();
        let reply = reply.ok_or_else(|| self.failed("a message without a way to answer it"))?;
        let message = message.message;
        let subject = self.streams.prefix.strip(&message.subject);
        let kept = Message {
            subject: subject.unwrap_or_default().into(),
            payload: detached(&message.payload),
            headers: message.headers.as_ref().and_then(headers_of),
            position: Some(Box::new(position)),
        };
        let handle = NatsAck {
            reply,
            created_ns: self.created_ns,
            streams: Arc::clone(&self.streams),
            wanted: Arc::clone(&self.wanted),
            link: Arc::clone(&self.link),
            waited: self.waited,
        };
        Ok(Taken::new(kept, deliveries, handle))
    }

    /// Makes a consumer again that went missing, perhaps with its stream.
    async fn renew(&mut self) -> Result<(), BusError> {
        tokio::time::sleep(RENEW_REST).await;
        let known = Some(self.created_ns);
        let renewed = ensure(&self.streams, &self.wanted, &self.spec, known).await;
        let (pull, created_ns) = renewed?;
        self.pull = pull;
        self.created_ns = created_ns;
        self.must_renew = false;
        Ok(())
    }

    fn failed(&self, reason: &str) -> BusError {
        api::error(
            &format!("read stream {} as {}", self.wanted.name, self.spec.name),
            reason,
            true,
        )
    }
}

#[async_trait]
impl ConsumerSource for NatsConsumer {
    async fn next(&mut self) -> Result<Taken, BusError> {
        loop {
            if self.link.is_closed() {
                return Err(BusError::Closed);
            }
            if !self.link.is_connected() {
                return Err(BusError::Disconnected);
            }
            if self.must_renew {
                self.renew().await?;
            }
            match self.of_batch().await {
                Ok(Some(taken)) => return Ok(taken),
                Ok(None) => {}
                Err(error) if error.is_retryable() => {
                    warn!(error = %error, "consumer interrupted, going on");
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn status(&self) -> Result<ConsumerStatus, BusError> {
        if self.link.is_closed() {
            return Err(BusError::Closed);
        }
        let action = format!("look up consumer {}", self.spec.name);
        let name = durable_name(&self.spec.name, self.created_ns);
        let subject = format!("CONSUMER.INFO.{}.{name}", self.wanted.name);
        let info = self
            .streams
            .api
            .request(&action, &subject, &json!({}))
            .await?
            .map_err(|refusal| refusal.into_error(&action))?;
        let number = |value: &Value| value.as_u64().unwrap_or_default();
        Ok(ConsumerStatus {
            acknowledged_to: number(&info["ack_floor"]["stream_seq"]),
            in_flight: number(&info["num_ack_pending"]),
            waiting: number(&info["num_pending"]),
        })
    }
}

/// The name of a consumer on the server. It belongs to one stream: if the consumer of a stream that
/// was created again had the same name, the acknowledgement of an old message would be taken for one
/// of the new message with its number.
pub(super) fn durable_name(name: &str, created_ns: u64) -> String {
    format!("{name}-{created_ns:x}")
}

/// Creates the consumer, or takes over the running one with what may change of it. Of a stream that
/// was created again since `known_ns` it reads all, for all of it is new.
async fn ensure(
    streams: &Streams,
    wanted: &Wanted,
    spec: &ConsumerSpec,
    known_ns: Option<u64>,
) -> Result<(consumer::Consumer<pull::Config>, u64), BusError> {
    let stream = wanted.name.as_str();
    let action = format!("create consumer {}", spec.name);
    let created_ns = created(&streams.info(stream, &action, &json!({})).await?);
    let name = durable_name(&spec.name, created_ns);
    let start = match known_ns {
        Some(known_ns) if known_ns != created_ns => Start::Oldest,
        _ => spec.start,
    };
    let filter = streams.prefix.add(&spec.pattern);
    let subject = format!("CONSUMER.INFO.{stream}.{name}");
    let running = streams.api.request(&action, &subject, &json!({})).await?;
    let before = match running {
        Ok(info) => Some(info["config"].clone()),
        Err(refusal) if refusal.code == CONSUMER_NOT_FOUND => None,
        Err(refusal) => return Err(refusal.into_error(&action)),
    };
    let mut config = match &before {
        Some(before) if before["filter_subject"] == json!(filter) => before.clone(),
        Some(before) => {
            let running = before["filter_subject"].as_str().unwrap_or_default();
            return Err(BusError::ConsumerConflict {
                name: spec.name.clone(),
                running: streams.prefix.strip(running).unwrap_or(running).to_owned(),
                wanted: spec.pattern.clone(),
            });
        }
        None => {
            let mut config = json!({
                "durable_name": name,
                "name": name,
                "filter_subject": filter,
                "ack_policy": "explicit",
                "replay_policy": "instant",
            });
            match start {
                Start::Oldest => config["deliver_policy"] = json!("all"),
                Start::After(position) if position.stream_created_ns == created_ns => {
                    config["deliver_policy"] = json!("by_start_sequence");
                    config["opt_start_seq"] = json!(position.sequence.saturating_add(1));
                }
                Start::After(_) => return Err(position_lost(wanted)),
                Start::Since(since_ns) => {
                    config["deliver_policy"] = json!("by_start_time");
                    config["opt_start_time"] = rfc3339(since_ns);
                }
            }
            config
        }
    };
    let ack_wait_ns = u64::try_from(spec.ack_wait.as_nanos()).unwrap_or(u64::MAX >> 1);
    config["ack_wait"] = json!(ack_wait_ns);
    config["max_ack_pending"] = json!(spec.in_flight_max);
    if before.as_ref() != Some(&config) {
        let subject = format!("CONSUMER.CREATE.{stream}.{name}");
        let body = json!({ "stream_name": stream, "config": config });
        streams
            .api
            .request(&action, &subject, &body)
            .await?
            .map_err(|refusal| refusal.into_error(&action))?;
    }
    let context = &streams.api.context;
    let pull = context
        .get_consumer_from_stream(name.as_str(), stream)
        .await;
    let pull = pull.map_err(|error| api::error(&action, &error.to_string(), true))?;
    Ok((pull, created_ns))
}

struct NatsAck {
    /// Where its consumer hears the answer.
    reply: Subject,
    /// When the stream of the message was created.
    created_ns: u64,
    streams: Arc<Streams>,
    wanted: Arc<Wanted>,
    link: Arc<Link>,
    waited: Duration,
}

impl NatsAck {
    /// Nobody hears the answer: the consumer has no leader for a moment, or is gone, perhaps with its
    /// stream.
    async fn unheard(&self) -> BusError {
        let action = format!("acknowledge a message of stream {}", self.wanted.name);
        let info = self
            .streams
            .info(&self.wanted.name, &action, &json!({}))
            .await;
        match info {
            Ok(info) if created(&info) == self.created_ns => {
                api::error(&action, "its consumer does not answer", true)
            }
            Ok(_) => position_lost(&self.wanted),
            Err(error) => error,
        }
    }
}

#[async_trait]
impl AckHandle for NatsAck {
    async fn answer(&self, answer: Answer) -> Result<(), BusError> {
        if !self.link.is_connected() {
            return Err(match self.link.is_closed() {
                true => BusError::Closed,
                false => BusError::Disconnected,
            });
        }
        let kind = match answer {
            Answer::Done => AckKind::Ack,
            Answer::Again(after) => AckKind::Nak(Some(after)),
            Answer::Working => AckKind::Progress,
        };
        // The server answers, so that a lost acknowledgement is not taken for one. The client
        // library's own call takes the word that nobody listens for such an answer.
        let request = Request::new()
            .payload(kind.into())
            .timeout(Some(self.waited));
        let client = self.streams.api.context.client();
        match client.send_request(self.reply.clone(), request).await {
            Ok(_) => Ok(()),
            Err(error) => Err(match error.kind() {
                RequestErrorKind::NoResponders => self.unheard().await,
                RequestErrorKind::TimedOut => {
                    super::timed_out("take an acknowledgement", self.waited)
                }
                _ => BusError::Disconnected,
            }),
        }
    }
}
