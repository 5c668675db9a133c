//! Reads topics as a member of a consumer group.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use krafka::consumer::{
    AutoOffsetReset, Consumer, ConsumerRebalanceListener, ConsumerRecord, IsolationLevel,
    OffsetAndMetadata, TopicPartition,
};

use super::skip::{Prober, fault_text};
use super::{InRecord, KafkaError, Offsets, Place, ReadBounds, Reader};

/// Most bytes of one partition that a broker sends at once.
const PARTITION_BYTES_MAX: u32 = 1 << 20;

/// Most bytes that the records of a read, and of one that is read ahead, keep in memory. A record keeps
/// all of its batch, without the compression.
const KEPT_BYTES_MAX: usize = 128 << 20;

/// Most records of a read: each may be the only one that it keeps of a batch of so many bytes.
fn records_max(asked: u16, batch_bytes_max: usize) -> i32 {
    let batches = KEPT_BYTES_MAX / batch_bytes_max.saturating_mul(2).max(1);
    let batches = i32::try_from(batches).unwrap_or(i32::MAX);
    batches.clamp(1, i32::from(asked.max(1)))
}

/// A member of a group.
pub(super) struct GroupReader {
    consumer: Consumer,
    prober: Prober,
    assignments: Arc<AtomicU64>,
}

/// Counts assignments of partitions.
struct Assignments(Arc<AtomicU64>);

impl ConsumerRebalanceListener for Assignments {
    async fn on_partitions_assigned(&self, partitions: &[TopicPartition]) {
        if !partitions.is_empty() {
            self.0.fetch_add(1, Ordering::AcqRel);
        }
    }

    async fn on_partitions_revoked(&self, _: &[TopicPartition]) {}
}

impl GroupReader {
    /// `batch_bytes_max`: of one batch of records, without its compression.
    pub(super) async fn join(
        kafka: &krafka::Kafka,
        group: &str,
        topics: &[String],
        bounds: ReadBounds,
        batch_bytes_max: usize,
    ) -> Result<GroupReader, KafkaError> {
        let assignments = Arc::default();
        let bytes = |count: u32| i32::try_from(count).unwrap_or(i32::MAX);
        let records_max = records_max(bounds.records_max, batch_bytes_max);
        let partition_bytes_max = bytes(bounds.bytes_max.min(PARTITION_BYTES_MAX));
        let consumer = kafka
            .consumer(group)
            .auto_offset_reset(AutoOffsetReset::Earliest)
            .enable_auto_commit(false)
            .isolation_level(IsolationLevel::ReadCommitted)
            .max_poll_records(records_max)
            .max_buffered_records(records_max)
            .fetch_max_bytes(bytes(bounds.bytes_max))
            .max_partition_fetch_bytes(partition_bytes_max)
            .max_decompressed_size(batch_bytes_max)
            .rebalance_listener(Assignments(Arc::clone(&assignments)))
            .metrics_push(false)
            .build()
            .await?;
        consumer.subscribe(topics).await?;
        Ok(GroupReader {
            consumer,
            prober: Prober {
                kafka: kafka.clone(),
                batch_bytes_max,
                fetch_bytes_max: partition_bytes_max,
            },
            assignments,
        })
    }

    /// The partition, and the offset, at which a batch cannot be decoded.
    async fn faulty(&self, error: &str) -> Option<(String, i32, i64)> {
        for (topic, partitions) in self.consumer.assignment().await {
            for partition in partitions {
                let Some(at) = self.consumer.fetch_position(&topic, partition).await else {
                    continue;
                };
                if error.contains(&fault_text(&topic, partition, at)) {
                    return Some((topic, partition, at));
                }
            }
        }
        None
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
        undecodable: None,
    }
}

#[async_trait]
impl Reader for GroupReader {
    async fn poll(&mut self, wait: Duration) -> Result<Vec<InRecord>, KafkaError> {
        let error = match self.consumer.poll(wait).await {
            Ok(records) => return Ok(records.into_iter().map(in_record).collect()),
            Err(error) => error,
        };
        let Some((topic, partition, at)) = self.faulty(&error.to_string()).await else {
            return Err(error.into());
        };
        let Some(skipped) = self.prober.undecodable(&topic, partition, at).await? else {
            // It can be read by itself: the next attempt may succeed, too.
            return Err(error.into());
        };
        let next = skipped.place.offset.saturating_add(1);
        self.consumer.seek(&topic, partition, next).await?;
        Ok(vec![skipped])
    }

    async fn commit(&mut self, next: &Offsets) -> Result<(), KafkaError> {
        let offsets: HashMap<TopicPartition, OffsetAndMetadata> = next
            .iter()
            .map(|((topic, partition), offset)| {
                let at = TopicPartition::new(topic.as_str(), *partition);
                (at, OffsetAndMetadata::new(*offset))
            })
            .collect();
        Ok(self.consumer.commit_offsets(&offsets).await?)
    }

    async fn seek(&mut self, next: &Offsets) -> Result<(), KafkaError> {
        for ((topic, partition), offset) in next {
            self.consumer.seek(topic, *partition, *offset).await?;
        }
        Ok(())
    }

    fn assignments(&self) -> u64 {
        self.assignments.load(Ordering::Acquire)
    }

    async fn lag(&self) -> u64 {
        let lags = self.consumer.lag().await;
        lags.values()
            .filter_map(|lag| lag.lag)
            .fold(0, u64::saturating_add)
    }

    async fn close(&mut self) {
        let _ = self.consumer.close().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_a_read_are_so_few_that_their_batches_fit() {
        for (batch_bytes_max, expected) in [
            (1 << 20, 64),
            (16 << 20, 4),
            (64 << 20, 1),
            (1 << 40, 1),
            (64 << 10, 1_000),
        ] {
            let records = records_max(1_000, batch_bytes_max);
            assert_eq!(records, expected, "{batch_bytes_max}");
        }
        assert_eq!(records_max(10, 1 << 20), 10);
    }
}
