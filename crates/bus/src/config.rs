//! The configuration of a bus.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::BusAddress;

/// Which bus to use, and its bounds.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct BusConfig {
    /// The bus: memory:, or nats://host:port; separate several hosts with commas. Put user:password@ or token@ before the host
    // Neither the help nor a parse error may show the password in the environment.
    #[arg(long, env = "KLINECAST_BUS", hide_env_values = true, default_value = "memory:",
          value_name = "ADDRESS", value_parser = BusAddress::from_flag)]
    pub bus: BusAddress,

    /// Prefix of every subject, such as eu.staging, so that several deployments can share a server
    #[arg(
        long,
        env = "KLINECAST_BUS_PREFIX",
        default_value = "",
        value_name = "TOKENS"
    )]
    pub bus_prefix: String,

    /// Most messages that wait in one subscription; beyond it the oldest are dropped and counted as lost
    #[arg(
        long,
        env = "KLINECAST_BUS_BUFFER_MESSAGES",
        default_value_t = 65_536,
        value_name = "COUNT"
    )]
    pub bus_buffer_messages: usize,

    /// Most payload bytes that wait in one subscription; beyond it the oldest messages are dropped and counted as lost
    #[arg(
        long,
        env = "KLINECAST_BUS_BUFFER_BYTES",
        default_value_t = 64 << 20,
        value_name = "BYTES"
    )]
    pub bus_buffer_bytes: usize,

    /// Most questions that wait in one responder; beyond it new ones are refused as busy
    #[arg(
        long,
        env = "KLINECAST_BUS_QUESTIONS_MAX",
        default_value_t = 1_024,
        value_name = "COUNT"
    )]
    pub bus_questions_max: usize,

    /// Where JetStream keeps closed bars and checkpoints [default: as an existing stream does, else file]
    #[arg(long, env = "KLINECAST_BUS_STORAGE", value_enum)]
    pub bus_storage: Option<StreamStorage>,

    /// Copies of each stream in a NATS cluster, 1 to 5 [default: as an existing stream has, else 1]
    #[arg(long, env = "KLINECAST_BUS_REPLICAS", value_name = "COUNT",
          value_parser = clap::value_parser!(u8).range(1..=5))]
    pub bus_replicas: Option<u8>,

    /// PEM file of the authority that signed the server's certificate [default: the system's]
    #[arg(long, env = "KLINECAST_BUS_CA_FILE", value_name = "FILE")]
    pub bus_ca_file: Option<PathBuf>,

    /// How long to try to reach a server at the start, ms
    #[arg(
        long,
        env = "KLINECAST_BUS_CONNECT_DEADLINE_MS",
        default_value_t = 30_000,
        value_name = "MS"
    )]
    pub bus_connect_deadline_ms: u64,

    /// Longest wait of a publication for a server that accepts nothing, ms
    #[arg(
        long,
        env = "KLINECAST_BUS_PUBLISH_DEADLINE_MS",
        default_value_t = 1_000,
        value_name = "MS"
    )]
    pub bus_publish_deadline_ms: u64,

    /// How long a durable publication is retried during an outage, ms
    #[arg(
        long,
        env = "KLINECAST_BUS_DURABLE_DEADLINE_MS",
        default_value_t = 30_000,
        value_name = "MS"
    )]
    pub bus_durable_deadline_ms: u64,

    /// Longest time in which the server must answer a request, ms
    #[arg(
        long,
        env = "KLINECAST_BUS_REQUEST_DEADLINE_MS",
        default_value_t = 5_000,
        value_name = "MS"
    )]
    pub bus_request_deadline_ms: u64,
}

impl Default for BusConfig {
    fn default() -> BusConfig {
        BusConfig {
            bus: BusAddress::memory(),
            bus_prefix: String::new(),
            bus_buffer_messages: 65_536,
            bus_buffer_bytes: 64 << 20,
            bus_questions_max: 1_024,
            bus_storage: None,
            bus_replicas: None,
            bus_ca_file: None,
            bus_connect_deadline_ms: 30_000,
            bus_publish_deadline_ms: 1_000,
            bus_durable_deadline_ms: 30_000,
            bus_request_deadline_ms: 5_000,
        }
    }
}

impl BusConfig {
    pub(crate) fn connect_deadline(&self) -> Duration {
        Duration::from_millis(self.bus_connect_deadline_ms)
    }

    pub(crate) fn publish_deadline(&self) -> Duration {
        Duration::from_millis(self.bus_publish_deadline_ms)
    }

    pub(crate) fn durable_deadline(&self) -> Duration {
        Duration::from_millis(self.bus_durable_deadline_ms)
    }

    pub(crate) fn request_deadline(&self) -> Duration {
        Duration::from_millis(self.bus_request_deadline_ms)
    }
}

/// Where JetStream keeps a stream.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamStorage {
    /// Lost when the server stops.
    Memory,
    /// Survives a restart of the server.
    File,
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    #[derive(Parser, Debug)]
    struct Program {
        #[command(flatten)]
        bus: BusConfig,
    }

    #[test]
    fn default_equals_no_flags() {
        let program = Program::try_parse_from(["program"]).expect("no flag is required");
        assert_eq!(program.bus, BusConfig::default());
    }

    #[test]
    fn command_is_consistent() {
        Program::command().debug_assert();
    }

    #[test]
    fn parsed_config_never_shows_the_password() {
        for address in ["nats://me:s3cret@host", "http://me:s3cret@host"] {
            let program = Program::try_parse_from(["program", "--bus", address])
                .expect("a wrong address is refused later, by connect");
            assert!(!format!("{program:?}").contains("s3cret"));
        }
    }
}
