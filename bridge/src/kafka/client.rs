//! A cluster, by the crate `krafka`.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use krafka::admin::{AdminClient, CreateTopicsOptions, DescribeTopicsOptions};
use krafka::auth::{AuthConfig, TlsConfig};
use krafka::error::{ErrorCode, KrafkaError};
use tokio::sync::Mutex;

use super::marks::newest_mark;
use super::read::GroupReader;
use super::write::{PlainWriter, TransactionWriter};
use super::{
    InRecord, Kafka, KafkaError, Mark, NewTopic, Offsets, OutRecord, ReadBounds, Reader, Writer,
};
use crate::config::{KafkaConfig, Sasl};
use crate::error::Error;

/// The name of the bridge in the logs of brokers.
const CLIENT_ID: &str = "klinecast-bridge";

/// Requests of the longest time that one call may take.
const CALL_REQUESTS: u32 = 10;

/// The longest end of a writer.
const CLOSE_MAX: Duration = Duration::from_secs(3);

/// The connections. A call that fails or does not end takes them along, so that the next one begins
/// anew: krafka forgets all brokers while it reaches none, and opens no writer until it asks for
/// them, which only a new connection does.
#[derive(Clone)]
struct Connections {
    kafka: Arc<Mutex<Option<krafka::Kafka>>>,
    call_max: Duration,
}

impl Connections {
    async fn bounded<T>(
        &self,
        call: impl Future<Output = Result<T, KafkaError>>,
    ) -> Result<T, KafkaError> {
        let outcome = tokio::time::timeout(self.call_max, call).await;
        let outcome = outcome.unwrap_or_else(|_| {
            Err(KafkaError::Unavailable(format!(
                "kafka did not answer within {:?}",
                self.call_max
            )))
        });
        self.noted(outcome).await
    }

    async fn noted<T>(&self, outcome: Result<T, KafkaError>) -> Result<T, KafkaError> {
        if let Err(KafkaError::Unavailable(_)) = outcome {
            self.kafka.lock().await.take();
        }
        outcome
    }
}

/// A writer or reader whose calls end.
struct Bounded<T> {
    inner: T,
    connections: Connections,
}

#[async_trait]
impl Writer for Bounded<Box<dyn Writer>> {
    async fn write(
        &mut self,
        records: Vec<OutRecord>,
        last: Option<OutRecord>,
    ) -> Result<(), KafkaError> {
        let call = self.inner.write(records, last);
        self.connections.bounded(call).await
    }

    async fn close(&mut self) {
        let _ = tokio::time::timeout(CLOSE_MAX, self.inner.close()).await;
    }
}

#[async_trait]
impl Reader for Bounded<GroupReader> {
    async fn poll(&mut self, wait: Duration) -> Result<Vec<InRecord>, KafkaError> {
        self.connections.bounded(self.inner.poll(wait)).await
    }

    async fn commit(&mut self, next: &Offsets) -> Result<(), KafkaError> {
        self.connections.bounded(self.inner.commit(next)).await
    }

    async fn seek(&mut self, next: &Offsets) -> Result<(), KafkaError> {
        self.connections.bounded(self.inner.seek(next)).await
    }

    fn assignments(&self) -> u64 {
        self.inner.assignments()
    }

    async fn lag(&self) -> u64 {
        self.inner.lag().await
    }

    async fn close(&mut self) {
        let _ = tokio::time::timeout(CLOSE_MAX, self.inner.close()).await;
    }
}

/// Connected when it is needed first.
pub(crate) struct Client {
    config: KafkaConfig,
    security: AuthConfig,
    connections: Connections,
}

impl Client {
    pub(crate) fn new(config: &KafkaConfig) -> Result<Client, Error> {
        Ok(Client {
            security: security(config)?,
            connections: Connections {
                kafka: Arc::default(),
                call_max: config.timeout() * CALL_REQUESTS,
            },
            config: config.clone(),
        })
    }

    async fn kafka(&self) -> Result<krafka::Kafka, KafkaError> {
        let mut connected = self.connections.kafka.lock().await;
        if let Some(kafka) = &*connected {
            return Ok(kafka.clone());
        }
        let timeout = self.config.timeout();
        let kafka = krafka::Kafka::builder(self.config.kafka_brokers.as_str())
            .client_id(CLIENT_ID)
            .security(self.security.clone())
            .request_timeout(timeout)
            .connect_timeout(timeout)
            .connect()
            .await?;
        Ok(connected.insert(kafka).clone())
    }
}

#[async_trait]
impl Kafka for Client {
    async fn create_topics(&self, topics: &[NewTopic]) -> Result<(), KafkaError> {
        let call = async {
            let admin = self.kafka().await?.admin();
            let created = create(&admin, topics, self.config.kafka_replication).await;
            let _ = admin.close().await;
            created
        };
        self.connections.bounded(call).await
    }

    async fn writer(
        &self,
        name: &str,
        is_transactional: bool,
    ) -> Result<Box<dyn Writer>, KafkaError> {
        let timeout = self.config.timeout();
        let call = async {
            let builder = self
                .kafka()
                .await?
                .producer()
                .max_block(timeout * 2)
                .delivery_timeout(timeout * 4)
                .metrics_push(false);
            let writer: Box<dyn Writer> = match is_transactional {
                false => Box::new(PlainWriter(builder.build().await?)),
                true => {
                    let builder = builder.transaction_timeout(timeout * 6);
                    Box::new(TransactionWriter(builder.build_transactional(name).await?))
                }
            };
            Ok(writer)
        };
        Ok(Box::new(Bounded {
            inner: self.connections.bounded(call).await?,
            connections: self.connections.clone(),
        }))
    }

    async fn mark(&self, topic: &str, key: &str) -> Result<Option<Mark>, KafkaError> {
        let timeout = self.config.timeout();
        // It goes on as long as records come, and looks at its own time.
        let call = async { newest_mark(&self.kafka().await?, topic, key, timeout).await };
        self.connections.noted(call.await).await
    }

    async fn reader(
        &self,
        group: &str,
        topics: &[String],
        bounds: ReadBounds,
    ) -> Result<Box<dyn Reader>, KafkaError> {
        let bytes_max = self.config.kafka_decompressed_bytes_max as usize;
        let call = async {
            GroupReader::join(&self.kafka().await?, group, topics, bounds, bytes_max).await
        };
        Ok(Box::new(Bounded {
            inner: self.connections.bounded(call).await?,
            connections: self.connections.clone(),
        }))
    }
}

/// Creates what is missing. Where all is there, no right to create anything is needed.
async fn create(
    admin: &AdminClient,
    topics: &[NewTopic],
    replication: i16,
) -> Result<(), KafkaError> {
    let names = topics.iter().map(|topic| topic.name.as_str());
    let found = admin
        .describe_topics(names, DescribeTopicsOptions::default())
        .await?;
    let mut wanted = Vec::new();
    for topic in topics {
        match found.get(&topic.name) {
            Some(Ok(_)) => continue,
            Some(Err(KrafkaError::Broker {
                code: ErrorCode::UnknownTopicOrPartition,
                ..
            }))
            | None => {}
            Some(Err(error)) => {
                return Err(KafkaError::Unavailable(format!(
                    "topic {} cannot be looked at: {error}",
                    topic.name
                )));
            }
        }
        let new = krafka::admin::NewTopic::new(&topic.name, topic.partitions, replication)?;
        wanted.push(match topic.is_compacted {
            true => new.with_config("cleanup.policy", "compact"),
            false => new,
        });
    }
    if wanted.is_empty() {
        return Ok(());
    }
    let outcomes = admin
        .create_topics(wanted, CreateTopicsOptions::default())
        .await?;
    for (name, outcome) in outcomes {
        match outcome {
            Ok(()) => tracing::info!(topic = name, "a topic of kafka is created"),
            Err(KrafkaError::Broker {
                code: ErrorCode::TopicAlreadyExists,
                ..
            }) => {}
            Err(error) => {
                return Err(KafkaError::Unavailable(format!(
                    "topic {name} cannot be created: {error}"
                )));
            }
        }
    }
    Ok(())
}

fn security(config: &KafkaConfig) -> Result<AuthConfig, Error> {
    let text = |path: &Path| {
        path.to_str()
            .map(str::to_owned)
            .ok_or_else(|| Error::Config(format!("{}: the path is no text", path.display())))
    };
    let mut tls = TlsConfig::new();
    if let Some(file) = &config.kafka_ca_file {
        tls = tls.with_ca_cert(text(file)?);
    }
    if let (Some(cert), Some(key)) = (&config.kafka_cert_file, &config.kafka_key_file) {
        tls = tls.with_client_cert(text(cert)?, text(key)?);
    }
    let login = match (
        &config.kafka_sasl,
        &config.kafka_user,
        &config.kafka_password_file,
    ) {
        (Some(Sasl::Plain), Some(_), Some(_)) if !config.kafka_tls => {
            return Err(Error::Config(
                "--kafka-sasl plain sends the password itself: add --kafka-tls, or use scram-sha256"
                    .to_owned(),
            ));
        }
        (Some(sasl), Some(user), Some(file)) => {
            let password = password(file)?;
            Some(match sasl {
                Sasl::Plain => AuthConfig::sasl_plain(user, password),
                Sasl::ScramSha256 => AuthConfig::sasl_scram_sha256(user, password),
                Sasl::ScramSha512 => AuthConfig::sasl_scram_sha512(user, password),
            })
        }
        _ => None,
    };
    Ok(match (login, config.kafka_tls) {
        (Some(login), true) => login.with_tls(tls),
        (Some(login), false) => login,
        (None, true) => AuthConfig::ssl(tls),
        (None, false) => AuthConfig::plaintext(),
    })
}

/// The line of a file. What is wrong is told without it.
fn password(file: &Path) -> Result<String, Error> {
    let wrong = |reason: String| {
        Error::Config(format!(
            "--kafka-password-file {}: {reason}",
            file.display()
        ))
    };
    let text = std::fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
    let password = text.trim_end_matches(['\r', '\n']);
    match password.is_empty() || password.len() > 4_096 || password.contains(['\r', '\n']) {
        true => Err(wrong("it has one line of 1 to 4096 bytes".to_owned())),
        false => Ok(password.to_owned()),
    }
}

impl From<KrafkaError> for KafkaError {
    fn from(error: KrafkaError) -> KafkaError {
        let text = error.to_string();
        match &error {
            KrafkaError::Broker {
                code:
                    ErrorCode::MessageTooLarge
                    | ErrorCode::RecordListTooLarge
                    | ErrorCode::InvalidRecord
                    | ErrorCode::InvalidTimestamp
                    | ErrorCode::UnsupportedForMessageFormat,
                ..
            } => KafkaError::Refused(text),
            KrafkaError::Fenced { .. }
            | KrafkaError::Broker {
                code: ErrorCode::ProducerFenced | ErrorCode::InvalidProducerEpoch,
                ..
            } => KafkaError::Fenced(text),
            _ => KafkaError::Unavailable(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::{KafkaConfig, security};

    #[derive(Parser)]
    struct Given {
        #[command(flatten)]
        kafka: KafkaConfig,
    }

    #[test]
    fn a_password_is_not_sent_in_clear_text() {
        // Read only if the login is allowed.
        let missing = "/no/such/password";
        let told = |rest: &[&str]| {
            let login = [
                "bridge",
                "--kafka-user",
                "u",
                "--kafka-password-file",
                missing,
            ];
            let given = Given::try_parse_from(login.iter().chain(rest)).expect("flags");
            let refused = security(&given.kafka).expect_err("no login");
            refused.to_string()
        };
        assert!(told(&["--kafka-sasl", "plain"]).contains("add --kafka-tls"));
        for allowed in [
            &["--kafka-sasl", "plain", "--kafka-tls"][..],
            &["--kafka-sasl", "scram-sha256"],
        ] {
            assert!(told(allowed).contains(missing), "{allowed:?}");
        }
    }
}
