//! From the bus to Kafka: what runs while this bridge is the one that writes.

use std::sync::Arc;
use std::time::Duration;

use bus::Bus;
use market_core::channel::{ALERT, Channel, Class, KLINE};
use metrics::counter;
use service::{Condition, Shutdown};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::warn;

use crate::backoff::Backoff;
use crate::config::Config;
use crate::error::Error;
use crate::exact::{Exact, SETTLE};
use crate::kafka::{Kafka, NewTopic};
use crate::live::Live;
use crate::pending::{Pending, Rule};
use crate::record::Form;
use crate::stop::{Stop, Term};
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
    pub(crate) term: watch::Receiver<Term>,
    pub(crate) shutdown: Shutdown,
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
            let term = tokio::select! {
                term = self.term.wait_for(Option::is_some) => term.ok().and_then(|term| *term),
                () = self.shutdown.triggered() => None,
            };
            let Some(term) = term else {
                return Ok(());
            };
            for condition in &self.conditions {
                condition.unmet("kafka has not answered yet");
            }
            let mut parts = self.parts(&Stop {
                term,
                now: self.term.clone(),
                shutdown: self.shutdown.clone(),
            });
            while let Some(ended) = parts.join_next().await {
                ended.map_err(|error| Error::Part(error.to_string()))??;
            }
            if self.shutdown.is_triggered() {
                return Ok(());
            }
        }
    }

    fn parts(&self, stop: &Stop) -> JoinSet<Result<(), Error>> {
        let mut parts = JoinSet::new();
        for ((name, topic), condition) in self.map.out.iter().zip(&self.conditions) {
            let stop = stop.clone();
            let root = root_of(&topic.from);
            let mut needed = Needed {
                kafka: Arc::clone(&self.kafka),
                topics: vec![NewTopic {
                    name: name.clone(),
                    partitions: topic.partitions,
                    is_compacted: false,
                }],
                condition: condition.clone(),
                retry_max: self.config.retry_max(),
            };
            if self.is_stream(topic) {
                needed.topics.push(NewTopic {
                    name: marks_topic(&self.config.bridge_site),
                    partitions: MARKS_PARTITIONS,
                    is_compacted: true,
                });
                let mut exact = self.exact(name, topic, root, condition.clone());
                parts.spawn(async move {
                    needed.create(&stop).await;
                    exact.run(&stop).await
                });
            } else {
                let mut live = self.live(name, topic, root, condition.clone());
                parts.spawn(async move {
                    needed.create(&stop).await;
                    live.run(&stop).await
                });
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
            settle: SETTLE,
            condition,
            log: Exact::new_log(),
        }
    }

    fn live(&self, name: &str, topic: &OutTopic, root: &str, condition: Condition) -> Live {
        let config = &self.config;
        let channel = Channel::of_subject_root(root).or(Channel::of_record(root));
        let rule = match channel {
            Some(channel) if channel.class == Class::Log => Rule::All,
            Some(channel) if channel.root == KLINE.root => Rule::NewestAndClosed,
            _ => Rule::Newest,
        };
        Live {
            bus: Arc::clone(&self.bus),
            kafka: Arc::clone(&self.kafka),
            form: self.form(name, topic),
            pattern: topic.from.clone(),
            pending: Pending::new(
                rule,
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

/// The topics of Kafka that a part needs.
struct Needed {
    kafka: Arc<dyn Kafka>,
    topics: Vec<NewTopic>,
    condition: Condition,
    retry_max: Duration,
}

impl Needed {
    /// Returns once they are there, or at the stop. A topic that cannot be created holds back its
    /// own part only.
    async fn create(&self, stop: &Stop) {
        let mut backoff = Backoff::new(self.retry_max);
        while !stop.is_set() {
            let created = tokio::select! {
                created = self.kafka.create_topics(&self.topics) => created,
                () = stop.wait() => return,
            };
            let Err(error) = created else {
                return;
            };
            let topic = self.topics.first().map_or("", |topic| &topic.name);
            counter!("bridge_errors_total", "topic" => topic.to_owned(), "side" => "kafka")
                .increment(1);
            self.condition.unmet(format!("{topic}: {error}"));
            if backoff.failures().is_power_of_two() || backoff.failures() == 0 {
                warn!(topic, %error, failures = backoff.failures(), "a topic of kafka cannot be looked at or created now, trying again");
            }
            stop.sleep(backoff.next()).await;
        }
    }
}
