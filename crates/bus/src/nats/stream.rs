//! The JetStream streams behind the retained roots.

use async_nats::jetstream::Context;
use async_nats::jetstream::context::RequestErrorKind;
use serde_json::{Value, json};
use tokio::time::Instant;
use tracing::info;

use crate::retention::{RETAINED, RetainedRoot};
use crate::subject::Prefix;
use crate::{BusConfig, BusError, StreamStorage};

const RETRY_DELAY: std::time::Duration = std::time::Duration::from_millis(200);

// Error codes of the JetStream API. Source: nats-server, server/errors.json.
const NOT_ENABLED_FOR_ACCOUNT: u64 = 10_039;
const NOT_ENABLED: u64 = 10_076;
const STREAM_NAME_EXISTS: u64 = 10_058;
const STREAM_NOT_FOUND: u64 = 10_059;
const SUBJECT_OVERLAP: u64 = 10_065;
/// `not available`, `no suitable peers`, `incomplete results`, ...: the cluster elects a leader.
const CLUSTER_BUSY: [u64; 4] = [10_004, 10_005, 10_008, 10_009];

/// Makes the server retain the messages of [`RETAINED`].
///
/// It uses the API's JSON, because the client library's typed configuration would drop unknown
/// settings when a stream is updated.
pub(super) struct Streams {
    pub(super) context: Context,
    wanted: Vec<Wanted>,
    /// For messages, without credentials.
    servers: String,
}

/// The required configuration of a stream.
struct Wanted {
    name: String,
    subjects: String,
    depth_per_subject: usize,
    durable: bool,
    storage: Option<StreamStorage>,
    replicas: Option<u8>,
}

impl Streams {
    pub(super) fn new(
        context: Context,
        prefix: &Prefix,
        config: &BusConfig,
        servers: String,
    ) -> Streams {
        let wanted = RETAINED
            .iter()
            .map(|retained| Wanted::new(retained, prefix, config))
            .collect();
        Streams {
            context,
            wanted,
            servers,
        }
    }

    /// As `ensure`, but waits until `deadline` for a cluster that elects its leader.
    pub(super) async fn ensure_until(&self, deadline: Instant) -> Result<(), BusError> {
        loop {
            match self.ensure().await {
                Err(error) if error.is_retryable() && Instant::now() + RETRY_DELAY < deadline => {}
                result => return result,
            }
            tokio::time::sleep(RETRY_DELAY).await;
        }
    }

    /// Creates the streams that are missing, and updates those that differ.
    pub(super) async fn ensure(&self) -> Result<(), BusError> {
        for wanted in &self.wanted {
            self.ensure_one(wanted).await?;
        }
        Ok(())
    }

    /// Creates the missing streams, does not change the others, and returns the number of created
    /// streams.
    pub(super) async fn create_missing(&self) -> Result<u64, BusError> {
        let mut created = 0;
        for wanted in &self.wanted {
            let name = &wanted.name;
            let action = format!("look up stream {name}");
            let info = self
                .request(&action, &format!("STREAM.INFO.{name}"), &json!({}))
                .await?;
            match info {
                Ok(_) => {}
                Err(refusal) if refusal.code == STREAM_NOT_FOUND => {
                    created += u64::from(self.create(wanted).await?);
                }
                Err(refusal) => return Err(refusal.into_error(&action)),
            }
        }
        Ok(created)
    }

    async fn ensure_one(&self, wanted: &Wanted) -> Result<(), BusError> {
        let name = &wanted.name;
        let action = format!("look up stream {name}");
        let info = match self
            .request(&action, &format!("STREAM.INFO.{name}"), &json!({}))
            .await?
        {
            Ok(info) => info,
            Err(refusal) if refusal.code == STREAM_NOT_FOUND => {
                if self.create(wanted).await? {
                    return Ok(());
                }
                // Another program has just created it.
                self.request(&action, &format!("STREAM.INFO.{name}"), &json!({}))
                    .await?
                    .map_err(|refusal| refusal.into_error(&action))?
            }
            Err(refusal) => return Err(refusal.into_error(&action)),
        };
        self.update(wanted, &info["config"]).await
    }

    /// False if a stream of that name exists.
    async fn create(&self, wanted: &Wanted) -> Result<bool, BusError> {
        let name = &wanted.name;
        let action = format!("create stream {name}");
        let created = self
            .request(
                &action,
                &format!("STREAM.CREATE.{name}"),
                &wanted.new_config(),
            )
            .await?;
        match created {
            Ok(_) => {
                info!(stream = name.as_str(), "stream created");
                Ok(true)
            }
            Err(refusal) if refusal.code == STREAM_NAME_EXISTS => Ok(false),
            Err(refusal) if refusal.code == SUBJECT_OVERLAP => {
                let others = self.streams_with(&wanted.subjects).await?;
                Err(BusError::StreamConflict {
                    stream: name.clone(),
                    reason: format!(
                        "its subjects {} overlap with those of stream {}; delete that one, or set a bus prefix",
                        wanted.subjects,
                        others.join(", "),
                    ),
                })
            }
            Err(refusal) => Err(refusal.into_error(&action)),
        }
    }

    async fn update(&self, wanted: &Wanted, running: &Value) -> Result<(), BusError> {
        let name = &wanted.name;
        // A stream with our name and other subjects belongs to somebody else: do not touch it.
        if running["subjects"] != json!([wanted.subjects]) {
            return Err(BusError::StreamConflict {
                stream: name.clone(),
                reason: format!(
                    "it exists and has subjects {} instead of {}; delete it, or set a bus prefix",
                    running["subjects"], wanted.subjects,
                ),
            });
        }
        let mut config = running.clone();
        let mut differences = Vec::new();
        for (setting, value) in wanted.settings() {
            let before = running.get(setting).unwrap_or(&Value::Null);
            if *before != value {
                differences.push(format!("{setting} from {before} to {value}"));
                config[setting] = value;
            }
        }
        if differences.is_empty() {
            return Ok(());
        }
        let differences = differences.join(", ");
        let action = format!("update stream {name}");
        let updated = self
            .request(&action, &format!("STREAM.UPDATE.{name}"), &config)
            .await?;
        match updated {
            Ok(_) => {
                info!(stream = name.as_str(), differences, "stream updated");
                Ok(())
            }
            Err(refusal) if refusal.is_retryable() => Err(refusal.into_error(&action)),
            Err(refusal) => Err(BusError::StreamConflict {
                stream: name.clone(),
                reason: format!(
                    "the server refused to change {differences}: {}; set the bus storage and replicas to the running stream's, or delete the stream",
                    refusal.description,
                ),
            }),
        }
    }

    async fn streams_with(&self, subjects: &str) -> Result<Vec<String>, BusError> {
        let action = "list streams";
        let filter = json!({ "subject": subjects });
        let page = self
            .request(action, "STREAM.NAMES", &filter)
            .await?
            .map_err(|refusal| refusal.into_error(action))?;
        let mut names = Vec::new();
        for name in page["streams"].as_array().into_iter().flatten() {
            names.extend(name.as_str().map(str::to_owned));
        }
        Ok(names)
    }

    /// The subjects of a stream that match `filter`, and the sequence of its newest message.
    pub(super) async fn subjects(
        &self,
        name: &str,
        filter: &str,
    ) -> Result<(Vec<String>, u64), BusError> {
        let action = format!("list the subjects of stream {name}");
        let mut subjects = Vec::new();
        loop {
            let body = json!({ "subjects_filter": filter, "offset": subjects.len() });
            // The server returns up to 100,000 at once.
            let page = self
                .request(&action, &format!("STREAM.INFO.{name}"), &body)
                .await?
                .map_err(|refusal| match refusal.code {
                    // The stream is in memory and the server was restarted: it will be created
                    // again.
                    STREAM_NOT_FOUND => error(&action, &refusal.description, true),
                    _ => refusal.into_error(&action),
                })?;
            let last_sequence = page["state"]["last_seq"].as_u64().unwrap_or_default();
            let before = subjects.len();
            for (subject, _) in page["state"]["subjects"].as_object().into_iter().flatten() {
                subjects.push(subject.clone());
            }
            let total = page["total"].as_u64().unwrap_or_default();
            if subjects.len() == before || subjects.len() as u64 >= total {
                return Ok((subjects, last_sequence));
            }
        }
    }

    /// The stream of `retained`.
    pub(super) fn name_of(&self, retained: &RetainedRoot) -> &str {
        let index = RETAINED
            .iter()
            .position(|other| other.root == retained.root)
            .expect("the retained root is from the table");
        &self.wanted[index].name
    }

    /// The outer error is ours, the inner one the API's.
    async fn request(
        &self,
        action: &str,
        subject: &str,
        body: &Value,
    ) -> Result<Result<Value, Refusal>, BusError> {
        let answer: Value = match self.context.request(subject.to_owned(), body).await {
            Ok(answer) => answer,
            Err(error) => {
                return Err(match error.kind() {
                    RequestErrorKind::NoResponders => self.disabled("nobody answers its api"),
                    RequestErrorKind::TimedOut => self::error(
                        action,
                        "no answer in time; a cluster may lack a majority of its servers",
                        true,
                    ),
                    RequestErrorKind::InvalidSubject | RequestErrorKind::Other => {
                        self::error(action, &error.to_string(), true)
                    }
                });
            }
        };
        let Some(refused) = answer.get("error") else {
            return Ok(Ok(answer));
        };
        let description = refused["description"].as_str().unwrap_or("no reason given");
        let code = refused["err_code"].as_u64().unwrap_or_default();
        if code == NOT_ENABLED || code == NOT_ENABLED_FOR_ACCOUNT {
            return Err(self.disabled(description));
        }
        Ok(Err(Refusal {
            code,
            description: description.to_owned(),
        }))
    }

    fn disabled(&self, reason: &str) -> BusError {
        BusError::JetStreamDisabled {
            servers: self.servers.clone(),
            reason: reason.to_owned(),
        }
    }
}

impl Wanted {
    fn new(retained: &RetainedRoot, prefix: &Prefix, config: &BusConfig) -> Wanted {
        // A stream that need not survive a restart stays in memory, whatever the configuration
        // says.
        let storage = match retained.durable {
            true => config.bus_storage,
            false => Some(StreamStorage::Memory),
        };
        Wanted {
            name: prefix.stream_name(retained.root),
            subjects: prefix.add(&format!("{}.>", retained.root)),
            depth_per_subject: retained.depth_per_subject,
            durable: retained.durable,
            storage,
            replicas: config.bus_replicas,
        }
    }

    /// The required settings of a running stream.
    fn settings(&self) -> Vec<(&'static str, Value)> {
        let mut settings = vec![
            ("max_msgs_per_subject", json!(self.depth_per_subject)),
            ("discard", json!("old")),
            ("max_msgs", json!(-1)),
            ("max_bytes", json!(-1)),
            ("max_age", json!(0)),
        ];
        if let Some(storage) = self.storage {
            settings.push(("storage", json!(storage_name(storage))));
        }
        if let Some(replicas) = self.replicas {
            settings.push(("num_replicas", json!(replicas)));
        }
        settings
    }

    fn new_config(&self) -> Value {
        let storage = match self.durable {
            true => StreamStorage::File,
            false => StreamStorage::Memory,
        };
        let mut config = json!({
            "name": self.name,
            "description": "klinecast: the newest messages of each subject",
            "subjects": [self.subjects],
            "retention": "limits",
            "storage": storage_name(storage),
            "num_replicas": 1,
            "allow_direct": true,
        });
        for (setting, value) in self.settings() {
            config[setting] = value;
        }
        config
    }
}

fn storage_name(storage: StreamStorage) -> &'static str {
    match storage {
        StreamStorage::Memory => "memory",
        StreamStorage::File => "file",
    }
}

/// An error that the JetStream API gave.
struct Refusal {
    code: u64,
    description: String,
}

impl Refusal {
    fn is_retryable(&self) -> bool {
        CLUSTER_BUSY.contains(&self.code)
    }

    fn into_error(self, action: &str) -> BusError {
        error(action, &self.description, self.is_retryable())
    }
}

pub(super) fn error(action: &str, reason: &str, retryable: bool) -> BusError {
    BusError::JetStream {
        action: action.to_owned(),
        reason: reason.to_owned(),
        retryable,
    }
}
