//! A bus, a cluster of Kafka, and bridges between them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use bridge::Config;
use bus::{Append, Bus, BusConfig, Headers};
use bytes::Bytes;
use clap::Parser;
use krafka::ConsumerRecord;
use krafka::testing::FakeBroker;
use serde_json::json;
use service::{JournalConfig, Service};
use testkit::directory::Directory;
use testkit::nats::{NatsServer, NatsServerError};
use testkit::wait::{holds, until};
use tokio::task::JoinHandle;

/// The topic of bars.
pub(crate) const KLINES: &str = "market_data.klines";

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    config: Config,
}

/// Both sides.
pub(crate) struct Setup {
    pub(crate) nats: NatsServer,
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) kafka: FakeBroker,
    pub(crate) folder: Directory,
}

impl Setup {
    /// `None` with a printed line if there is no nats-server.
    pub(crate) async fn start(brokers: usize) -> Option<Setup> {
        let nats = match NatsServer::start() {
            Ok(nats) => nats,
            Err(NatsServerError::NotFound)
                if std::env::var_os("KLINECAST_REQUIRE_NATS").is_none() =>
            {
                println!("skipped: {}", NatsServerError::NotFound);
                return None;
            }
            Err(error) => panic!("{error}"),
        };
        let bus = connect(&nats).await;
        let journal = JournalConfig::default().stream().expect("a journal");
        bus.streams().put_stream(journal).await.expect("a stream");
        Some(Setup {
            bus,
            nats,
            kafka: FakeBroker::start_cluster(brokers).await.expect("a cluster"),
            folder: Directory::new(),
        })
    }

    /// The topics of a test, as a file.
    pub(crate) fn topics(&self, text: &str) -> PathBuf {
        let path = self.folder.path().join("topics.yml");
        std::fs::write(&path, text).expect("a file");
        path
    }

    pub(crate) fn config(&self, topics: &str, flags: &[&str]) -> Config {
        let file = self.topics(topics);
        let servers = self.kafka.bootstrap_servers();
        let arguments = [
            "bridge",
            "--topics-file",
            file.to_str().expect("UTF-8"),
            "--kafka-brokers",
            &servers,
            "--kafka-timeout-ms",
            "1000",
            "--bridge-retry-ms-max",
            "300",
            "--bridge-takeover-ms",
            "1500",
            "--bridge-poll-ms",
            "10",
        ];
        Flags::parse_from(arguments.iter().chain(flags)).config
    }

    /// A bridge in this process, with a connection of its own.
    pub(crate) async fn bridge(&self, topics: &str, flags: &[&str]) -> Bridge {
        let config = self.config(topics, flags);
        let bus = connect(&self.nats).await;
        let kafka = bridge::cluster::connect(&config.kafka).expect("a configuration");
        let service = Service::for_test();
        let run = bridge::run(config, bus, kafka, service.clone());
        Bridge {
            service,
            ended: tokio::spawn(run),
        }
    }

    /// Publishes closed bars of some markets, each in order, with their numbers as prices.
    pub(crate) async fn publish(&self, markets: &[&str], numbers: std::ops::Range<u64>) {
        for number in numbers {
            for market in markets {
                let subject = format!("journal.1s.{market}");
                let append = Append::new(subject, bar(market, number));
                let appended = self.bus.streams().append(append).await;
                appended.expect("the journal takes it");
            }
        }
    }

    /// The committed prices of each market in Kafka, in the order of its partition.
    ///
    /// # Panics
    /// If a position is there twice, or a market is in two partitions.
    pub(crate) fn prices(&self, topic: &str) -> BTreeMap<String, Vec<u64>> {
        prices(self.kafka.committed_records(topic).expect("a log"))
    }

    /// Waits until Kafka has exactly these.
    pub(crate) async fn until_all(&self, topic: &str, markets: &[&str], count: u64) {
        until("all bars are in kafka", async || {
            let prices = self.prices(topic);
            let is_all = markets.iter().all(|market| {
                let key = format!("sim:{market}");
                prices
                    .get(&key)
                    .is_some_and(|prices| prices.len() as u64 >= count)
            });
            holds(is_all, || {
                let counts: Vec<_> = prices.iter().map(|(key, all)| (key, all.len())).collect();
                format!("{counts:?} of {count}")
            })
        })
        .await;
        let expected: Vec<u64> = (1..=count).collect();
        for (key, prices) in self.prices(topic) {
            assert_eq!(prices, expected, "{key}");
        }
    }
}

/// The prices of records by key. Panics if a position is there twice.
pub(crate) fn prices(records: Vec<ConsumerRecord>) -> BTreeMap<String, Vec<u64>> {
    let mut positions = BTreeSet::new();
    let (mut prices, mut partitions) = (BTreeMap::<_, Vec<u64>>::new(), BTreeMap::new());
    for record in records {
        let key = record.key_str().expect("a key").to_owned();
        let position = record.header_str("klinecast-position").expect("a position");
        assert!(
            positions.insert(position.to_owned()),
            "{position} is there twice"
        );
        let partition = partitions.entry(key.clone()).or_insert(record.partition);
        assert_eq!(*partition, record.partition, "{key} is in two partitions");
        let bar: serde_json::Value =
            serde_json::from_slice(&record.value.expect("a value")).expect("JSON");
        let price = bar["close"].as_str().expect("a price");
        prices
            .entry(key)
            .or_default()
            .push(price.parse().expect("a number"));
    }
    prices
}

pub(crate) async fn connect(nats: &NatsServer) -> Arc<dyn Bus> {
    let config = BusConfig {
        bus: nats.url().parse().expect("a url"),
        ..BusConfig::default()
    };
    bus::connect(&config, &service::streams())
        .await
        .expect("the server runs")
}

/// A bar of a market as `marketdata` publishes it.
pub(crate) fn bar(market: &str, number: u64) -> Bytes {
    let start_ms = 1_700_000_000_000 + i64::try_from(number).expect("small") * 1_000;
    // Zero is no price.
    let price = (number + 1).to_string();
    let bar = json!({
        "topic": format!("kline:1s:{market}"), "seq": number + 1, "epoch": 1,
        "exchange": "sim", "symbol": market, "interval": "1s",
        "start_ms": start_ms, "end_ms": start_ms + 1_000,
        "open": price, "high": price, "low": price, "close": price,
        "volume": "1", "quote_volume": null, "taker_buy_volume": null,
        "taker_buy_quote_volume": null, "count": 1, "first_id": null, "last_id": null,
        "state": "closed", "rev": 0, "quality": "complete",
        "event_ms": null, "received_us": null, "published_us": 1,
    });
    Bytes::from(bar.to_string())
}

/// Headers with one entry.
pub(crate) fn header(name: &str, value: &str) -> Headers {
    let mut headers = Headers::new();
    headers.set(name, value).expect("a header");
    headers
}

/// A running bridge.
pub(crate) struct Bridge {
    pub(crate) service: Service,
    ended: JoinHandle<Result<(), bridge::Error>>,
}

impl Bridge {
    pub(crate) async fn until_ready(&self) {
        until("the bridge is ready", async || {
            holds(self.service.readiness.is_ready(), || {
                format!("{:?}", self.service.readiness.unmet())
            })
        })
        .await;
    }

    /// Waits until it says in `/readyz` why it does not get on.
    pub(crate) async fn until_it_says(&self, text: &str) {
        until(text, async || {
            let unmet = self.service.readiness.unmet();
            let says = unmet.iter().any(|condition| condition.why.contains(text));
            holds(says, || format!("{unmet:?}"))
        })
        .await;
    }

    /// What it says of itself, for messages of tests that fail.
    pub(crate) fn says(&self) -> String {
        let readiness = &self.service.readiness;
        let has_ended = self.ended.is_finished();
        format!(
            "ended: {has_ended}; unmet: {:?}; notes: {:?}",
            readiness.unmet(),
            readiness.notes()
        )
    }

    pub(crate) async fn stop(self) {
        self.service.shutdown.trigger();
        self.ended.await.expect("no panic").expect("it drains");
    }

    /// Without any warning: nothing of it runs afterwards but what the system still sends.
    pub(crate) async fn kill(self) {
        self.ended.abort();
        let _ = self.ended.await;
    }
}
