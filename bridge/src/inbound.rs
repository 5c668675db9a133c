//! Records of Kafka into the bus, as a member of a consumer group.
//!
//! An offset is committed once the bus has what the record says. A record that is read again is
//! known to the streams by its id, and stored once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bus::{Append, Bus, BusError, Headers, LogLimit};
use futures_util::future::join_all;
use metrics::{counter, gauge};
use service::{Condition, Shutdown, wall_clock_ms};
use tracing::{info, warn};

use crate::backoff::Backoff;
use crate::config::Config;
use crate::epoch;
use crate::error::Error;
use crate::incoming::{Content, Numbers, Publication, read};
use crate::kafka::{
    InRecord, Kafka, KafkaError, NewTopic, Offsets, OutRecord, ReadBounds, Reader, Writer,
};
use crate::owners::Owners;
use crate::record::{FROM_KAFKA, SITE};
use crate::topic_map::TopicMap;

/// Longest wait for records.
const POLL: Duration = Duration::from_millis(500);
/// Between two log lines about records that are set aside.
const LOG_INTERVAL: Duration = Duration::from_secs(10);
/// How long a step may go on when the bridge ends.
const GRACE: Duration = Duration::from_secs(2);
/// Partitions of the topic of records that cannot be read.
const DEAD_LETTER_PARTITIONS: i32 = 1;

/// Why records are set aside.
const ASIDE: [&str; 6] = [
    "unreadable",
    "too_long",
    "ahead",
    "too_many",
    "owned",
    "undecodable",
];

/// See the module.
pub(crate) struct Inbound {
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) kafka: Arc<dyn Kafka>,
    pub(crate) config: Config,
    pub(crate) map: TopicMap,
    pub(crate) condition: Condition,
    pub(crate) shutdown: Shutdown,
}

/// The partition of records, and where to read on.
type Partition = (String, i32);

/// What a record became.
struct Plan {
    record: InRecord,
    publications: Vec<Publication>,
    /// Why it is set aside: a short name, and a text.
    aside: Option<(&'static str, String)>,
}

struct Session {
    reader: Box<dyn Reader>,
    dead_letters: Option<Box<dyn Writer>>,
    numbers: Numbers,
    /// Whether they must be of a new epoch: others may have read the partitions since, or what was
    /// numbered last may not be on the bus.
    is_outdated: bool,
    /// How often partitions were given to the reader when the numbers began.
    assignments: u64,
    owners: Owners,
    log: LogLimit,
}

#[derive(Debug, thiserror::Error)]
enum StepError {
    #[error("{0}")]
    Bus(#[from] BusError),
    #[error("{0}")]
    Kafka(#[from] KafkaError),
}

impl Inbound {
    /// The group that all bridges of a name read as.
    pub(crate) fn group(&self) -> String {
        format!("klinecast-bridge-{}", self.config.bridge_site)
    }

    /// Runs until the shutdown.
    ///
    /// # Errors
    /// If the bus will never take what is read.
    pub(crate) async fn run(self) -> Result<(), Error> {
        // An alert sees only a counter that was there before it rose.
        ASIDE.iter().for_each(|&reason| count(reason, 0));
        let mut backoff = Backoff::new(self.config.retry_max());
        let mut session: Option<Session> = None;
        self.condition.unmet("kafka has not answered yet");
        while !self.shutdown.is_triggered() {
            let attempt = async {
                match &mut session {
                    Some(session) => self.step(session).await.map(|()| true),
                    None => self.begin().await.map(|begun| {
                        session = Some(begun);
                        false
                    }),
                }
            };
            let outcome = tokio::select! {
                outcome = attempt => outcome,
                () = self.passed() => return Ok(()),
            };
            match outcome {
                Ok(false) => {}
                Ok(true) => {
                    self.condition.met();
                    backoff.reset();
                }
                Err(StepError::Bus(error)) if !error.is_retryable() => {
                    return match self.shutdown.is_triggered() {
                        true => Ok(()),
                        false => Err(error.into()),
                    };
                }
                Err(error) => {
                    let side = match error {
                        StepError::Bus(_) => "bus",
                        StepError::Kafka(_) => {
                            if let Some(mut ended) = session.take() {
                                ended.reader.close().await;
                            }
                            "kafka"
                        }
                    };
                    counter!("bridge_errors_total", "topic" => "in", "side" => side).increment(1);
                    self.condition.unmet(error.to_string());
                    if backoff.failures().is_power_of_two() || backoff.failures() == 0 {
                        warn!(%error, failures = backoff.failures(), "records of kafka do not get on to the bus now, trying again");
                    }
                    backoff.pause(&self.shutdown).await;
                }
            }
        }
        if let Some(mut session) = session {
            session.reader.close().await;
        }
        Ok(())
    }

    /// Waits until what runs has had a while to end in order.
    async fn passed(&self) {
        self.shutdown.triggered().await;
        tokio::time::sleep(GRACE).await;
    }

    async fn begin(&self) -> Result<Session, StepError> {
        let topics: Vec<String> = self.map.into_bus.keys().cloned().collect();
        let dead_letters = match &self.config.bridge_dead_letter_topic {
            Some(name) => {
                let topic = NewTopic {
                    name: name.clone(),
                    partitions: DEAD_LETTER_PARTITIONS,
                    is_compacted: false,
                };
                self.kafka.create_topics(&[topic]).await?;
                Some(self.kafka.writer(name, false).await?)
            }
            None => None,
        };
        let series_max = self.config.bridge_series_max;
        let owners = Owners::follow(Arc::clone(&self.bus), series_max).await?;
        let bounds = ReadBounds {
            records_max: self.config.bridge_batch_max,
            bytes_max: self.config.bridge_batch_bytes_max,
        };
        let reader = self.kafka.reader(&self.group(), &topics, bounds).await?;
        info!(?topics, group = self.group(), "reading from kafka");
        Ok(Session {
            reader,
            dead_letters,
            numbers: Numbers::new(0),
            is_outdated: true,
            assignments: 0,
            owners,
            log: LogLimit::new(LOG_INTERVAL),
        })
    }

    /// Reads some records, and commits those that the bus has.
    async fn step(&self, session: &mut Session) -> Result<(), StepError> {
        let records = session.reader.poll(POLL).await?;
        gauge!("bridge_in_lag_records").set(session.reader.lag().await as f64);
        if records.is_empty() {
            return Ok(());
        }
        let mut first = Offsets::new();
        for record in &records {
            let partition = (record.place.topic.clone(), record.place.partition);
            first.entry(partition).or_insert(record.place.offset);
        }
        let outcome = self.take(session, records, &mut first).await;
        session.is_outdated |= outcome.is_err();
        // What is done is committed also where something else failed.
        let committed = session.reader.commit(&first).await;
        if outcome.is_err() {
            session.reader.seek(&first).await?;
        }
        outcome?;
        Ok(committed?)
    }

    /// Moves `next` behind what the bus has.
    async fn take(
        &self,
        session: &mut Session,
        records: Vec<InRecord>,
        next: &mut Offsets,
    ) -> Result<(), StepError> {
        session.owners.update().await?;
        let assignments = session.reader.assignments();
        if session.is_outdated || session.assignments != assignments {
            let now_ms = u64::try_from(wall_clock_ms()).unwrap_or_default();
            session
                .numbers
                .renew(epoch::next(&*self.bus, now_ms).await?);
            (session.is_outdated, session.assignments) = (false, assignments);
        }
        let mut lanes: BTreeMap<Partition, Vec<Plan>> = BTreeMap::new();
        for record in records {
            let partition = (record.place.topic.clone(), record.place.partition);
            let plan = self.plan(session, record).await?;
            lanes.entry(partition).or_default().push(plan);
        }
        // Partitions side by side; each of them in its order.
        let published = join_all(lanes.values().map(|plans| self.publish(plans))).await;
        let flushed = self.bus.flush().await;
        let mut failed = None;
        for ((partition, plans), outcome) in lanes.into_iter().zip(published) {
            let (done, error) = match &flushed {
                Ok(()) => outcome,
                Err(error) => (0, Some(error.clone())),
            };
            for plan in plans.into_iter().take(done) {
                let offset = plan.record.place.offset;
                if let Some((reason, why)) = &plan.aside {
                    self.set_aside(session, &plan.record, reason, why).await?;
                }
                next.insert(partition.clone(), offset.saturating_add(1));
            }
            failed = failed.or(error);
        }
        failed.map_or(Ok(()), |error| Err(error.into()))
    }

    async fn plan(&self, session: &mut Session, record: InRecord) -> Result<Plan, StepError> {
        let Session {
            numbers, owners, ..
        } = session;
        let planned = |record, publications, aside| {
            Ok(Plan {
                record,
                publications,
                aside,
            })
        };
        if let Some(batch) = &record.undecodable {
            let (first, last) = (batch.first_offset, record.place.offset);
            let why = format!("offsets {first} to {last}: {}", batch.why);
            return planned(record, Vec::new(), Some(("undecodable", why)));
        }
        let site = record.headers.iter().find(|(name, _)| name == SITE);
        if site.is_some_and(|(_, site)| *site == self.config.bridge_site) {
            count("own", 1);
            return planned(record, Vec::new(), None);
        }
        let Some(topic) = self.map.into_bus.get(&record.place.topic) else {
            return planned(record, Vec::new(), None);
        };
        let incoming = match read(topic, record.value.as_deref(), wall_clock_ms()) {
            Ok(incoming) => incoming,
            Err(aside) => return planned(record, Vec::new(), Some(aside)),
        };
        let is_new = !numbers.has(incoming.topic().as_str());
        if is_new && numbers.len() >= self.config.bridge_series_max {
            let aside = (
                "too_many",
                "there are more than --bridge-series-max".to_owned(),
            );
            return planned(record, Vec::new(), Some(aside));
        }
        let now_ms = wall_clock_ms();
        let refusal = owners.refusal(&incoming.exchange, &incoming.symbol, now_ms);
        if let Some(aside) = refusal.await? {
            return planned(record, Vec::new(), Some(aside));
        }
        let now_us = now_ms.saturating_mul(1_000);
        let is_trade = matches!(incoming.content, Content::Trade(_));
        let mut publications = incoming.publications(numbers, now_us);
        for publication in &mut publications {
            publication.is_stored |= is_trade && self.config.trades;
        }
        planned(record, publications, None)
    }

    /// Publishes the records of a partition; how many are done, and why no more.
    async fn publish(&self, plans: &[Plan]) -> (usize, Option<BusError>) {
        for (done, plan) in plans.iter().enumerate() {
            for publication in &plan.publications {
                if let Err(error) = self.publish_one(&plan.record, publication).await {
                    return (done, Some(error));
                }
            }
            if !plan.publications.is_empty() {
                count("published", 1);
            }
        }
        (plans.len(), None)
    }

    async fn publish_one(&self, of: &InRecord, publication: &Publication) -> Result<(), BusError> {
        let place = &of.place;
        let from = format!("{}/{}/{}", place.topic, place.partition, place.offset);
        let mut headers = Headers::new();
        headers.set(FROM_KAFKA, &from)?;
        let Publication {
            subject,
            payload,
            is_stored,
        } = publication;
        if !is_stored {
            return self
                .bus
                .publish_with(subject, headers, payload.clone())
                .await;
        }
        let append = Append {
            headers,
            message_id: Some(format!("{}/{from}", self.group())),
            ..Append::new(subject.as_str(), payload.clone())
        };
        self.bus.streams().append(append).await.map(|_| ())
    }

    async fn set_aside(
        &self,
        session: &mut Session,
        record: &InRecord,
        reason: &'static str,
        why: &str,
    ) -> Result<(), StepError> {
        let place = &record.place;
        if let (Some(writer), Some(topic)) = (
            &mut session.dead_letters,
            &self.config.bridge_dead_letter_topic,
        ) {
            let from = format!("{}/{}/{}", place.topic, place.partition, place.offset);
            let letter = OutRecord {
                topic: topic.clone(),
                key: from.clone(),
                value: record.value.clone().unwrap_or_default(),
                headers: vec![
                    (FROM_KAFKA.to_owned(), from),
                    ("klinecast-reason".to_owned(), format!("{reason}: {why}")),
                ],
            };
            match writer.write(vec![letter], None).await {
                Ok(()) | Err(KafkaError::Refused(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let first = record.undecodable.as_ref();
        let first = first.map_or(place.offset, |batch| batch.first_offset);
        let records = place.offset.saturating_sub(first).saturating_add(1);
        let records = u64::try_from(records).unwrap_or(1);
        count(reason, records);
        if let Some(records) = session.log.pass(Instant::now(), records) {
            warn!(
                topic = place.topic,
                partition = place.partition,
                offset = place.offset,
                reason,
                why,
                records,
                "records of kafka are set aside"
            );
        }
        Ok(())
    }
}

fn count(outcome: &'static str, records: u64) {
    counter!("bridge_in_records_total", "outcome" => outcome).increment(records);
}
