//! Questions and answers over NATS.

use std::sync::Arc;
use std::time::Duration;

use async_nats::client::{PublishErrorKind, RequestErrorKind};
use async_nats::{Client, Request, Subject, Subscriber};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::link::Link;
use super::pump::{detached, headers_of, map_of};
use super::{AbortOnDrop, NatsBus, timed_out};
use crate::request::{ERROR_CODE_HEADER, ERROR_HEADER, Refusal, Reply, check_question};
use crate::subject::{Pattern, Prefix, check_subject};
use crate::{BusError, Headers, Message, Question, Requests, Responder, meter};

#[async_trait]
impl Requests for NatsBus {
    async fn request(
        &self,
        subject: &str,
        headers: Headers,
        payload: Bytes,
        waited: Duration,
    ) -> Result<Message, BusError> {
        check_question(subject, |root| self.streams.with_root(root).is_some())?;
        self.check_connected()?;
        let payload_bytes = payload.len();
        let mut request = Request::new().payload(payload).timeout(Some(waited));
        if !headers.is_empty() {
            request = request.headers(map_of(&headers));
        }
        let full_subject = self.prefix.add(subject);
        let answer = self.client.send_request(full_subject, request).await;
        let answer = answer.map_err(|error| match error.kind() {
            RequestErrorKind::NoResponders => BusError::NoResponders {
                subject: subject.to_owned(),
            },
            RequestErrorKind::TimedOut => timed_out("answer a request", waited),
            RequestErrorKind::MaxPayloadExceeded => self.too_large(payload_bytes),
            RequestErrorKind::InvalidSubject | RequestErrorKind::Other => BusError::Disconnected,
        })?;
        if let Some(map) = &answer.headers
            && let Some(reason) = map.get(ERROR_HEADER)
        {
            let code = map.get(ERROR_CODE_HEADER).map(|code| code.as_str());
            return Err(Refusal::of(reason.as_str(), code).into_error(subject));
        }
        Ok(Message {
            headers: answer.headers.as_ref().and_then(headers_of),
            ..Message::new(subject, detached(&answer.payload))
        })
    }

    async fn serve(&self, pattern: &str, group: &str) -> Result<Responder, BusError> {
        let pattern = Pattern::new(pattern)?;
        check_subject(group)?;
        self.check_connected()?;
        let full_pattern = self.prefix.add(pattern.as_str());
        let waited = self.config.request_deadline();
        let subscribing = self.client.queue_subscribe(full_pattern, group.to_owned());
        let subscriber = timeout(waited, subscribing)
            .await
            .map_err(|_| timed_out("take a subscription", waited))?
            .map_err(|_| BusError::Closed)?;
        let (sender, questions) = mpsc::channel(self.config.bus_questions_max.max(1));
        let serving = Serving {
            client: self.client.clone(),
            link: Arc::clone(&self.link),
            prefix: self.prefix.clone(),
            publish_deadline: self.config.publish_deadline(),
            questions: sender,
        };
        let pump = self
            .pumps
            .spawn(serving.run(subscriber, self.link.closed()));
        let responder = Responder::new(questions, AbortOnDrop(pump));
        self.round_trip().await?;
        Ok(responder)
    }
}

/// Moves questions from the connection to a responder.
struct Serving {
    client: Client,
    link: Arc<Link>,
    prefix: Prefix,
    publish_deadline: Duration,
    questions: mpsc::Sender<Question>,
}

impl Serving {
    async fn run(self, mut subscriber: Subscriber, closed: CancellationToken) {
        loop {
            tokio::select! {
                biased;
                message = subscriber.next() => match message {
                    Some(message) => self.take(message).await,
                    None => return,
                },
                () = closed.cancelled() => break,
            }
        }
        while let Some(Some(message)) = subscriber.next().now_or_never() {
            self.take(message).await;
        }
    }

    async fn take(&self, message: async_nats::Message) {
        let (Some(reply), Some(subject)) =
            (message.reply.clone(), self.prefix.strip(&message.subject))
        else {
            // A publication to the subject is not a question.
            return;
        };
        let asked = Message {
            headers: message.headers.as_ref().and_then(headers_of),
            ..Message::new(subject, detached(&message.payload))
        };
        let reply = NatsReply {
            client: self.client.clone(),
            link: Arc::clone(&self.link),
            waited: self.publish_deadline,
            subject: reply,
        };
        let sent = self.questions.try_send(Question::new(asked, reply));
        if let Err(mpsc::error::TrySendError::Full(question)) = sent {
            meter::question_refused();
            // Without the answer the asker waits until its deadline.
            let _ = question.refuse_busy().await;
        }
    }
}

struct NatsReply {
    client: Client,
    link: Arc<Link>,
    waited: Duration,
    subject: Subject,
}

#[async_trait]
impl Reply for NatsReply {
    async fn send(
        self: Box<Self>,
        answer: Result<(Headers, Bytes), Refusal>,
    ) -> Result<(), BusError> {
        if !self.link.is_connected() {
            return Err(match self.link.is_closed() {
                true => BusError::Closed,
                false => BusError::Disconnected,
            });
        }
        let (map, payload) = match &answer {
            Ok((headers, payload)) => (map_of(headers), payload.clone()),
            Err(refusal) => {
                let (text, code) = refusal.text_and_code();
                let mut map = async_nats::HeaderMap::new();
                map.insert(ERROR_HEADER, text);
                map.insert(ERROR_CODE_HEADER, code);
                (map, Bytes::new())
            }
        };
        let payload_bytes = payload.len();
        let sent = match map.is_empty() {
            true => {
                timeout(
                    self.waited,
                    self.client.publish(self.subject.clone(), payload),
                )
                .await
            }
            false => {
                let send = self
                    .client
                    .publish_with_headers(self.subject.clone(), map, payload);
                timeout(self.waited, send).await
            }
        };
        match sent {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(match error.kind() {
                PublishErrorKind::MaxPayloadExceeded => BusError::PayloadTooLarge {
                    payload_bytes,
                    payload_bytes_max: self.client.max_payload(),
                },
                PublishErrorKind::InvalidSubject | PublishErrorKind::Send => BusError::Closed,
            }),
            Err(_) => Err(timed_out("take a message", self.waited)),
        }
    }
}
