//! Values that no stream keeps to a topic of Kafka. What Kafka does not take in time is replaced by
//! newer values, or pushed out, and counted.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bus::{Bus, BusError, Delivery, LogLimit, Message, Subscription};
use metrics::{counter, gauge};
use service::Condition;
use tokio::task::JoinHandle;
use tracing::{error, warn};

use crate::backoff::Backoff;
use crate::error::Error;
use crate::exact::writer_name;
use crate::kafka::{Kafka, KafkaError, OutRecord, Writer};
use crate::pending::{Fates, Pending};
use crate::record::{FROM_KAFKA, Form};
use crate::stop::Stop;

/// Most deliveries that are taken in before it is looked whether a write is due.
const TAKE_MAX: usize = 1_000;

/// See the module.
pub(crate) struct Live {
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) kafka: Arc<dyn Kafka>,
    pub(crate) form: Form,
    pub(crate) pattern: String,
    pub(crate) pending: Pending,
    pub(crate) batch_max: usize,
    pub(crate) batch_bytes_max: usize,
    pub(crate) record_bytes_max: usize,
    pub(crate) retry_max: Duration,
    pub(crate) condition: Condition,
    pub(crate) log: LogLimit,
}

/// A write that has ended.
struct Written {
    writer: Option<Box<dyn Writer>>,
    batch: Vec<Message>,
    outcome: Result<u64, KafkaError>,
}

impl Live {
    /// Carries until it is stopped.
    ///
    /// # Errors
    /// If the bus will never give the values.
    pub(crate) async fn run(&mut self, stop: &Stop) -> Result<(), Error> {
        // An alert sees only a counter that was there before it rose.
        for outcome in ["lost", "too_long", "refused", "dropped"] {
            let topic = self.form.topic.clone();
            counter!("bridge_messages_total", "topic" => topic, "outcome" => outcome).increment(0);
        }
        let ended = self.carry(stop).await;
        // Another bridge does not have them.
        self.count("dropped", self.pending.len() as u64);
        ended
    }

    async fn carry(&mut self, stop: &Stop) -> Result<(), Error> {
        let mut backoff = Backoff::new(self.retry_max);
        while !stop.is_set() {
            match self.listen(stop).await {
                Ok(()) => backoff.reset(),
                Err(error) if !error.is_retryable() && !stop.is_set() => return Err(error.into()),
                Err(error) => {
                    self.failed("bus", &error);
                    stop.sleep(backoff.next()).await;
                }
            }
        }
        Ok(())
    }

    async fn listen(&mut self, stop: &Stop) -> Result<(), BusError> {
        let mut subscription = self.bus.subscribe(&self.pattern).await?;
        self.take_retained().await?;
        let mut backoff = Backoff::new(self.retry_max);
        let mut writer: Option<Box<dyn Writer>> = None;
        let mut writing: Option<JoinHandle<Written>> = None;
        let mut in_flight = 0;
        let mut not_before = Instant::now();
        self.condition.met();
        let outcome = loop {
            if writing.is_none() && !self.pending.is_empty() && not_before <= Instant::now() {
                let batch = self.pending.take(self.batch_max, self.batch_bytes_max);
                in_flight = batch.len() as u64;
                writing = Some(self.start(writer.take(), batch));
            }
            let is_waiting = writing.is_none() && !self.pending.is_empty();
            tokio::select! {
                delivery = subscription.recv() => {
                    if let Err(error) = self.take(delivery, &mut subscription).await {
                        break Err(error);
                    }
                }
                written = ended(&mut writing), if writing.is_some() => {
                    writing = None;
                    let Some(written) = written else {
                        // It has panicked, and its values with it: what is retained is still there.
                        self.count("dropped", in_flight);
                        self.failed("kafka", &"a write has ended without an answer");
                        match self.take_retained().await {
                            Ok(()) => continue,
                            Err(error) => break Err(error),
                        }
                    };
                    writer = written.writer;
                    match written.outcome {
                        Ok(records) => {
                            backoff.reset();
                            self.condition.met();
                            self.count("written", records);
                        }
                        Err(error) => {
                            let fates = self.pending.put_back(written.batch);
                            self.count_fates(fates);
                            self.failed("kafka", &error);
                            if backoff.failures().is_power_of_two() || backoff.failures() == 0 {
                                warn!(topic = self.form.topic, %error, failures = backoff.failures(), "live values do not get on to kafka now, trying again");
                            }
                            not_before = Instant::now() + backoff.next();
                        }
                    }
                }
                () = tokio::time::sleep_until(not_before.into()), if is_waiting => {}
                () = stop.wait() => break Ok(()),
            }
            gauge!("bridge_pending", "topic" => self.form.topic.clone())
                .set(self.pending.len() as f64);
        };
        if let Some(mut writing) = writing {
            let written = tokio::select! {
                written = &mut writing => written.ok(),
                () = stop.wait() => None,
            };
            writing.abort();
            self.settle(written, in_flight);
        }
        if let Some(mut writer) = writer {
            writer.close().await;
        }
        outcome
    }

    /// The end of a write that nobody waits for. `None`: what it has written, if anything, is not known.
    fn settle(&mut self, written: Option<Written>, in_flight: u64) {
        match written {
            None => self.count("dropped", in_flight),
            Some(written) => match written.outcome {
                Ok(records) => self.count("written", records),
                Err(_) => {
                    let fates = self.pending.put_back(written.batch);
                    self.count_fates(fates);
                }
            },
        }
    }

    async fn take(
        &mut self,
        delivery: Option<Delivery>,
        subscription: &mut Subscription,
    ) -> Result<(), BusError> {
        let mut next = Some(delivery.ok_or(BusError::Closed)?);
        for left in (0..TAKE_MAX).rev() {
            match next {
                Some(Delivery::Message(message)) => self.put(message),
                // What waits behind the notice is as new or newer, and is put afterwards.
                Some(Delivery::Lagged { lost }) => {
                    self.count("lost", lost);
                    self.take_retained().await?;
                }
                Some(Delivery::Reconnected) => self.take_retained().await?,
                None => return Ok(()),
            }
            next = match left {
                0 => None,
                _ => subscription.try_recv(),
            };
        }
        Ok(())
    }

    /// The newest values of before. A channel that keeps none has none.
    async fn take_retained(&mut self) -> Result<(), BusError> {
        match self.bus.last_values(&self.pattern).await {
            Ok(messages) => messages.into_iter().for_each(|message| self.put(message)),
            Err(BusError::NotRetained { .. }) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn put(&mut self, mut message: Message) {
        if message.header(FROM_KAFKA).is_some() {
            return self.count("from_kafka", 1);
        }
        // That of the newest values says nothing about those that were never kept.
        message.position = None;
        let fates = self.pending.put(message);
        self.count_fates(fates);
    }

    /// Writes in a task of its own: meanwhile, newer values come.
    fn start(
        &self,
        writer: Option<Box<dyn Writer>>,
        mut batch: Vec<Message>,
    ) -> JoinHandle<Written> {
        let mut records = Vec::with_capacity(batch.len());
        batch.retain(|message| {
            let record = self.form.record(message);
            let is_short = record.bytes() <= self.record_bytes_max;
            match is_short {
                true => records.push(record),
                false => self.set_aside(message),
            }
            is_short
        });
        let kafka = Arc::clone(&self.kafka);
        let name = writer_name(&self.form.site, &self.form.topic);
        let topic = self.form.topic.clone();
        tokio::spawn(async move {
            let mut writer = match writer {
                Some(writer) => writer,
                None => match kafka.writer(&name, false).await {
                    Ok(writer) => writer,
                    Err(error) => {
                        return Written {
                            writer: None,
                            batch,
                            outcome: Err(error),
                        };
                    }
                },
            };
            let outcome = write_all(&mut *writer, records, &topic).await;
            // One that has failed is left: its end may wait for a Kafka that is away.
            let writer = outcome.is_ok().then_some(writer);
            Written {
                writer,
                batch,
                outcome,
            }
        })
    }

    fn failed(&self, side: &'static str, error: &dyn std::fmt::Display) {
        let topic = self.form.topic.clone();
        counter!("bridge_errors_total", "topic" => topic, "side" => side).increment(1);
        self.condition
            .unmet(format!("{}: {error}", self.form.topic));
    }

    fn set_aside(&self, message: &Message) {
        self.count("too_long", 1);
        if let Some(messages) = self.log.pass(Instant::now(), 1) {
            error!(
                topic = self.form.topic,
                subject = &*message.subject,
                bytes = message.payload.len(),
                messages,
                "live values are longer than --kafka-record-bytes-max, and are not in kafka"
            );
        }
    }

    fn count(&self, outcome: &'static str, messages: u64) {
        count(&self.form.topic, outcome, messages);
    }

    fn count_fates(&self, fates: Fates) {
        self.count("conflated", fates.conflated);
        self.count("dropped", fates.dropped);
    }
}

async fn ended(writing: &mut Option<JoinHandle<Written>>) -> Option<Written> {
    writing.as_mut()?.await.ok()
}

/// Writes all; if one is refused, one by one, without those that are refused.
async fn write_all(
    writer: &mut dyn Writer,
    records: Vec<OutRecord>,
    topic: &str,
) -> Result<u64, KafkaError> {
    let all = records.len() as u64;
    match writer.write(records.clone(), None).await {
        Ok(()) => return Ok(all),
        Err(KafkaError::Refused(_)) => {}
        Err(error) => return Err(error),
    }
    let mut refused = 0;
    for record in records {
        match writer.write(vec![record], None).await {
            Ok(()) => {}
            Err(KafkaError::Refused(_)) => refused += 1,
            Err(error) => return Err(error),
        }
    }
    count(topic, "refused", refused);
    Ok(all.saturating_sub(refused))
}

fn count(topic: &str, outcome: &'static str, messages: u64) {
    if messages > 0 {
        counter!("bridge_messages_total", "topic" => topic.to_owned(), "outcome" => outcome)
            .increment(messages);
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use bus::{MemoryBus, StreamSpec};
    use bytes::Bytes;
    use service::Service;

    use super::*;
    use crate::exact::Exact;
    use crate::kafka::{Mark, NewTopic, ReadBounds, Reader};
    use crate::pending::Rule;
    use crate::topic_map::{Format, KeySymbols};

    struct Away;

    #[async_trait]
    impl Kafka for Away {
        async fn create_topics(&self, _: &[NewTopic]) -> Result<(), KafkaError> {
            Err(KafkaError::Unavailable("away".to_owned()))
        }

        async fn writer(&self, _: &str, _: bool) -> Result<Box<dyn Writer>, KafkaError> {
            Err(KafkaError::Unavailable("away".to_owned()))
        }

        async fn mark(&self, _: &str, _: &str) -> Result<Option<Mark>, KafkaError> {
            Err(KafkaError::Unavailable("away".to_owned()))
        }

        async fn reader(
            &self,
            _: &str,
            _: &[String],
            _: ReadBounds,
        ) -> Result<Box<dyn Reader>, KafkaError> {
            Err(KafkaError::Unavailable("away".to_owned()))
        }
    }

    fn live(bus: Arc<dyn Bus>) -> Live {
        Live {
            bus,
            kafka: Arc::new(Away),
            form: Form {
                topic: "live".to_owned(),
                format: Format::Json,
                symbols: KeySymbols::Dashed,
                site: "site".to_owned(),
            },
            pattern: "kline.>".to_owned(),
            pending: Pending::new(Rule::Newest, 10, 10_000),
            batch_max: 10,
            batch_bytes_max: 10_000,
            record_bytes_max: 10_000,
            retry_max: Duration::from_millis(10),
            condition: Service::for_test().readiness.condition("out"),
            log: Exact::new_log(),
        }
    }

    #[tokio::test]
    async fn notice_behind_a_message_brings_the_retained_values() {
        let memory = Arc::new(MemoryBus::with_streams(&[StreamSpec::newest(
            "kline", 1, false,
        )]));
        let value = Bytes::from_static(b"{}");
        let before = memory.publish("kline.1s.BEFORE", value.clone());
        before.await.expect("connected");
        let mut live = live(Arc::clone(&memory) as Arc<dyn Bus>);
        let mut subscription = memory.subscribe("kline.>").await.expect("connected");
        memory.tell_reconnected();
        let message = Message::new("kline.1s.AFTER", value);
        let taken = live.take(Some(Delivery::Message(message)), &mut subscription);
        taken.await.expect("connected");
        assert_eq!(live.pending.len(), 2);
    }
}
