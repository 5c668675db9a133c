//! Readers: of a consumer group, and of marks.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use krafka::consumer::{
    AutoOffsetReset, Consumer, ConsumerRecord, IsolationLevel, OffsetAndMetadata, TopicPartition,
};
use tokio::time::Instant;

use super::{InRecord, KafkaError, Mark, Offsets, Place, Reader};

/// Records that are looked at first from the end of a topic of marks; then ten times as many.
const LOOK_BACK: i64 = 200;
/// Of a look for marks.
const POLL: Duration = Duration::from_millis(100);
/// Most records and bytes that are read ahead.
const RECORDS_AHEAD: i32 = 2_000;
const BYTES_AHEAD: i32 = 8 << 20;
/// Most records of a poll.
const RECORDS_MAX: i32 = 500;

/// A member of a group.
pub(super) struct GroupReader(Consumer);

impl GroupReader {
    pub(super) async fn join(
        kafka: &krafka::Kafka,
        group: &str,
        topics: &[String],
    ) -> Result<GroupReader, KafkaError> {
        let consumer = kafka
            .consumer(group)
            .auto_offset_reset(AutoOffsetReset::Earliest)
            .enable_auto_commit(false)
            .isolation_level(IsolationLevel::ReadCommitted)
            .max_poll_records(RECORDS_MAX)
            .max_buffered_records(RECORDS_AHEAD)
            .fetch_max_bytes(BYTES_AHEAD)
            .metrics_push(false)
            .build()
            .await?;
        consumer.subscribe(topics).await?;
        Ok(GroupReader(consumer))
    }
}

fn in_record(record: ConsumerRecord) -> InRecord {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    InRecord {
        place: Place {
            topic: record.topic.to_string(),
            partition: record.partition,
            offset: record.offset,
        },
        headers: record
            .headers
            .iter()
            .filter_map(|(name, value)| Some((name.clone(), text(value.as_ref()?))))
            .collect(),
        value: record.value,
    }
}

#[async_trait]
impl Reader for GroupReader {
    async fn poll(&mut self, wait: Duration) -> Result<Vec<InRecord>, KafkaError> {
        let records = self.0.poll(wait).await?;
        Ok(records.into_iter().map(in_record).collect())
    }

    async fn commit(&mut self, next: &Offsets) -> Result<(), KafkaError> {
        let offsets: HashMap<TopicPartition, OffsetAndMetadata> = next
            .iter()
            .map(|((topic, partition), offset)| {
                let at = TopicPartition::new(topic.as_str(), *partition);
                (at, OffsetAndMetadata::new(*offset))
            })
            .collect();
        Ok(self.0.commit_offsets(&offsets).await?)
    }

    async fn seek(&mut self, next: &Offsets) -> Result<(), KafkaError> {
        for ((topic, partition), offset) in next {
            self.0.seek(topic, *partition, *offset).await?;
        }
        Ok(())
    }

    async fn lag(&self) -> u64 {
        let lags = self.0.lag().await;
        lags.values()
            .filter_map(|lag| lag.lag)
            .fold(0, u64::saturating_add)
    }

    async fn close(&mut self) {
        let _ = self.0.close().await;
    }
}

/// The newest committed mark of a key. It looks at more and more of the end of the partition.
pub(super) async fn newest_mark(
    kafka: &krafka::Kafka,
    topic: &str,
    key: &str,
    timeout: Duration,
) -> Result<Option<Mark>, KafkaError> {
    let consumer = kafka
        .consumer_without_group()
        .auto_offset_reset(AutoOffsetReset::Earliest)
        .isolation_level(IsolationLevel::ReadCommitted)
        .metrics_push(false)
        .build()
        .await?;
    let found = look_back(&consumer, topic, key, timeout).await;
    let _ = consumer.close().await;
    found
}

async fn look_back(
    consumer: &Consumer,
    topic: &str,
    key: &str,
    timeout: Duration,
) -> Result<Option<Mark>, KafkaError> {
    let metadata = consumer.fetch_metadata(Some(topic)).await?;
    let partitions = metadata
        .topics
        .first()
        .map_or(0, |topic| topic.partitions.len());
    if partitions == 0 {
        return Err(KafkaError::Unavailable(format!(
            "topic {topic} has no partitions yet"
        )));
    }
    // All of them: somebody may have given the topic more, and the key another one.
    let mut newest: Option<Mark> = None;
    for partition in 0..i32::try_from(partitions).unwrap_or(i32::MAX) {
        let (low, high) = consumer.fetch_watermarks(topic, partition).await?;
        consumer.assign(topic, vec![partition]).await?;
        let mut look_back = LOOK_BACK;
        loop {
            let begin = high.saturating_sub(look_back).max(low);
            consumer.seek(topic, partition, begin).await?;
            let found = read_marks(consumer, (topic, partition), key, high, timeout).await?;
            newest = newest.max(found);
            if found.is_some() || begin <= low {
                break;
            }
            look_back = look_back.saturating_mul(10);
        }
    }
    Ok(newest)
}

async fn read_marks(
    consumer: &Consumer,
    (topic, partition): (&str, i32),
    key: &str,
    high: i64,
    timeout: Duration,
) -> Result<Option<Mark>, KafkaError> {
    let mut newest = None;
    let mut deadline = Instant::now() + timeout;
    let is_end = |at: Option<i64>| at.is_some_and(|next| next >= high);
    while !is_end(consumer.position(topic, partition).await) {
        let records = consumer.poll(POLL).await?;
        if !records.is_empty() {
            deadline = Instant::now() + timeout;
        } else if is_end(consumer.fetch_position(topic, partition).await) {
            // The ends of transactions have offsets, too, and are no records.
            break;
        } else if Instant::now() > deadline {
            return Err(KafkaError::Unavailable(format!(
                "topic {topic} cannot be read to its end: a transaction is open"
            )));
        }
        for record in records {
            if record.key.as_deref() == Some(key.as_bytes())
                && let Some(value) = record.value
            {
                newest = serde_json::from_slice(&value).ok().or(newest);
            }
        }
    }
    Ok(newest)
}
