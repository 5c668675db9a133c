//! From the bus to Kafka: what runs while this bridge is the one that writes.

use std::sync::Arc;

use bus::Bus;
use market_core::channel::{ALERT, Channel};
use service::Condition;
use tokio::task::JoinSet;
use tracing::warn;

use crate::backoff::Backoff;
use crate::config::Config;
use crate::error::Error;
use crate::exact::Exact;
use crate::kafka::{Kafka, NewTopic};
use crate::live::Live;
use crate::pending::Pending;
use crate::record::Form;
use crate::stop::Stop;
use crate::topic_map::{Delivery, OutTopic, TopicMap};

/// Partitions of the topic of marks.
const MARKS_PARTITIONS: i32 = 1;
/// See the module.
pub(crate) struct Outlet {
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) kafka: Arc<dyn Kafka>,
    pub(crate) config: Config,
    pub(crate) map: TopicMap,
    /// One for each topic, in the order of their names.
    pub(crate) conditions: Vec<Condition>,
    pub(crate) stop: Stop,
}

/// The topic with how far each other topic is.
pub(crate) fn marks_topic(site: &str) -> String {
    format!("klinecast_bridge_marks_{site}")
}

impl Outlet {
    /// Runs until the shutdown.
    ///
    /// # Errors
    /// If the bus will never give what is to be carried.
    pub(crate) async fn run(mut self) -> Result<(), Error> {
        loop {
            for condition in &self.conditions {
                condition.met_but("standby: another bridge writes to kafka");
            }
            tokio::select! {
                changed = self.stop.is_leader.wait_for(|is_leader| *is_leader) => {
                    if changed.is_err() {
                        return Ok(());
                    }
                }
                () = self.stop.shutdown.triggered() => return Ok(()),
            }
            for condition in &self.conditions {
                condition.unmet("kafka has not answered yet");
            }
            self.create_topics().await;
            let mut parts = self.parts();
            while let Some(ended) = parts.join_next().await {
                // The lease may be lost, and be ours again, before all of them have ended.
                ended.map_err(|error| Error::Part(error.to_string()))??;
                if !self.stop.is_set() {
                    parts.shutdown().await;
                }
            }
            if self.stop.shutdown.is_triggered() {
                return Ok(());
            }
        }
    }

    async fn create_topics(&self) {
        let mut topics: Vec<NewTopic> = self
            .map
            .out
            .iter()
            .map(|(name, topic)| NewTopic {
                name: name.clone(),
                partitions: topic.partitions,
                is_compacted: false,
            })
            .collect();
        topics.push(NewTopic {
            name: marks_topic(&self.config.bridge_site),
            partitions: MARKS_PARTITIONS,
            is_compacted: true,
        });
        let mut backoff = Backoff::new(self.config.retry_max());
        while !self.stop.is_set() {
            let created = tokio::select! {
                created = self.kafka.create_topics(&topics) => created,
                () = self.stop.wait() => return,
            };
            match created {
                Ok(()) => return,
                Err(error) => {
                    metrics::counter!("bridge_errors_total", "topic" => "all", "side" => "kafka")
                        .increment(1);
                    for condition in &self.conditions {
                        condition.unmet(error.to_string());
                    }
                    if backoff.failures().is_power_of_two() || backoff.failures() == 0 {
                        warn!(%error, failures = backoff.failures(), "the topics of kafka cannot be looked at now, trying again");
                    }
                    self.stop.sleep(backoff.next()).await;
                }
            }
        }
    }

    fn parts(&self) -> JoinSet<Result<(), Error>> {
        let mut parts = JoinSet::new();
        for ((name, topic), condition) in self.map.out.iter().zip(&self.conditions) {
            let stop = self.stop.clone();
            let root = root_of(&topic.from);
            if self.is_stream(topic) {
                let mut exact = self.exact(name, topic, root, condition.clone());
                parts.spawn(async move { exact.run(&stop).await });
            } else {
                let mut live = self.live(name, topic, root, condition.clone());
                parts.spawn(async move { live.run(&stop).await });
            }
        }
        parts
    }

    /// Whether a stream keeps all messages of a topic for long enough to carry each of them.
    fn is_stream(&self, topic: &OutTopic) -> bool {
        let root = root_of(&topic.from);
        let is_kept = root == ALERT.root
            || self
                .config
                .streams()
                .iter()
                .any(|stream| stream.root == root);
        is_kept && topic.delivery != Delivery::Live
    }

    fn form(&self, name: &str, topic: &OutTopic) -> Form {
        Form {
            topic: name.to_owned(),
            format: topic.format,
            symbols: self.config.bridge_key_symbols,
            site: self.config.bridge_site.clone(),
        }
    }

    fn exact(&self, name: &str, topic: &OutTopic, root: &str, condition: Condition) -> Exact {
        let config = &self.config;
        Exact {
            bus: Arc::clone(&self.bus),
            kafka: Arc::clone(&self.kafka),
            form: self.form(name, topic),
            root: root.to_owned(),
            pattern: topic.from.clone(),
            is_transactional: topic.delivery == Delivery::ExactlyOnce,
            marks_topic: marks_topic(&config.bridge_site),
            batch_max: usize::from(config.bridge_batch_max),
            batch_bytes_max: config.bridge_batch_bytes_max as usize,
            record_bytes_max: config.kafka.kafka_record_bytes_max,
            poll: config.poll(),
            retry_max: config.retry_max(),
            condition,
            log: Exact::new_log(),
        }
    }

    fn live(&self, name: &str, topic: &OutTopic, root: &str, condition: Condition) -> Live {
        let config = &self.config;
        let channel = Channel::of_subject_root(root);
        let is_log =
            channel.is_some_and(|channel| channel.class == market_core::channel::Class::Log);
        Live {
            bus: Arc::clone(&self.bus),
            kafka: Arc::clone(&self.kafka),
            form: self.form(name, topic),
            pattern: topic.from.clone(),
            pending: Pending::new(
                !is_log,
                config.bridge_pending_max,
                config.bridge_pending_bytes_max,
            ),
            batch_max: usize::from(config.bridge_batch_max),
            batch_bytes_max: config.bridge_batch_bytes_max as usize,
            record_bytes_max: config.kafka.kafka_record_bytes_max,
            retry_max: config.retry_max(),
            condition,
            log: Exact::new_log(),
        }
    }
}

fn root_of(pattern: &str) -> &str {
    pattern.split('.').next().unwrap_or_default()
}
