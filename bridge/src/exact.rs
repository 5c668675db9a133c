//! A stream of the bus to a topic of Kafka: each message once, or at least once.
//!
//! The place is kept in Kafka, in a topic of marks: a batch and its mark are one transaction. So
//! whoever writes next, after any end of this program, begins where the topic ends.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bus::{Bus, BusError, LogLimit, Message, PAGE_MESSAGES_MAX, Page, Position, Range, Start};
use bytes::Bytes;
use metrics::{counter, gauge, histogram};
use service::{Condition, wall_clock_ms};
use tracing::{error, info, warn};

use crate::backoff::Backoff;
use crate::error::Error;
use crate::kafka::{Kafka, KafkaError, Mark, OutRecord, Writer};
use crate::record::{FROM_KAFKA, Form};
use crate::stop::Stop;

/// Between two log lines about records that are set aside.
const LOG_INTERVAL: Duration = Duration::from_secs(10);
/// How often a mark is written again while nothing comes, so that Kafka does not forget it.
const MARK_INTERVAL: Duration = Duration::from_secs(3_600);

/// See the module.
pub(crate) struct Exact {
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) kafka: Arc<dyn Kafka>,
    pub(crate) form: Form,
    /// First token of the subjects.
    pub(crate) root: String,
    pub(crate) pattern: String,
    pub(crate) is_transactional: bool,
    pub(crate) marks_topic: String,
    pub(crate) batch_max: usize,
    pub(crate) batch_bytes_max: usize,
    pub(crate) record_bytes_max: usize,
    pub(crate) poll: Duration,
    pub(crate) retry_max: Duration,
    /// How long the stream has to end before the mark until that is believed.
    pub(crate) settle: Duration,
    pub(crate) condition: Condition,
    pub(crate) log: LogLimit,
}

/// In a cluster, the number of a stream's newest message may be behind for a moment.
pub(crate) const SETTLE: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
enum StepError {
    #[error("{0}")]
    Bus(#[from] BusError),
    #[error("{0}")]
    Kafka(#[from] KafkaError),
    #[error("the stream of the bus ends before the messages that are in kafka already")]
    Short,
}

/// A writer, and how far it is.
struct Course {
    writer: Box<dyn Writer>,
    mark: Mark,
    /// Messages of the next write: fewer after one was refused, to find it.
    limit: usize,
    marked_at: Instant,
    /// Since when the stream ends before the mark.
    short_since: Option<Instant>,
}

/// A name for one writer of one topic.
pub(crate) fn writer_name(site: &str, topic: &str) -> String {
    format!("klinecast-bridge-{site}-{topic}")
}

impl Exact {
    pub(crate) fn new_log() -> LogLimit {
        LogLimit::new(LOG_INTERVAL)
    }

    /// Carries until it is stopped.
    ///
    /// # Errors
    /// If the bus will never give the stream.
    pub(crate) async fn run(&mut self, stop: &Stop) -> Result<(), Error> {
        self.begin_counters();
        let mut backoff = Backoff::new(self.retry_max);
        let mut course: Option<Course> = None;
        while !stop.is_set() {
            let attempt = async {
                match &mut course {
                    Some(course) => self.step(course).await.map(Some),
                    None => self.begin().await.map(|begun| {
                        course = Some(begun);
                        None
                    }),
                }
            };
            // What is cut off here is ended by the next writer of this name.
            let outcome = tokio::select! {
                outcome = attempt => outcome,
                () = stop.passed() => return Ok(()),
            };
            match outcome {
                Ok(None) => {}
                Ok(Some(is_end)) => {
                    self.condition.met();
                    backoff.reset();
                    if is_end {
                        stop.sleep(self.poll).await;
                    }
                }
                Err(StepError::Bus(BusError::PositionLost { .. })) => course = None,
                Err(StepError::Bus(error)) if !error.is_retryable() && !stop.is_set() => {
                    return Err(error.into());
                }
                Err(error) => {
                    let side = match error {
                        StepError::Bus(_) | StepError::Short => "bus",
                        // What is in Kafka now is known only to the next writer.
                        StepError::Kafka(_) => {
                            course = None;
                            "kafka"
                        }
                    };
                    let topic = self.form.topic.clone();
                    counter!("bridge_errors_total", "topic" => topic, "side" => side).increment(1);
                    self.condition
                        .unmet(format!("{}: {error}", self.form.topic));
                    if backoff.failures().is_power_of_two() || backoff.failures() == 0 {
                        warn!(topic = self.form.topic, %error, failures = backoff.failures(), "messages do not get on to kafka now, trying again");
                    }
                    stop.sleep(backoff.next()).await;
                }
            }
        }
        if let Some(mut course) = course {
            course.writer.close().await;
        }
        Ok(())
    }

    /// Opens a writer, and finds the place.
    async fn begin(&self) -> Result<Course, StepError> {
        let name = writer_name(&self.form.site, &self.form.topic);
        let writer = self.kafka.writer(&name, self.is_transactional).await?;
        // After the writer: nobody else writes under this name then.
        let known = self.kafka.mark(&self.marks_topic, &name).await?;
        let streams = self.bus.streams();
        let Some(status) = streams.status(&self.root).await? else {
            return Err(StepError::Kafka(KafkaError::Unavailable(format!(
                "no stream of the bus keeps {}",
                self.pattern
            ))));
        };
        let beginning = Mark {
            created_ns: status.created_ns,
            sequence: 0,
            stored_ns: 0,
        };
        let mark = match known {
            Some(mark) if mark.created_ns == status.created_ns => mark,
            Some(_) => {
                self.say_anew("the bus has another stream than before");
                beginning
            }
            None => beginning,
        };
        info!(
            topic = self.form.topic,
            sequence = mark.sequence,
            newest = status.last_sequence,
            "carrying to kafka"
        );
        Ok(Course {
            writer,
            mark,
            limit: self.batch_max,
            marked_at: Instant::now(),
            short_since: None,
        })
    }

    /// An alert sees only a counter that was there before it rose.
    fn begin_counters(&self) {
        let topic = &self.form.topic;
        counter!("bridge_streams_anew_total", "topic" => topic.clone()).increment(0);
        for outcome in ["lost", "too_long", "refused"] {
            counter!("bridge_messages_total", "topic" => topic.clone(), "outcome" => outcome)
                .increment(0);
        }
    }

    fn say_anew(&self, why: &str) {
        let topic = self.form.topic.clone();
        counter!("bridge_streams_anew_total", "topic" => topic).increment(1);
        error!(
            topic = self.form.topic,
            why, "the stream is carried from its beginning: what is in kafka already comes again"
        );
    }

    /// A stream that has lost its newest messages, as after a restore, gives their numbers to other
    /// messages: it ends before the mark, or has another message there. Which of those are in Kafka is
    /// not known, so all of it is carried again.
    fn is_anew(&self, course: &mut Course, page: &mut Page) -> Result<bool, StepError> {
        let first = page.messages.first();
        let first = first.and_then(|first| first.position.as_deref());
        let at_mark = first.filter(|first| first.sequence == course.mark.sequence);
        let is_other = at_mark.is_some_and(|at| at.stored_ns != course.mark.stored_ns);
        if !is_other && page.last_sequence >= course.mark.sequence {
            let is_known = at_mark.is_some();
            page.messages.drain(..usize::from(is_known));
            if is_known && page.messages.is_empty() && !page.is_end {
                // There was room for this one only: the next page begins behind it.
                course.mark.stored_ns = 0;
            }
            course.short_since = None;
            return Ok(false);
        }
        let since = *course.short_since.get_or_insert_with(Instant::now);
        if !is_other && since.elapsed() < self.settle {
            return Err(StepError::Short);
        }
        self.say_anew("the stream of the bus has lost its newest messages");
        course.short_since = None;
        (course.mark.sequence, course.mark.stored_ns) = (0, 0);
        Ok(true)
    }

    /// Carries one page. True if it has to wait for the next one.
    async fn step(&mut self, course: &mut Course) -> Result<bool, StepError> {
        let start = Position {
            stream_created_ns: course.mark.created_ns,
            // With the message of the mark, if its time is known: it says whether it is still the same.
            sequence: match course.mark.stored_ns {
                0 => course.mark.sequence,
                _ => course.mark.sequence.saturating_sub(1),
            },
            stored_ns: 0,
        };
        let count = self.batch_max.saturating_add(1).min(PAGE_MESSAGES_MAX);
        let range = Range {
            bytes_max: self.batch_bytes_max,
            ..Range::new(self.pattern.as_str(), Start::After(start), count)
        };
        let mut page = self.bus.streams().range(&range).await?;
        if self.is_anew(course, &mut page)? {
            return Ok(false);
        }
        self.say_lost(course, &page);
        self.say_lag(course, &page);
        let mut from = 0;
        while from < page.messages.len() {
            let to = from.saturating_add(course.limit).min(page.messages.len());
            let part = &page.messages[from..to];
            match self.write(course, part).await {
                Ok(()) => {
                    course.limit = course.limit.saturating_mul(2).min(self.batch_max);
                    from = to;
                }
                Err(KafkaError::Refused(why)) if part.len() == 1 => {
                    self.set_aside(&part[0], "refused", &why);
                    self.write_mark(course, &part[0]).await?;
                    from = to;
                }
                Err(KafkaError::Refused(_)) => course.limit = part.len() / 2,
                Err(error) => return Err(error.into()),
            }
        }
        if page.messages.is_empty() && course.marked_at.elapsed() > MARK_INTERVAL {
            let mark = self.mark_record(course.mark);
            course.writer.write(Vec::new(), Some(mark)).await?;
            course.marked_at = Instant::now();
        }
        Ok(page.is_end)
    }

    fn say_lost(&self, course: &mut Course, page: &Page) {
        // Of some subjects only, the mark does not move with the stream.
        if self.pattern != format!("{}.>", self.root) {
            return;
        }
        let kept_from = page.first_sequence.saturating_sub(1);
        let lost = kept_from.saturating_sub(course.mark.sequence);
        if lost == 0 {
            return;
        }
        // At the very beginning, nothing was promised.
        if course.mark.sequence > 0 {
            self.count("lost", lost);
            error!(
                topic = self.form.topic,
                lost,
                "the bus no longer had these messages when they were to be carried: let it keep more with --journal-hours and --journal-bytes-max"
            );
        }
        course.mark.sequence = kept_from;
    }

    fn say_lag(&self, course: &Course, page: &Page) {
        let behind = page.last_sequence.saturating_sub(course.mark.sequence);
        let oldest = page
            .messages
            .first()
            .and_then(|first| first.position.as_deref());
        let seconds = oldest.map_or(0.0, |at| {
            let now_ms = u64::try_from(wall_clock_ms()).unwrap_or_default();
            now_ms.saturating_sub(at.stored_ns / 1_000_000) as f64 / 1_000.0
        });
        let behind = if page.messages.is_empty() { 0 } else { behind };
        gauge!("bridge_lag_messages", "topic" => self.form.topic.clone()).set(behind as f64);
        gauge!("bridge_lag_seconds", "topic" => self.form.topic.clone()).set(seconds);
    }

    /// Writes messages, and where they end.
    async fn write(&self, course: &mut Course, part: &[Message]) -> Result<(), KafkaError> {
        let mut records = Vec::with_capacity(part.len());
        let (mut from_kafka, mut too_long) = (0, Vec::new());
        for message in part {
            if message.header(FROM_KAFKA).is_some() {
                from_kafka += 1;
                continue;
            }
            let record = self.form.record(message);
            match record.bytes() > self.record_bytes_max {
                true => too_long.push(message),
                false => records.push(record),
            }
        }
        let written = records.len() as u64;
        let Some(mark) = part.last().and_then(mark_of) else {
            return Ok(());
        };
        let began = Instant::now();
        course
            .writer
            .write(records, Some(self.mark_record(mark)))
            .await?;
        histogram!("bridge_write_seconds", "topic" => self.form.topic.clone())
            .record(began.elapsed().as_secs_f64());
        course.mark = mark;
        course.marked_at = Instant::now();
        self.count("written", written);
        self.count("from_kafka", from_kafka);
        for message in too_long {
            let why = "it is longer than --kafka-record-bytes-max";
            self.set_aside(message, "too_long", why);
        }
        Ok(())
    }

    async fn write_mark(&self, course: &mut Course, last: &Message) -> Result<(), KafkaError> {
        if let Some(mark) = mark_of(last) {
            let record = self.mark_record(mark);
            course.writer.write(Vec::new(), Some(record)).await?;
            course.mark = mark;
        }
        Ok(())
    }

    fn mark_record(&self, mark: Mark) -> OutRecord {
        OutRecord {
            topic: self.marks_topic.clone(),
            key: writer_name(&self.form.site, &self.form.topic),
            value: Bytes::from(serde_json::to_vec(&mark).unwrap_or_default()),
            headers: Vec::new(),
        }
    }

    fn count(&self, outcome: &'static str, messages: u64) {
        if messages > 0 {
            counter!("bridge_messages_total", "topic" => self.form.topic.clone(), "outcome" => outcome)
                .increment(messages);
        }
    }

    fn set_aside(&self, message: &Message, outcome: &'static str, why: &str) {
        self.count(outcome, 1);
        if let Some(messages) = self.log.pass(Instant::now(), 1) {
            let position = message.position.as_deref();
            let sequence = position.map_or(0, |at| at.sequence);
            error!(
                topic = self.form.topic,
                subject = &*message.subject,
                sequence,
                bytes = message.payload.len(),
                messages,
                why,
                "messages are set aside: they stay on the bus and are not in kafka"
            );
        }
    }
}

fn mark_of(message: &Message) -> Option<Mark> {
    let at = message.position.as_deref()?;
    Some(Mark {
        created_ns: at.stream_created_ns,
        sequence: at.sequence,
        stored_ns: at.stored_ns,
    })
}
