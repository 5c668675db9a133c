//! The flags of a broker.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

/// The flags of a broker. A flag wins over the file.
#[derive(Args, Clone, Debug)]
pub struct BrokerArgs {
    /// YAML file with the configuration: broker/README.md has all fields [default: none, so all defaults]
    #[arg(long, env = "KLINECAST_BROKER_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Address of the HTTP API and its page [default: host and port of the file, else 127.0.0.1:8085]
    #[arg(long, env = "KLINECAST_BROKER_LISTEN", value_name = "ADDR")]
    pub listen: Option<SocketAddr>,

    /// The nats-server program [default: nats_server of the file, else the one on the PATH]
    #[arg(long, env = "KLINECAST_BROKER_NATS_SERVER", value_name = "FILE")]
    pub nats_server: Option<PathBuf>,

    /// Directory of nats-server's messages, log and generated configuration [default: data_dir of the file, else data/nats]
    #[arg(long, env = "KLINECAST_BROKER_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,

    /// Most log lines that wait to be published on service.message-broker-service.log.LEVEL; more are dropped and counted; 0 publishes none
    #[arg(
        long,
        env = "KLINECAST_BROKER_PUBLISHED_LOG_LINES_MAX",
        default_value_t = 1_024,
        value_name = "COUNT"
    )]
    pub published_log_lines_max: usize,

    /// Most log lines that are published in a second, in the long run; ten seconds' worth at once; more are dropped and counted; 0 for no limit
    #[arg(
        long,
        env = "KLINECAST_BROKER_PUBLISHED_LOG_LINES_RATE",
        default_value_t = 100,
        value_name = "COUNT"
    )]
    pub published_log_lines_rate: u32,

    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would show it as the program's text")]
    pub supervision: Supervision,

    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would show it as the program's text")]
    pub api: ApiConfig,
}

/// How nats-server is watched.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct Supervision {
    /// How long nats-server may take from its start until it answers, ms
    #[arg(long, env = "KLINECAST_BROKER_START_DEADLINE_MS", default_value_t = Supervision::default().start_deadline_ms, value_name = "MS")]
    pub start_deadline_ms: u64,

    /// How long nats-server may answer nothing before the broker kills it and starts it again, ms; 0 for ever.
    /// Each unanswered check counts at most 2 s, and at least two checks in a row must be unanswered
    #[arg(long, env = "KLINECAST_BROKER_HANG_DEADLINE_MS", default_value_t = Supervision::default().hang_deadline_ms, value_name = "MS")]
    pub hang_deadline_ms: u64,

    /// Longest pause before nats-server is started again, ms; the first is 200 ms, and each next one twice as long
    #[arg(long, env = "KLINECAST_BROKER_RESTART_DELAY_MAX_MS", default_value_t = Supervision::default().restart_delay_max_ms, value_name = "MS")]
    pub restart_delay_max_ms: u64,

    /// How long nats-server may take to end after SIGTERM before it is killed, ms; keep it below --drain-deadline-ms
    #[arg(long, env = "KLINECAST_BROKER_STOP_DEADLINE_MS", default_value_t = Supervision::default().stop_deadline_ms, value_name = "MS")]
    pub stop_deadline_ms: u64,

    /// Leave nats-server running when the broker ends; the next broker on the data directory adopts it
    #[arg(long, env = "KLINECAST_BROKER_LEAVE_NATS_RUNNING")]
    pub leave_nats_running: bool,
}

impl Default for Supervision {
    fn default() -> Self {
        Self {
            start_deadline_ms: 60_000,
            hang_deadline_ms: 30_000,
            restart_delay_max_ms: 30_000,
            stop_deadline_ms: 6_000,
            leave_nats_running: false,
        }
    }
}

/// Who may use the HTTP API, and how much.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct ApiConfig {
    /// File with tokens for the HTTP API: one on each line, as ROLE TOKEN, where ROLE is read, publish or admin. Without it, only programs of this host can write, and only if --listen is a loopback address
    #[arg(long, env = "KLINECAST_BROKER_TOKENS_FILE", value_name = "FILE")]
    pub tokens_file: Option<PathBuf>,

    /// Require a token for reading, too; /health and the page itself need none
    #[arg(
        long,
        env = "KLINECAST_BROKER_READS_NEED_TOKEN",
        requires = "tokens_file"
    )]
    pub reads_need_token: bool,

    /// Longest body of a request, bytes
    #[arg(long, env = "KLINECAST_BROKER_BODY_BYTES_MAX", default_value_t = ApiConfig::default().body_bytes_max, value_name = "BYTES")]
    pub body_bytes_max: usize,

    /// Most requests of one address in a second, on average, and ten times as many at once; 0 is no limit
    #[arg(long, env = "KLINECAST_BROKER_REQUESTS_PER_IP", default_value_t = ApiConfig::default().requests_per_ip, value_name = "COUNT")]
    pub requests_per_ip: u32,

    /// Most requests that are answered at once; more are refused with 503
    #[arg(long, env = "KLINECAST_BROKER_REQUESTS_MAX", default_value_t = ApiConfig::default().requests_max, value_name = "COUNT")]
    pub requests_max: usize,

    /// How long a request may take, its body included, ms
    #[arg(long, env = "KLINECAST_BROKER_REQUEST_DEADLINE_MS", default_value_t = ApiConfig::default().request_deadline_ms, value_name = "MS")]
    pub request_deadline_ms: u64,

    /// Most connections to the HTTP API at once; more wait in the backlog
    #[arg(long, env = "KLINECAST_BROKER_CONNECTIONS_MAX", default_value_t = ApiConfig::default().connections_max, value_name = "COUNT")]
    pub connections_max: usize,

    /// Time within which a request's headers must arrive, and then its body; and longest pause between two requests of a
    /// connection, ms
    #[arg(long, env = "KLINECAST_BROKER_IDLE_MS", default_value_t = ApiConfig::default().idle_ms, value_name = "MS")]
    pub idle_ms: u64,
}

impl Default for ApiConfig {
    fn default() -> Self {
        Self {
            tokens_file: None,
            reads_need_token: false,
            body_bytes_max: 2 << 20,
            requests_per_ip: 200,
            requests_max: 64,
            request_deadline_ms: 10_000,
            connections_max: 256,
            idle_ms: 60_000,
        }
    }
}
