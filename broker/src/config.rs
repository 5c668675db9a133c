//! What a broker is told: flags, and a YAML file.

mod check;
pub(crate) mod checked;
mod error;
pub(crate) mod file;
pub(crate) mod flags;
pub(crate) mod units;

use std::path::Path;

pub use checked::Config;
pub use error::ConfigError;
pub use flags::{ApiConfig, BrokerArgs, Supervision};

use crate::default_streams;
use file::BrokerFile;

/// The block of the file that is the broker's; a file may have others, which are not read.
const BLOCK: &str = "message-broker-service";

impl Config {
    /// Reads the file, puts the flags over it, and checks all of it.
    ///
    /// # Errors
    /// `ConfigError`, with what to change.
    pub fn load(args: &BrokerArgs) -> Result<Config, ConfigError> {
        let file = match &args.config {
            None => BrokerFile::default(),
            Some(path) => read(path)?,
        };
        Self::of(file, args)
    }

    /// As [`Config::load`], of a text.
    ///
    /// # Errors
    /// As there.
    pub fn of_text(text: &str, args: &BrokerArgs) -> Result<Config, ConfigError> {
        Self::of(
            parse(text).map_err(|(field, reason)| ConfigError::Field { field, reason })?,
            args,
        )
    }

    fn of(mut file: BrokerFile, args: &BrokerArgs) -> Result<Config, ConfigError> {
        if let Some(program) = &args.nats_server {
            file.nats.nats_server = Some(program.clone());
        }
        if let Some(directory) = &args.data_dir {
            file.nats.data_dir.clone_from(directory);
        }
        let mut streams = default_streams::named(&file.nats.default_streams);
        if !file.nats.jetstream_enabled {
            streams.clear();
        }
        streams.extend(file.nats.streams.clone());
        let config = Config {
            listen: args.listen.unwrap_or((file.host, file.port).into()),
            auto_start_nats: file.auto_start_nats,
            auto_create_streams: file.auto_create_streams,
            klinecast_prefix: (file.klinecast_streams && file.nats.jetstream_enabled)
                .then_some(file.klinecast_prefix),
            service_events: file.service_events,
            published_log_lines_max: args.published_log_lines_max,
            published_log_lines_rate: args.published_log_lines_rate,
            supervision: args.supervision.clone(),
            api: args.api.clone(),
            nats: file.nats,
            streams,
        };
        check::check(&config)?;
        Ok(config)
    }
}

fn read(path: &Path) -> Result<BrokerFile, ConfigError> {
    let refused = |reason: String| ConfigError::File {
        file: path.to_owned(),
        reason,
    };
    let length = std::fs::metadata(path)
        .map_err(|error| refused(error.to_string()))?
        .len();
    if length > yaml::BYTES_MAX as u64 {
        return Err(refused(format!(
            "it is longer than {} bytes",
            yaml::BYTES_MAX
        )));
    }
    let text = std::fs::read_to_string(path).map_err(|error| refused(error.to_string()))?;
    parse(&text).map_err(|(field, reason)| match field.as_str() {
        "" => refused(reason),
        field => refused(format!("{field}: {reason}")),
    })
}

/// The broker's block; an error is a path of fields, which may be empty, and a reason.
fn parse(text: &str) -> Result<BrokerFile, (String, String)> {
    let mut tree = yaml::parse(text).map_err(|error| (String::new(), error.to_string()))?;
    let block = match tree.get_mut(BLOCK) {
        Some(block) => block.take(),
        None => tree,
    };
    let block = match block {
        serde_json::Value::Null => serde_json::Value::Object(serde_json::Map::new()),
        block if block.is_object() => block,
        _ => {
            let reason = format!("it is no mapping: its fields stand below {BLOCK}, or at the top");
            return Err((String::new(), reason));
        }
    };
    serde_path_to_error::deserialize(block).map_err(|error| {
        let field = match error.path().to_string() {
            path if path == "." => String::new(),
            path => path,
        };
        (field, error.inner().to_string())
    })
}

#[cfg(test)]
mod tests;
