//! The JetStream streams behind the specs of the caller.

use std::sync::{Arc, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tokio::time::Instant;
use tracing::info;

use super::api::{Api, STREAM_NAME_EXISTS, STREAM_NOT_FOUND, SUBJECT_OVERLAP, error, unix_ns};
use crate::spec::{self, StreamSpec, root_of};
use crate::subject::{Prefix, check_subject};
use crate::{BusConfig, BusError, DUPLICATE_WINDOW, StreamStorage};

const RETRY_DELAY: std::time::Duration = std::time::Duration::from_millis(200);

/// Makes the server retain the messages of the specs.
pub(super) struct Streams {
    pub(super) api: Api,
    pub(super) prefix: Prefix,
    storage: Option<StreamStorage>,
    replicas: Option<u8>,
    wanted: RwLock<Vec<Arc<Wanted>>>,
}

/// The required configuration of a stream.
pub(super) struct Wanted {
    pub(super) spec: StreamSpec,
    pub(super) name: String,
    pub(super) subjects: String,
    storage: Option<StreamStorage>,
    replicas: Option<u8>,
}

/// The subjects of a running stream that were asked for.
pub(super) struct Subjects {
    pub(super) names: Vec<String>,
    pub(super) last_sequence: u64,
    /// When the stream was created, unix ns.
    pub(super) created_ns: u64,
}

impl Streams {
    pub(super) fn new(
        api: Api,
        prefix: &Prefix,
        config: &BusConfig,
        specs: &[StreamSpec],
    ) -> Result<Streams, BusError> {
        spec::check_all(specs)?;
        let streams = Streams {
            api,
            prefix: prefix.clone(),
            storage: config.bus_storage,
            replicas: config.bus_replicas,
            wanted: RwLock::default(),
        };
        for spec in specs {
            let wanted = streams.wanted_of(spec);
            streams.write_wanted(|all| all.push(Arc::new(wanted)));
        }
        Ok(streams)
    }

    /// The stream that `spec` needs.
    pub(super) fn wanted_of(&self, spec: &StreamSpec) -> Wanted {
        // A stream that need not survive a restart stays in memory, whatever the configuration
        // says.
        let storage = match spec.is_durable {
            true => self.storage,
            false => Some(StreamStorage::Memory),
        };
        Wanted {
            name: self.prefix.stream_name(&spec.root),
            subjects: self.prefix.add(&spec.subjects()),
            spec: spec.clone(),
            storage,
            replicas: self.replicas,
        }
    }

    pub(super) fn write_wanted<T>(&self, act: impl FnOnce(&mut Vec<Arc<Wanted>>) -> T) -> T {
        act(&mut self.wanted.write().expect("nothing panics under it"))
    }

    /// All streams, in the order of their specs.
    pub(super) fn all(&self) -> Vec<Arc<Wanted>> {
        self.wanted.read().expect("nothing panics under it").clone()
    }

    /// The stream with this root.
    pub(super) fn with_root(&self, root: &str) -> Option<Arc<Wanted>> {
        let wanted = self.wanted.read().expect("nothing panics under it");
        wanted.iter().find(|one| one.spec.root == root).cloned()
    }

    /// The stream that keeps `subject`, which has no wildcard.
    pub(super) fn of_subject(&self, subject: &str) -> Result<Arc<Wanted>, BusError> {
        check_subject(subject)?;
        let found = root_of(subject).and_then(|root| self.with_root(root));
        found.ok_or_else(|| self.not_retained(subject))
    }

    pub(super) fn not_retained(&self, subject: &str) -> BusError {
        BusError::NotRetained {
            subject: subject.to_owned(),
            retained: spec::list(self.all().iter().map(|one| one.spec.subjects())),
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

    /// Creates missing streams, and updates streams that differ.
    pub(super) async fn ensure(&self) -> Result<(), BusError> {
        for wanted in &self.all() {
            self.ensure_one(wanted).await?;
        }
        Ok(())
    }

    /// Creates the missing streams, does not change the others, and returns the number of created
    /// streams.
    pub(super) async fn create_missing(&self) -> Result<u64, BusError> {
        let mut created = 0;
        for wanted in &self.all() {
            let name = &wanted.name;
            let action = format!("look up stream {name}");
            let info = self
                .api
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

    pub(super) async fn ensure_one(&self, wanted: &Wanted) -> Result<(), BusError> {
        let name = &wanted.name;
        let action = format!("look up stream {name}");
        let info = match self
            .api
            .request(&action, &format!("STREAM.INFO.{name}"), &json!({}))
            .await?
        {
            Ok(info) => info,
            Err(refusal) if refusal.code == STREAM_NOT_FOUND => {
                if self.create(wanted).await? {
                    return Ok(());
                }
                // Another program has just created it.
                self.api
                    .request(&action, &format!("STREAM.INFO.{name}"), &json!({}))
                    .await?
                    .map_err(|refusal| refusal.into_error(&action))?
            }
            Err(refusal) => return Err(refusal.into_error(&action)),
        };
        self.update(wanted, &info["config"]).await
    }

    /// False if a stream of that name exists.
    pub(super) async fn create(&self, wanted: &Wanted) -> Result<bool, BusError> {
        let name = &wanted.name;
        let action = format!("create stream {name}");
        let created = self
            .api
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

    pub(super) async fn update(&self, wanted: &Wanted, running: &Value) -> Result<(), BusError> {
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
            .api
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
            .api
            .request(action, "STREAM.NAMES", &filter)
            .await?
            .map_err(|refusal| refusal.into_error(action))?;
        let mut names = Vec::new();
        for name in page["streams"].as_array().into_iter().flatten() {
            names.extend(name.as_str().map(str::to_owned));
        }
        Ok(names)
    }

    /// The subjects of a stream that match `filter`.
    pub(super) async fn subjects(&self, name: &str, filter: &str) -> Result<Subjects, BusError> {
        let action = format!("list the subjects of stream {name}");
        let mut names = Vec::new();
        loop {
            let body = json!({ "subjects_filter": filter, "offset": names.len() });
            // The server returns up to 100,000 at once.
            let page = self.info(name, &action, &body).await?;
            let before = names.len();
            for (subject, _) in page["state"]["subjects"].as_object().into_iter().flatten() {
                names.push(subject.clone());
            }
            let total = page["total"].as_u64().unwrap_or_default();
            if names.len() == before || names.len() as u64 >= total {
                return Ok(Subjects {
                    names,
                    last_sequence: page["state"]["last_seq"].as_u64().unwrap_or_default(),
                    created_ns: unix_ns(page["created"].as_str().unwrap_or_default()),
                });
            }
        }
    }

    /// The server's description of our stream.
    pub(super) async fn info(
        &self,
        name: &str,
        action: &str,
        body: &Value,
    ) -> Result<Value, BusError> {
        self.api
            .request(action, &format!("STREAM.INFO.{name}"), body)
            .await?
            .map_err(|refusal| match refusal.code {
                // The stream is in memory and the server was restarted: it will be created
                // again.
                STREAM_NOT_FOUND => error(action, &refusal.description, true),
                _ => refusal.into_error(action),
            })
    }
}

impl Wanted {
    /// The required settings of a running stream.
    fn settings(&self) -> Vec<(&'static str, Value)> {
        let age_max_ns = self.spec.age_max.map_or(0, |age| age.as_nanos() as i64);
        let window = self.spec.age_max.unwrap_or(DUPLICATE_WINDOW);
        let window_ns = window.min(DUPLICATE_WINDOW).as_nanos() as i64;
        let mut settings = vec![
            (
                "max_msgs_per_subject",
                limit(self.spec.messages_per_subject_max),
            ),
            ("discard", json!("old")),
            ("max_msgs", limit(self.spec.messages_max)),
            ("max_bytes", limit(self.spec.bytes_max)),
            ("max_age", json!(age_max_ns)),
            ("allow_direct", json!(true)),
            ("duplicate_window", json!(window_ns)),
        ];
        if self.spec.is_fenced {
            settings.push(("allow_atomic", json!(true)));
        }
        if let Some(storage) = self.storage {
            settings.push(("storage", json!(storage_name(storage))));
        }
        if let Some(replicas) = self.replicas {
            settings.push(("num_replicas", json!(replicas)));
        }
        settings
    }

    fn new_config(&self) -> Value {
        let storage = match self.spec.is_durable {
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
        });
        if self.spec.is_fenced {
            config["first_seq"] = json!(first_sequence());
        }
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

/// Above every sequence of a stream of before: no stream takes a message in each microsecond.
#[expect(
    clippy::disallowed_methods,
    reason = "a number that rises from one run to the next is a matter of the wall clock"
)]
fn first_sequence() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(1, |since| u64::try_from(since.as_micros()).unwrap_or(1))
}

/// A limit in the API's form: -1 for none.
fn limit(limit: Option<u64>) -> Value {
    limit.map_or_else(|| json!(-1), |limit| json!(limit))
}
