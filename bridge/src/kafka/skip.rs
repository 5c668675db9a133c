//! Batches that cannot be decoded: damaged ones, and those that are too long without their compression.
//!
//! krafka tells where such a batch begins, and not where it ends. So the end is looked for: the first
//! offset from which records can be read, at steps that double, and then by halves. Records between
//! two such batches that are close to each other may be skipped along with them.

use std::time::Duration;

use krafka::consumer::{AutoOffsetReset, Consumer, IsolationLevel};
use tokio::time::Instant;

use super::{InRecord, KafkaError, Place, Undecodable};

/// How long one offset may take.
const PROBE_MAX: Duration = Duration::from_secs(2);
/// Of a poll.
const POLL: Duration = Duration::from_millis(100);

/// What krafka says of a partition that cannot go on at an offset.
pub(super) fn fault_text(topic: &str, partition: i32, offset: i64) -> String {
    format!("undecodable record batch at {topic}-{partition} offset {offset};")
}

/// Reads single partitions beside the group.
pub(super) struct Prober {
    pub(super) kafka: krafka::Kafka,
    pub(super) batch_bytes_max: usize,
    pub(super) fetch_bytes_max: i32,
}

impl Prober {
    /// The batch at an offset, as a record; `None` if it can be decoded.
    ///
    /// # Errors
    /// `Unavailable` where that cannot be found out now.
    pub(super) async fn undecodable(
        &self,
        topic: &str,
        partition: i32,
        first_offset: i64,
    ) -> Result<Option<InRecord>, KafkaError> {
        let consumer = self
            .kafka
            .consumer_without_group()
            .auto_offset_reset(AutoOffsetReset::Earliest)
            .isolation_level(IsolationLevel::ReadCommitted)
            .max_poll_records(1)
            // Not its default, with as many batches.
            .max_buffered_records(1)
            .fetch_max_bytes(self.fetch_bytes_max)
            .max_partition_fetch_bytes(self.fetch_bytes_max)
            .max_decompressed_size(self.batch_bytes_max)
            .metrics_push(false)
            .build()
            .await?;
        let found = look(&consumer, topic, partition, first_offset).await;
        let _ = consumer.close().await;
        found
    }
}

async fn look(
    consumer: &Consumer,
    topic: &str,
    partition: i32,
    first_offset: i64,
) -> Result<Option<InRecord>, KafkaError> {
    let (_, end) = consumer.fetch_watermarks(topic, partition).await?;
    consumer.assign(topic, vec![partition]).await?;
    let Some(why) = fault_at(consumer, topic, partition, first_offset).await? else {
        return Ok(None);
    };
    // The last offset that cannot be read, and the first that can.
    let (mut bad, mut good) = (first_offset, None);
    let mut step: i64 = 1;
    let good = loop {
        let next = match good {
            Some(good) if good <= bad.saturating_add(1) => break good,
            Some(good) => bad.midpoint(good),
            None => bad.saturating_add(step).min(end),
        };
        // Nothing is there yet: whatever comes is a batch of its own.
        let is_good = next >= end || fault_at(consumer, topic, partition, next).await?.is_none();
        match is_good {
            true => good = Some(next),
            false => bad = next,
        }
        step = step.saturating_mul(2);
    };
    Ok(Some(InRecord {
        place: Place {
            topic: topic.to_owned(),
            partition,
            offset: good.saturating_sub(1),
        },
        value: None,
        headers: Vec::new(),
        undecodable: Some(Undecodable { first_offset, why }),
    }))
}

/// Why nothing can be read from an offset; `None` if something can.
async fn fault_at(
    consumer: &Consumer,
    topic: &str,
    partition: i32,
    offset: i64,
) -> Result<Option<String>, KafkaError> {
    consumer.seek(topic, partition, offset).await?;
    let deadline = Instant::now() + PROBE_MAX;
    loop {
        match consumer.poll(POLL).await {
            Ok(records) if !records.is_empty() => return Ok(None),
            // The ends of transactions have offsets, too, and are no records.
            Ok(_)
                if consumer
                    .fetch_position(topic, partition)
                    .await
                    .is_some_and(|at| at > offset) =>
            {
                return Ok(None);
            }
            Ok(_) if Instant::now() < deadline => {}
            Ok(_) => {
                return Err(KafkaError::Unavailable(format!(
                    "topic {topic}, partition {partition}: the end of a batch that cannot be decoded is not found now"
                )));
            }
            Err(error) => {
                let text = error.to_string();
                return match text.contains(&fault_text(topic, partition, offset)) {
                    true => Ok(Some(reason(&text).to_owned())),
                    false => Err(error.into()),
                };
            }
        }
    }
}

/// What is behind the advice.
fn reason(text: &str) -> &str {
    let advice = "Underlying error: ";
    text.split_once(advice).map_or(text, |(_, reason)| reason)
}
