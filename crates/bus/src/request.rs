//! Questions and answers: a request to any responder of a subject.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::mpsc;

use crate::spec::root_of;
use crate::subject::check_subject;
use crate::{BusError, Headers, Message};

/// Header of an answer that is an error; the name that NATS services use.
pub(crate) const ERROR_HEADER: &str = "Nats-Service-Error";
/// Header with its number, as HTTP has them.
pub(crate) const ERROR_CODE_HEADER: &str = "Nats-Service-Error-Code";
/// The number of `Busy`.
const BUSY_CODE: &str = "503";

/// Asks and answers. A question is sent at most once: repeat it only if a second question is
/// harmless.
#[async_trait]
pub trait Requests: Send + Sync {
    /// Asks, and waits for one answer. Subjects that a stream keeps cannot be asked: the stream
    /// would answer.
    ///
    /// # Errors
    /// `Subject`, `PayloadTooLarge`, `Closed`; `Refused` if the answer is an error; retryable:
    /// `NoResponders`, `Busy`, `Timeout` after `waited`, `Disconnected`.
    async fn request(
        &self,
        subject: &str,
        headers: Headers,
        payload: Bytes,
        waited: Duration,
    ) -> Result<Message, BusError>;

    /// Serves the questions of `pattern`. One of the responders with the same `group` gets a
    /// question.
    ///
    /// # Errors
    /// `Pattern`, `Closed`; retryable: `Disconnected`, `Timeout`.
    async fn serve(&self, pattern: &str, group: &str) -> Result<Responder, BusError>;
}

/// Receives questions. Dropping it ends the serving.
///
/// At most `bus_questions_max` questions wait in it. More are refused at once and counted, so that
/// the asker can turn to another responder.
pub struct Responder {
    questions: mpsc::Receiver<Question>,
    /// Ends the serving when dropped.
    _guard: Box<dyn Send + Sync>,
}

impl Responder {
    pub(crate) fn new(
        questions: mpsc::Receiver<Question>,
        guard: impl Send + Sync + 'static,
    ) -> Responder {
        Responder {
            questions,
            _guard: Box::new(guard),
        }
    }

    /// Waits for the next question; `None` once the bus has drained. Cancel safe. It continues by
    /// itself after a reconnect.
    pub async fn recv(&mut self) -> Option<Question> {
        self.questions.recv().await
    }
}

impl fmt::Debug for Responder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Responder")
    }
}

/// A question that waits for its answer. If it is dropped, its asker waits until the deadline.
pub struct Question {
    /// What is asked.
    pub message: Message,
    reply: Box<dyn Reply>,
}

impl Question {
    pub(crate) fn new(message: Message, reply: impl Reply + 'static) -> Question {
        Question {
            message,
            reply: Box::new(reply),
        }
    }

    /// Answers. The asker may have stopped waiting; this is not reported.
    ///
    /// # Errors
    /// `PayloadTooLarge`, `Closed`; retryable: `Disconnected`, `Timeout`.
    pub async fn answer(self, headers: Headers, payload: Bytes) -> Result<(), BusError> {
        self.reply.send(Ok((headers, payload))).await
    }

    /// Answers with an error: the asker gets [`BusError::Refused`] with this reason, of one line.
    ///
    /// # Errors
    /// As `answer`.
    pub async fn refuse(self, reason: &str) -> Result<(), BusError> {
        let reason = one_line(reason);
        self.reply.send(Err(Refusal::Refused(reason))).await
    }

    pub(crate) async fn refuse_busy(self) -> Result<(), BusError> {
        self.reply.send(Err(Refusal::Busy)).await
    }
}

impl fmt::Debug for Question {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Question({:?})", self.message)
    }
}

/// An answer that is an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Too many questions wait.
    Busy,
    Refused(String),
}

impl Refusal {
    /// As the values of [`ERROR_HEADER`] and [`ERROR_CODE_HEADER`].
    pub(crate) fn text_and_code(&self) -> (&str, &'static str) {
        match self {
            Refusal::Busy => ("busy", BUSY_CODE),
            Refusal::Refused(reason) => (reason, "400"),
        }
    }

    pub(crate) fn of(text: &str, code: Option<&str>) -> Refusal {
        match code {
            Some(BUSY_CODE) => Refusal::Busy,
            _ => Refusal::Refused(one_line(text)),
        }
    }

    pub(crate) fn into_error(self, subject: &str) -> BusError {
        let subject = subject.to_owned();
        match self {
            Refusal::Busy => BusError::Busy { subject },
            Refusal::Refused(reason) => BusError::Refused { subject, reason },
        }
    }
}

/// Whether `subject` can be asked, if `is_kept` says which roots a stream keeps. A stream
/// acknowledges the messages that it retains, and the asker would mistake this for the answer.
///
/// # Errors
/// `Subject`.
pub(crate) fn check_question(
    subject: &str,
    is_kept: impl FnOnce(&str) -> bool,
) -> Result<(), BusError> {
    check_subject(subject)?;
    if root_of(subject).is_some_and(is_kept) {
        return Err(BusError::Subject {
            subject: subject.to_owned(),
            reason: "a stream keeps it, so it cannot be asked",
        });
    }
    Ok(())
}

/// Bounded, and without characters that end a header.
fn one_line(reason: &str) -> String {
    let plain = reason.chars().map(|letter| match letter.is_control() {
        true => ' ',
        false => letter,
    });
    plain.take(512).collect::<String>().trim().to_owned()
}

#[async_trait]
pub(crate) trait Reply: Send + Sync {
    async fn send(
        self: Box<Self>,
        answer: Result<(Headers, Bytes), Refusal>,
    ) -> Result<(), BusError>;
}
