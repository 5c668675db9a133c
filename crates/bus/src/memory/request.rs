//! Questions and answers inside one process.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::coop::consume_budget;

use super::server::Server;
use super::{MemoryBus, Shared};
use crate::meter;
use crate::request::{Refusal, Reply, check_question};
use crate::subject::{Pattern, check_subject};
use crate::{BusError, Headers, Message, Question, Requests, Responder};

/// Turns, so that the servers of a group share the questions.
static TURN: AtomicUsize = AtomicUsize::new(0);

type AnswerOrRefusal = Result<(Headers, Bytes), Refusal>;

impl MemoryBus {
    /// One server of each group that serves `subject`.
    fn servers_of(&self, subject: &str) -> Vec<Arc<Server>> {
        let routing = self.shared.routing.read().expect("nothing panics under it");
        let mut groups: Vec<Vec<&Arc<Server>>> = Vec::new();
        for server in &routing.servers {
            if !server.pattern.matches(subject) {
                continue;
            }
            match groups
                .iter_mut()
                .find(|group| group[0].group == server.group)
            {
                Some(group) => group.push(server),
                None => groups.push(vec![server]),
            }
        }
        let turn = TURN.fetch_add(1, Ordering::Relaxed);
        groups
            .iter()
            .map(|group| Arc::clone(group[turn % group.len()]))
            .collect()
    }
}

#[async_trait]
impl Requests for MemoryBus {
    async fn request(
        &self,
        subject: &str,
        headers: Headers,
        payload: Bytes,
        waited: Duration,
    ) -> Result<Message, BusError> {
        check_question(subject, |root| self.shared.stream(root).is_some())?;
        consume_budget().await;
        let headers = (!headers.is_empty()).then(|| Arc::new(headers));
        // Subscriptions hear the question, too.
        let route = self.send(subject, &payload, headers.as_ref())?;
        let servers = self.servers_of(subject);
        if servers.is_empty() && route.queues.is_empty() {
            return Err(BusError::NoResponders {
                subject: subject.to_owned(),
            });
        }
        let (sender, mut answers) = mpsc::channel(1);
        for server in servers {
            let message = Message {
                headers: headers.clone(),
                ..Message::new(Arc::clone(&route.subject), payload.clone())
            };
            let question = Question::new(message, MemoryReply(sender.clone()));
            if server.questions.try_send(question).is_err() {
                meter::question_refused();
                let _ = sender.try_send(Err(Refusal::Busy));
            }
        }
        // `sender` stays, so that a question that nobody answers ends by the deadline.
        match tokio::time::timeout(waited, answers.recv()).await {
            Ok(Some(Ok((headers, payload)))) => Ok(Message {
                headers: (!headers.is_empty()).then(|| Arc::new(headers)),
                ..Message::new(subject, payload)
            }),
            Ok(Some(Err(refusal))) => Err(refusal.into_error(subject)),
            Ok(None) | Err(_) => Err(BusError::Timeout {
                action: "answer a request",
                waited_ms: u64::try_from(waited.as_millis()).unwrap_or(u64::MAX),
            }),
        }
    }

    async fn serve(&self, pattern: &str, group: &str) -> Result<Responder, BusError> {
        let pattern = Pattern::new(pattern)?;
        check_subject(group)?;
        let (sender, questions) = mpsc::channel(self.questions_max);
        let server = Arc::new(Server {
            pattern,
            group: group.into(),
            questions: sender,
        });
        let mut routing = self
            .shared
            .routing
            .write()
            .expect("nothing panics under it");
        // Under the lock, because `drain` ends the questions that it finds there.
        self.check_open()?;
        routing.servers.push(Arc::clone(&server));
        drop(routing);
        let guard = EndServing {
            shared: Arc::downgrade(&self.shared),
            server: Arc::downgrade(&server),
        };
        Ok(Responder::new(questions, guard))
    }
}

/// Takes a server out when its responder is dropped. It holds no sender itself, so that a drain
/// ends the responder.
struct EndServing {
    shared: Weak<Shared>,
    server: Weak<Server>,
}

impl Drop for EndServing {
    fn drop(&mut self) {
        let (Some(shared), Some(server)) = (self.shared.upgrade(), self.server.upgrade()) else {
            return;
        };
        // A poisoned lock means that a panic is under way already.
        if let Ok(mut routing) = shared.routing.write() {
            routing.servers.retain(|other| !Arc::ptr_eq(other, &server));
        }
    }
}

struct MemoryReply(mpsc::Sender<AnswerOrRefusal>);

#[async_trait]
impl Reply for MemoryReply {
    async fn send(self: Box<Self>, answer: AnswerOrRefusal) -> Result<(), BusError> {
        // The first answer counts; the asker may be gone.
        let _ = self.0.try_send(answer);
        Ok(())
    }
}
