//! The configuration of the bridge.

use std::path::PathBuf;
use std::time::Duration;

use bus::StreamSpec;
use clap::{Args, ValueEnum};
use market_core::channel::TRADE;
use service::JournalConfig;

use crate::topic_map::KeySymbols;

/// How Kafka is reached.
#[derive(Args, Clone, Debug)]
pub struct KafkaConfig {
    /// Brokers of Kafka to begin with, host:port; separate several with commas
    #[arg(
        long,
        env = "KLINECAST_BRIDGE_KAFKA_BROKERS",
        default_value = "127.0.0.1:9092",
        value_name = "ADDRESSES"
    )]
    pub kafka_brokers: String,

    /// Talk to the brokers through TLS
    #[arg(long, env = "KLINECAST_BRIDGE_KAFKA_TLS", default_value_t = false)]
    pub kafka_tls: bool,

    /// File with the authorities that may sign the brokers' certificates, PEM [default: the public ones]
    #[arg(
        long,
        env = "KLINECAST_BRIDGE_KAFKA_CA_FILE",
        requires = "kafka_tls",
        value_name = "FILE"
    )]
    pub kafka_ca_file: Option<PathBuf>,

    /// File with the certificate that the bridge shows, PEM
    #[arg(
        long,
        env = "KLINECAST_BRIDGE_KAFKA_CERT_FILE",
        requires = "kafka_tls",
        requires = "kafka_key_file",
        value_name = "FILE"
    )]
    pub kafka_cert_file: Option<PathBuf>,

    /// File with the key of that certificate, PEM
    #[arg(
        long,
        env = "KLINECAST_BRIDGE_KAFKA_KEY_FILE",
        requires = "kafka_cert_file",
        value_name = "FILE"
    )]
    pub kafka_key_file: Option<PathBuf>,

    /// How the bridge logs in
    #[arg(
        long,
        env = "KLINECAST_BRIDGE_KAFKA_SASL",
        requires = "kafka_user",
        requires = "kafka_password_file",
        value_name = "MECHANISM"
    )]
    pub kafka_sasl: Option<Sasl>,

    /// The user of the login
    #[arg(long, env = "KLINECAST_BRIDGE_KAFKA_USER", value_name = "NAME")]
    pub kafka_user: Option<String>,

    /// File with the password of the login: one line
    #[arg(
        long,
        env = "KLINECAST_BRIDGE_KAFKA_PASSWORD_FILE",
        value_name = "FILE"
    )]
    pub kafka_password_file: Option<PathBuf>,

    /// Copies of each topic that the bridge creates; -1 for what the cluster has as its default
    #[arg(
        long,
        env = "KLINECAST_BRIDGE_KAFKA_REPLICATION",
        default_value_t = -1,
        allow_negative_numbers = true,
        value_name = "COUNT"
    )]
    pub kafka_replication: i16,

    /// Longest time of a request to a broker, ms. Kafka ends a transaction that is left open after six times as long
    #[arg(
        long,
        env = "KLINECAST_BRIDGE_KAFKA_TIMEOUT_MS",
        default_value_t = 5_000,
        value_parser = clap::value_parser!(u64).range(100..=100_000),
        value_name = "MS"
    )]
    pub kafka_timeout_ms: u64,

    /// Most bytes of a record: the least of message.max.bytes of the topics. Longer ones are set aside and counted
    #[arg(
        long,
        env = "KLINECAST_BRIDGE_KAFKA_RECORD_BYTES_MAX",
        default_value_t = 1_000_000,
        value_name = "BYTES"
    )]
    pub kafka_record_bytes_max: usize,

    /// Most bytes of a batch of records from Kafka without its compression. Longer ones are skipped and counted. The more, the fewer records a read has: at most 128 MiB in all
    #[arg(
        long,
        env = "KLINECAST_BRIDGE_KAFKA_DECOMPRESSED_BYTES_MAX",
        default_value_t = 1 << 20,
        value_parser = clap::value_parser!(u32).range(65_536..=67_108_864),
        value_name = "BYTES"
    )]
    pub kafka_decompressed_bytes_max: u32,
}

/// How a login proves itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Sasl {
    /// The password itself: with TLS only
    Plain,
    /// SCRAM with SHA-256
    ScramSha256,
    /// SCRAM with SHA-512
    ScramSha512,
}

impl KafkaConfig {
    /// The longest time of a request.
    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_millis(self.kafka_timeout_ms)
    }
}

/// What is carried, and the bounds.
#[derive(Args, Clone, Debug)]
pub struct Config {
    /// How Kafka is reached.
    #[command(flatten)]
    pub kafka: KafkaConfig,

    /// File of topics, YAML: which Kafka topic carries what [default: the topics of docs/stores.md to Kafka, none from Kafka]
    #[arg(long, env = "KLINECAST_BRIDGE_TOPICS_FILE", value_name = "FILE")]
    pub topics_file: Option<PathBuf>,

    /// Name of this fleet in Kafka: bridges of one name are one writer and one consumer group, and do not read what they wrote. Fleets with one Kafka need a name each
    #[arg(
        long,
        env = "KLINECAST_BRIDGE_SITE",
        default_value = "klinecast",
        value_parser = site,
        value_name = "NAME"
    )]
    pub bridge_site: String,

    /// How the keys of records write symbols: dashed (binance:BTC-USDT) or joined (binance:BTCUSDT)
    #[arg(
        long,
        env = "KLINECAST_BRIDGE_KEY_SYMBOLS",
        value_enum,
        default_value_t = KeySymbols::Dashed,
        value_name = "FORM"
    )]
    pub bridge_key_symbols: KeySymbols,

    /// The bus keeps trades (history --trades): carry each of them to Kafka, not only those that a live connection brings
    #[arg(long, env = "KLINECAST_BRIDGE_TRADES", default_value_t = false)]
    pub trades: bool,

    /// How long the bus keeps trades, in hours, with --trades: the same as at history
    #[arg(
        long,
        env = "KLINECAST_BRIDGE_TRADES_JOURNAL_HOURS",
        default_value_t = 24,
        value_parser = clap::value_parser!(u32).range(1..=87_600),
        value_name = "HOURS"
    )]
    pub trades_journal_hours: u32,

    /// Most bytes of trades that the bus keeps, with --trades: the same as at history
    #[arg(
        long,
        env = "KLINECAST_BRIDGE_TRADES_JOURNAL_BYTES_MAX",
        default_value_t = 256 << 20,
        value_parser = clap::value_parser!(u64).range(1..),
        value_name = "BYTES"
    )]
    pub trades_journal_bytes_max: u64,

    /// Most records of one write to Kafka, and of one read from it, which has at most 64 with the default of --kafka-decompressed-bytes-max
    #[arg(
        long,
        env = "KLINECAST_BRIDGE_BATCH_MAX",
        default_value_t = 1_000,
        value_parser = clap::value_parser!(u16).range(1..=10_000),
        value_name = "COUNT"
    )]
    pub bridge_batch_max: u16,

    /// Most bytes of one write to Kafka, and of one read from it; each topic holds a few times as many in memory
    #[arg(
        long,
        env = "KLINECAST_BRIDGE_BATCH_BYTES_MAX",
        default_value_t = 4 << 20,
        value_parser = clap::value_parser!(u32).range(65_536..=67_108_864),
        value_name = "BYTES"
    )]
    pub bridge_batch_bytes_max: u32,

    /// Most live messages of a topic that wait for Kafka: more push out the oldest, which are counted
    #[arg(
        long,
        env = "KLINECAST_BRIDGE_PENDING_MAX",
        default_value_t = 100_000,
        value_name = "COUNT"
    )]
    pub bridge_pending_max: usize,

    /// Most bytes of live messages of a topic that wait for Kafka
    #[arg(
        long,
        env = "KLINECAST_BRIDGE_PENDING_BYTES_MAX",
        default_value_t = 64 << 20,
        value_name = "BYTES"
    )]
    pub bridge_pending_bytes_max: usize,

    /// How often the bus is asked for new messages of a stream, ms
    #[arg(
        long,
        env = "KLINECAST_BRIDGE_POLL_MS",
        default_value_t = 100,
        value_parser = clap::value_parser!(u64).range(1..=60_000),
        value_name = "MS"
    )]
    pub bridge_poll_ms: u64,

    /// Longest pause after failures, ms; pauses are random, and grow up to it
    #[arg(
        long,
        env = "KLINECAST_BRIDGE_RETRY_MS_MAX",
        default_value_t = 5_000,
        value_parser = clap::value_parser!(u64).range(10..=600_000),
        value_name = "MS"
    )]
    pub bridge_retry_ms_max: u64,

    /// After how long without a sign of the bridge that writes another one takes over, ms
    #[arg(
        long,
        env = "KLINECAST_BRIDGE_TAKEOVER_MS",
        default_value_t = 5_000,
        value_parser = clap::value_parser!(u64).range(100..=600_000),
        value_name = "MS"
    )]
    pub bridge_takeover_ms: u64,

    /// Most symbols and timeframes from Kafka that the bridge numbers, and most symbols on the bus that exchanges of Kafka have; records of more are set aside and counted
    #[arg(
        long,
        env = "KLINECAST_BRIDGE_SERIES_MAX",
        default_value_t = 100_000,
        value_name = "COUNT"
    )]
    pub bridge_series_max: usize,

    /// Topic of Kafka for records that cannot be read, with the reason in a header [default: they are counted and logged]
    #[arg(long, env = "KLINECAST_BRIDGE_DEAD_LETTER_TOPIC", value_name = "TOPIC")]
    pub bridge_dead_letter_topic: Option<String>,

    /// What the bus keeps of closed bars: the same as at the publishers.
    #[arg(skip)]
    pub journal: JournalConfig,
}

fn site(text: &str) -> Result<String, String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    match !text.is_empty() && text.len() <= 64 && text.bytes().all(is_plain) {
        true => Ok(text.to_owned()),
        false => Err("it has 1 to 64 letters, digits, - and _".to_owned()),
    }
}

impl Config {
    /// The streams that the bridge reads to their end, besides those that every program knows.
    pub(crate) fn streams(&self) -> Vec<StreamSpec> {
        let trades = self.trades.then(|| StreamSpec {
            root: TRADE.subject_root().to_owned(),
            messages_per_subject_max: None,
            messages_max: None,
            bytes_max: Some(self.trades_journal_bytes_max),
            age_max: Some(Duration::from_secs(
                u64::from(self.trades_journal_hours) * 3_600,
            )),
            is_durable: true,
            is_fenced: false,
        });
        self.journal.stream().into_iter().chain(trades).collect()
    }

    pub(crate) fn poll(&self) -> Duration {
        Duration::from_millis(self.bridge_poll_ms)
    }

    pub(crate) fn retry_max(&self) -> Duration {
        Duration::from_millis(self.bridge_retry_ms_max)
    }

    pub(crate) fn takeover(&self) -> Duration {
        Duration::from_millis(self.bridge_takeover_ms)
    }
}
