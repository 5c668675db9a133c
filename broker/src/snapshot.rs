//! The data of the status pages. However often they are read, the server is asked at a bounded rate.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::jetstream::{JetStream, NatsError};
use crate::monitor::{Health, Monitor};
use crate::streams::Streams;

/// How old an answer may be.
const AGE_MAX: Duration = Duration::from_millis(500);
/// Most consumers of all streams that are listed.
const CONSUMERS_MAX: usize = 4_096;

/// The state of the server at one time.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    pub(crate) is_connected: bool,
    pub(crate) health: Health,
    /// nats-server's general figures.
    pub(crate) figures: Option<Value>,
    /// The streams as the API shows them, or why there are none.
    pub(crate) streams: Result<Vec<Value>, NatsError>,
    pub(crate) streams_left_off: u64,
    pub(crate) consumers: Vec<Value>,
    pub(crate) consumers_left_off: u64,
    pub(crate) published: u64,
    pub(crate) consumed: u64,
}

/// Takes snapshots, one at a time.
#[derive(Debug)]
pub(crate) struct Snapshots {
    jetstream: JetStream,
    monitor: Monitor,
    streams: Streams,
    has_jetstream: bool,
    last: Mutex<Option<(Instant, Arc<Snapshot>)>>,
}

impl Snapshots {
    pub(crate) fn new(
        jetstream: JetStream,
        monitor: Monitor,
        streams: Streams,
        has_jetstream: bool,
    ) -> Self {
        Self {
            jetstream,
            monitor,
            streams,
            has_jetstream,
            last: Mutex::default(),
        }
    }

    /// The newest snapshot, taken now if it is too old.
    pub(crate) async fn get(&self) -> Arc<Snapshot> {
        // Held while one is taken: a request that comes meanwhile gets the same one.
        let mut last = self.last.lock().await;
        if let Some((at, snapshot)) = &*last
            && at.elapsed() < AGE_MAX
        {
            return Arc::clone(snapshot);
        }
        let snapshot = Arc::new(self.take().await);
        *last = Some((Instant::now(), Arc::clone(&snapshot)));
        snapshot
    }

    /// Makes the next one be taken again, after a change.
    pub(crate) async fn forget(&self) {
        *self.last.lock().await = None;
    }

    async fn take(&self) -> Snapshot {
        let (health, figures) = (self.monitor.health().await, self.monitor.figures().await);
        let mut snapshot = Snapshot {
            is_connected: self.jetstream.is_connected(),
            health,
            figures,
            streams: Ok(Vec::new()),
            streams_left_off: 0,
            consumers: Vec::new(),
            consumers_left_off: 0,
            published: 0,
            consumed: 0,
        };
        if self.has_jetstream
            && let Err(error) = self.add_streams(&mut snapshot).await
        {
            snapshot.streams = Err(error);
        }
        snapshot
    }

    async fn add_streams(&self, snapshot: &mut Snapshot) -> Result<(), NatsError> {
        let list = self.jetstream.streams().await?;
        snapshot.streams_left_off = list.left_off;
        let mut streams = Vec::new();
        for running in list.entries {
            let state = &running["state"];
            let published = state["last_seq"].as_u64().unwrap_or(0);
            snapshot.published = snapshot.published.saturating_add(published);
            if state["consumer_count"].as_u64().unwrap_or(0) > 0 {
                self.add_consumers(snapshot, &running).await?;
            }
            streams.push(self.stream_entry(&running));
        }
        streams.sort_by(|one, other| one["name"].as_str().cmp(&other["name"].as_str()));
        snapshot.streams = Ok(streams);
        Ok(())
    }

    async fn add_consumers(
        &self,
        snapshot: &mut Snapshot,
        running: &Value,
    ) -> Result<(), NatsError> {
        let name = running["config"]["name"].as_str().unwrap_or_default();
        let list = match self.jetstream.consumers(name).await {
            Ok(list) => list,
            // It was deleted meanwhile.
            Err(error) if error.is_no_such_stream() => return Ok(()),
            Err(error) => return Err(error),
        };
        snapshot.consumers_left_off = snapshot.consumers_left_off.saturating_add(list.left_off);
        for consumer in list.entries {
            if snapshot.consumers.len() >= CONSUMERS_MAX {
                snapshot.consumers_left_off = snapshot.consumers_left_off.saturating_add(1);
                continue;
            }
            let read = consumer["delivered"]["consumer_seq"].as_u64().unwrap_or(0);
            snapshot.consumed = snapshot.consumed.saturating_add(read);
            snapshot.consumers.push(consumer_entry(name, &consumer));
        }
        Ok(())
    }

    /// A stream as the API shows it.
    pub(crate) fn stream_entry(&self, running: &Value) -> Value {
        let (config, state) = (&running["config"], &running["state"]);
        let name = config["name"].as_str().unwrap_or_default();
        let mut entry = json!({
            "name": name,
            // The subjects under which messages are read, not the subjects of their copies.
            "subjects": read_subjects(config),
            "messages": state["messages"],
            "bytes": state["bytes"],
            "first_seq": state["first_seq"],
            "last_seq": state["last_seq"],
            "first_time": state["first_ts"],
            "last_time": state["last_ts"],
            "consumer_count": state["consumer_count"],
            "subject_count": state["num_subjects"].as_u64().unwrap_or(0),
            "retention": config["retention"],
            "storage": config["storage"],
            "max_age": config["max_age"].as_u64().unwrap_or(0) / 1_000_000_000,
            "max_msgs": config["max_msgs"],
            "max_bytes": config["max_bytes"],
            "max_msgs_per_subject": config["max_msgs_per_subject"],
            "replicas": config["num_replicas"],
            "created": running["created"],
            "owner": match (self.streams.is_own(config), self.streams.is_wanted(name)) {
                (true, _) => "klinecast",
                (_, true) => "configuration",
                _ => "other",
            },
        });
        if let Some(cluster) = running.get("cluster") {
            entry["leader"] = cluster["leader"].clone();
            let copies = cluster["replicas"].as_array().into_iter().flatten();
            let copies = copies.map(|copy| {
                json!({
                    "name": copy["name"], "current": copy["current"],
                    "offline": copy["offline"].as_bool().unwrap_or(false), "lag": copy["lag"].as_u64().unwrap_or(0),
                })
            });
            entry["copies"] = Value::Array(copies.collect());
        }
        entry
    }
}

/// The subjects of a stream's messages once they are stored.
fn read_subjects(config: &Value) -> Value {
    let start = format!("{}.", crate::copies::COPY_ROOT);
    let subjects = config["subjects"].as_array().into_iter().flatten();
    let plain = subjects.filter_map(Value::as_str);
    let plain = plain.map(|subject| subject.strip_prefix(&start).unwrap_or(subject));
    json!(plain.collect::<Vec<_>>())
}

/// A consumer as the API shows it.
pub(crate) fn consumer_entry(stream: &str, consumer: &Value) -> Value {
    let config = &consumer["config"];
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    let pending = number(&consumer["num_pending"]);
    let unacknowledged = number(&consumer["num_ack_pending"]);
    json!({
        "stream": stream,
        "name": consumer["name"],
        "durable": config.get("durable_name").is_some(),
        "filter_subject": config["filter_subject"],
        "filter_subjects": config["filter_subjects"],
        "push": config.get("deliver_subject").is_some(),
        // Messages that it has not read, and messages that it has read and not acknowledged.
        "lag": pending.saturating_add(unacknowledged),
        "pending": pending,
        "ack_pending": unacknowledged,
        "redelivered": number(&consumer["num_redelivered"]),
        "waiting": number(&consumer["num_waiting"]),
        "delivered_seq": number(&consumer["delivered"]["stream_seq"]),
        "ack_floor_seq": number(&consumer["ack_floor"]["stream_seq"]),
        "last_active": consumer["delivered"]["last_active"],
        "created": consumer["created"],
    })
}
