//! Steps against a bus in memory.

use async_trait::async_trait;
use bus::{Append, MemoryBus, StreamSpec};
use service::Service;
use tokio::sync::mpsc;

use super::*;
use crate::kafka::{NewTopic, ReadBounds, Reader};
use crate::topic_map::{Format, KeySymbols};

/// Writes into a channel: the values of a call.
struct Tape(mpsc::Sender<Vec<Bytes>>);

#[async_trait]
impl Writer for Tape {
    async fn write(
        &mut self,
        records: Vec<OutRecord>,
        _: Option<OutRecord>,
    ) -> Result<(), KafkaError> {
        let values = records.into_iter().map(|record| record.value).collect();
        self.0.send(values).await.expect("somebody reads");
        Ok(())
    }

    async fn close(&mut self) {}
}

struct Unused;

#[async_trait]
impl Kafka for Unused {
    async fn create_topics(&self, _: &[NewTopic]) -> Result<(), KafkaError> {
        Ok(())
    }

    async fn writer(&self, _: &str, _: bool) -> Result<Box<dyn Writer>, KafkaError> {
        Err(KafkaError::Unavailable("away".to_owned()))
    }

    async fn mark(&self, _: &str, _: &str) -> Result<Option<Mark>, KafkaError> {
        Ok(None)
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

#[tokio::test]
async fn stream_that_lost_its_newest_messages_is_carried_from_its_beginning() {
    let bus = Arc::new(MemoryBus::with_streams(&[StreamSpec::newest(
        "journal", 9, false,
    )]));
    for value in ["1", "2", "3"] {
        let append = Append::new("journal.1s.A-B", Bytes::from(value));
        bus.streams().append(append).await.expect("it is kept");
    }
    let status = bus.streams().status("journal").await.expect("a status");
    let mut exact = Exact {
        bus: bus as Arc<dyn Bus>,
        kafka: Arc::new(Unused),
        form: Form {
            topic: "klines".to_owned(),
            format: Format::Json,
            symbols: KeySymbols::Dashed,
            site: "site".to_owned(),
        },
        root: "journal".to_owned(),
        pattern: "journal.>".to_owned(),
        is_transactional: true,
        marks_topic: "marks".to_owned(),
        batch_max: 10,
        batch_bytes_max: 10_000,
        record_bytes_max: 10_000,
        poll: Duration::ZERO,
        retry_max: Duration::ZERO,
        settle: SETTLE,
        condition: Service::for_test().readiness.condition("out"),
        log: Exact::new_log(),
    };
    let (tape, mut written) = mpsc::channel(10);
    let mut course = Course {
        writer: Box::new(Tape(tape)),
        mark: Mark {
            created_ns: status.expect("a stream").created_ns,
            sequence: 5,
            stored_ns: 0,
        },
        limit: 10,
        marked_at: Instant::now(),
        short_since: None,
    };
    // For a moment, it may be a server that is behind.
    let short = exact.step(&mut course).await;
    assert!(matches!(short, Err(StepError::Short)), "{short:?}");
    exact.settle = Duration::ZERO;
    exact.step(&mut course).await.expect("a step");
    exact.step(&mut course).await.expect("a step");
    assert_eq!(written.recv().await.expect("values"), ["1", "2", "3"]);
    assert_eq!(course.mark.sequence, 3);
    // What is written is not written again, and another message in the place of the mark is seen.
    exact.step(&mut course).await.expect("a step");
    assert!(written.try_recv().is_err());
    course.mark.stored_ns -= 1;
    exact.step(&mut course).await.expect("a step");
    exact.step(&mut course).await.expect("a step");
    assert_eq!(written.recv().await.expect("values"), ["1", "2", "3"]);
}
