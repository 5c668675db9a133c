//! The cluster of Kafka that a configuration names.

use std::sync::Arc;

use crate::config::KafkaConfig;
use crate::error::Error;
use crate::kafka::Kafka;

/// The cluster that a configuration names. It is connected when it is needed first.
///
/// # Errors
/// `Config` if a file cannot be read, or the program was built without Kafka.
#[cfg(feature = "kafka")]
pub fn connect(config: &KafkaConfig) -> Result<Arc<dyn Kafka>, Error> {
    Ok(Arc::new(crate::kafka::client::Client::new(config)?))
}

/// See above.
///
/// # Errors
/// Always.
#[cfg(not(feature = "kafka"))]
pub fn connect(_config: &KafkaConfig) -> Result<Arc<dyn Kafka>, Error> {
    Err(Error::Config(
        "this bridge was built without Kafka: build it with --features kafka".to_owned(),
    ))
}
