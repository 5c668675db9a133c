//! The wanted streams beside the running ones: what is missing, what differs, and what a change
//! would lose.

mod loss;

use std::collections::BTreeMap;
use std::sync::Arc;

use metrics::counter;
use serde::Serialize;
use serde_json::{Value, json};
use tracing::{info, warn};

use crate::config::Config;
use crate::copies::{self, Copies, copied};
use crate::jetstream::{JetStream, NatsError};
use crate::stream_settings::StreamSettings;
use crate::subjects::{is_believed, overlap};

pub(crate) use loss::Loss;

/// The streams of the configuration. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Streams {
    jetstream: JetStream,
    wanted: Arc<BTreeMap<String, StreamSettings>>,
    /// The subjects of Klinecast's own streams; empty where they are not on this server.
    own: Arc<Vec<String>>,
    /// What the subjects of Klinecast's programs begin with; `None` where they are not on this
    /// server.
    klinecast_prefix: Option<Arc<str>>,
}

/// How one wanted stream is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Planned {
    /// Its name.
    pub(crate) name: String,
    /// What there is to do.
    pub(crate) action: Action,
    /// What differs: the field, its value now, and the wanted one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) differences: Vec<Difference>,
    /// What doing it would lose.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) loses: Option<Loss>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Action {
    None,
    Create,
    Update,
}

/// One field that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Difference {
    field: String,
    now: Value,
    wanted: Value,
}

/// Why a stream is not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StreamError {
    /// The settings are wrong.
    #[error("{0}")]
    Settings(String),
    /// It is one of Klinecast's own.
    #[error(
        "{0} is a stream of Klinecast's programs, which keep their state there: they make it and change it themselves"
    )]
    Own(String),
    /// There is none.
    #[error("there is no stream {0}: GET /api/v1/streams lists them")]
    Missing(String),
    /// An own stream that copies are wanted of is not there.
    #[error(
        "no stream of {0} publishes copies yet: start a program of Klinecast, which makes this stream"
    )]
    NoOrigin(String),
    /// The server.
    #[error(transparent)]
    Nats(NatsError),
}

impl StreamError {
    fn of(name: &str, error: NatsError) -> Self {
        match error.is_no_such_stream() {
            true => Self::Missing(name.to_owned()),
            false => Self::Nats(error),
        }
    }
}

impl From<NatsError> for StreamError {
    fn from(error: NatsError) -> Self {
        Self::Nats(error)
    }
}

impl Streams {
    pub(crate) fn new(config: &Config, jetstream: JetStream) -> Self {
        let own = config.klinecast_prefix.as_deref().map(copies::own_subjects);
        Self {
            jetstream,
            wanted: Arc::new(config.streams.clone()),
            own: Arc::new(own.unwrap_or_default()),
            klinecast_prefix: config.klinecast_prefix.as_deref().map(Arc::from),
        }
    }

    /// Whether the configuration names it.
    pub(crate) fn is_wanted(&self, name: &str) -> bool {
        self.wanted.contains_key(name)
    }

    /// Whether a running stream is one of Klinecast's own.
    pub(crate) fn is_own(&self, config: &Value) -> bool {
        let subjects = config["subjects"].as_array().into_iter().flatten();
        let mut subjects = subjects.filter_map(Value::as_str);
        subjects.any(|subject| self.own.iter().any(|own| own == subject))
    }

    /// Whether only Klinecast's programs may publish to a subject.
    pub(crate) fn is_own_subject(&self, subject: &str) -> bool {
        let prefix = self.klinecast_prefix.as_deref();
        prefix.is_some_and(|prefix| is_believed(prefix, subject))
    }

    /// What there is to do for each wanted stream.
    pub(crate) async fn plan(&self) -> Result<Vec<Planned>, StreamError> {
        let mut plan = Vec::new();
        for (name, settings) in self.wanted.iter() {
            let made = self.made_of(settings)?;
            let running = match self.jetstream.stream(name).await {
                Ok(running) => Some(running),
                Err(error) if error.is_no_such_stream() => None,
                Err(error) => return Err(error.into()),
            };
            plan.push(match running {
                None => Planned {
                    name: name.clone(),
                    action: Action::Create,
                    differences: Vec::new(),
                    loses: None,
                },
                Some(running) => self.compared(name, &made.settings, &running).await?,
            });
        }
        Ok(plan)
    }

    async fn compared(
        &self,
        name: &str,
        settings: &StreamSettings,
        running: &Value,
    ) -> Result<Planned, StreamError> {
        let differences = settings.differences(&running["config"]);
        let is_same = differences.is_empty();
        let loses = match is_same {
            true => None,
            false => Some(loss::of_update(&self.jetstream, name, running, settings).await?),
        };
        let differences = differences.into_iter();
        Ok(Planned {
            name: name.to_owned(),
            action: if is_same {
                Action::None
            } else {
                Action::Update
            },
            differences: differences
                .map(|(field, now, wanted)| Difference { field, now, wanted })
                .collect(),
            loses,
        })
    }

    /// Creates missing streams, and says what differs. Nothing that runs is changed, but for the
    /// copies that own streams publish.
    pub(crate) async fn create_missing(&self) -> Result<usize, StreamError> {
        let mut created = 0;
        for planned in self.plan().await? {
            match planned.action {
                Action::None => {}
                Action::Create => {
                    self.create(&planned.name, &self.wanted[&planned.name])
                        .await?;
                    created += 1;
                }
                Action::Update => {
                    let differences = serde_json::to_string(&planned.differences);
                    warn!(
                        stream = planned.name,
                        differences = differences.unwrap_or_default(),
                        "stream differs from the configuration and is left as it is: GET /api/v1/plan says what a change would lose, POST /api/v1/plan makes it"
                    );
                }
            }
        }
        self.publish_copies().await?;
        Ok(created)
    }

    /// Makes own streams publish copies of the subjects that wanted streams need.
    pub(crate) async fn publish_copies(&self) -> Result<(), StreamError> {
        let mut origins = Vec::new();
        for settings in self.wanted.values() {
            for origin in self.made_of(settings)?.of {
                if !origins.contains(&origin) {
                    origins.push(origin);
                }
            }
        }
        match self.publish_copies_of(&origins).await?.pop() {
            Some(origin) => Err(StreamError::NoOrigin(origin)),
            None => Ok(()),
        }
    }

    /// Returns the subjects whose own stream is not there.
    async fn publish_copies_of(&self, origins: &[String]) -> Result<Vec<String>, StreamError> {
        let mut missing = Vec::new();
        for origin in origins {
            let rule = json!({ "src": origin, "dest": copied(origin) });
            let mut is_there = false;
            for name in self.jetstream.streams_of(origin).await? {
                let running = self.jetstream.stream(&name).await?;
                if running["config"]["subjects"] != json!([origin]) {
                    continue;
                }
                is_there = true;
                if running["config"]["republish"] == rule {
                    continue;
                }
                let mut config = running["config"].clone();
                config["republish"] = rule.clone();
                let update = format!("STREAM.UPDATE.{name}");
                self.jetstream.request(&update, &config).await?;
                info!(
                    stream = name,
                    subjects = origin,
                    "own stream publishes copies"
                );
            }
            if !is_there {
                missing.push(origin.clone());
            }
        }
        Ok(missing)
    }

    /// Creates a stream.
    pub(crate) async fn create(
        &self,
        name: &str,
        settings: &StreamSettings,
    ) -> Result<Value, StreamError> {
        let (made, _) = self.creation(name, settings).await?;
        self.publish_copies_of(&made.of).await?;
        let config = made.settings.new_config(name);
        let created = self
            .jetstream
            .request(&format!("STREAM.CREATE.{name}"), &config)
            .await?;
        counter!("broker_stream_changes_total", "action" => "create").increment(1);
        info!(stream = name, "stream created");
        Ok(created)
    }

    /// How a stream would be made, and the streams that stand in its way.
    pub(crate) async fn creation(
        &self,
        name: &str,
        settings: &StreamSettings,
    ) -> Result<(Copies, Vec<String>), StreamError> {
        crate::stream_settings::check_name(name).map_err(StreamError::Settings)?;
        settings.check_whole().map_err(StreamError::Settings)?;
        let made = self.made_of(settings)?;
        let subjects = made.settings.subjects.clone().unwrap_or_default();
        let mut others = Vec::new();
        for stream in self.jetstream.streams().await?.entries {
            let config = &stream["config"];
            let theirs = config["subjects"].as_array().into_iter().flatten();
            let overlaps = theirs
                .filter_map(Value::as_str)
                .any(|their| subjects.iter().any(|subject| overlap(their, subject)));
            let other = config["name"].as_str().unwrap_or_default();
            if overlaps || other == name {
                others.push(other.to_owned());
            }
        }
        Ok((made, others))
    }

    /// What an update of a running stream would do.
    pub(crate) async fn update_plan(
        &self,
        name: &str,
        settings: &StreamSettings,
    ) -> Result<Planned, StreamError> {
        settings.check().map_err(StreamError::Settings)?;
        let running = self.changeable(name).await?;
        let made = self.made_of(settings)?;
        self.compared(name, &made.settings, &running).await
    }

    /// Changes a running stream; settings that are not named stay.
    pub(crate) async fn update(
        &self,
        name: &str,
        settings: &StreamSettings,
    ) -> Result<Value, StreamError> {
        settings.check().map_err(StreamError::Settings)?;
        let running = self.changeable(name).await?;
        let made = self.made_of(settings)?;
        self.publish_copies_of(&made.of).await?;
        let mut config = running["config"].clone();
        for (field, value) in made.settings.api_fields() {
            config[field] = value;
        }
        let updated = self
            .jetstream
            .request(&format!("STREAM.UPDATE.{name}"), &config)
            .await?;
        counter!("broker_stream_changes_total", "action" => "update").increment(1);
        info!(stream = name, "stream changed");
        Ok(updated)
    }

    /// Changes the wanted streams of these names to what the configuration says; all of them if
    /// none is named.
    pub(crate) async fn apply(&self, names: &[String]) -> Result<Vec<Planned>, StreamError> {
        if let Some(name) = names.iter().find(|name| !self.is_wanted(name)) {
            return Err(StreamError::Settings(format!(
                "{name:?} is no stream of the configuration: GET /api/v1/plan lists them"
            )));
        }
        self.publish_copies().await?;
        let mut done = Vec::new();
        for planned in self.plan().await? {
            if !names.is_empty() && !names.contains(&planned.name) {
                continue;
            }
            let settings = &self.wanted[&planned.name];
            match planned.action {
                Action::None => continue,
                Action::Create => drop(self.create(&planned.name, settings).await?),
                Action::Update => drop(self.update(&planned.name, settings).await?),
            }
            done.push(planned);
        }
        Ok(done)
    }

    /// What deleting a stream loses.
    pub(crate) async fn deletion(&self, name: &str) -> Result<Loss, StreamError> {
        Ok(loss::of_deletion(&self.changeable(name).await?))
    }

    pub(crate) async fn delete(&self, name: &str) -> Result<(), StreamError> {
        self.changeable(name).await?;
        self.jetstream
            .request(&format!("STREAM.DELETE.{name}"), &Value::Null)
            .await?;
        counter!("broker_stream_changes_total", "action" => "delete").increment(1);
        info!(stream = name, "stream deleted");
        Ok(())
    }

    /// What a purge loses.
    pub(crate) async fn purge_loss(&self, name: &str, purge: &Value) -> Result<Loss, StreamError> {
        let running = self.changeable(name).await?;
        Ok(loss::of_purge(&self.jetstream, name, &running, purge).await?)
    }

    /// Removes messages; returns how many.
    pub(crate) async fn purge(&self, name: &str, purge: &Value) -> Result<u64, StreamError> {
        self.changeable(name).await?;
        let answer = self
            .jetstream
            .request(&format!("STREAM.PURGE.{name}"), purge)
            .await?;
        counter!("broker_stream_changes_total", "action" => "purge").increment(1);
        let purged = answer["purged"].as_u64().unwrap_or(0);
        info!(stream = name, purged, "stream purged");
        Ok(purged)
    }

    /// A running stream that is no own one.
    async fn changeable(&self, name: &str) -> Result<Value, StreamError> {
        crate::stream_settings::check_name(name).map_err(StreamError::Settings)?;
        let running = self.jetstream.stream(name).await;
        let running = running.map_err(|error| StreamError::of(name, error))?;
        match self.is_own(&running["config"]) {
            true => Err(StreamError::Own(name.to_owned())),
            false => Ok(running),
        }
    }

    fn made_of(&self, settings: &StreamSettings) -> Result<Copies, StreamError> {
        copies::of(settings, &self.own).map_err(StreamError::Settings)
    }
}
