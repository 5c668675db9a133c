//! How far a topic is: the newest mark of a key.

use std::time::Duration;

use krafka::consumer::{AutoOffsetReset, Consumer, IsolationLevel};
use tokio::time::Instant;

use super::{KafkaError, Mark};

/// Records that are looked at first from the end of a topic of marks; then ten times as many.
const LOOK_BACK: i64 = 200;
/// Of a look for marks.
const POLL: Duration = Duration::from_millis(100);

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
