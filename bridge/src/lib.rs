//! Carries messages between the bus and Kafka.
//!
//! # Layout
//!
//! - [`topic_map`]: which Kafka topic carries what, from a YAML file;
//! - [`kafka`]: what the bridge needs of Kafka, and its client behind a cargo feature;
//! - [`cluster`]: the cluster that a configuration names;
//! - [`record`]: a message of the bus as a record of Kafka;
//! - `leader`: of several bridges, one writes;
//! - `exact`: streams of the bus to Kafka, each message once or at least once;
//! - `live`: values that no stream keeps to Kafka, the newest ones;
//! - `inbound`, `incoming`: records of Kafka into the bus; `owners`: whether they may, `epoch`: their numbers;
//! - [`run`]: the program.

mod backoff;
pub mod cluster;
pub mod config;
mod epoch;
mod error;
mod exact;
mod inbound;
pub mod incoming;
pub mod kafka;
mod leader;
mod live;
mod metric_help;
mod outlet;
mod owners;
mod pending;
mod program;
pub mod record;
mod stop;
pub mod topic_map;

pub use config::Config;
pub use error::Error;
pub use program::run;
