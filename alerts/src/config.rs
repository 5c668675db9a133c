//! The configuration of alerts.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use market_core::Timeframe;
use service::JournalConfig;

use crate::webhook::WebhookUrl;

/// Where rules come from, where alerts go, and the bounds.
#[derive(Args, Clone, Debug)]
pub struct Config {
    /// Directory of the store: rules, their state, and alerts that are not delivered yet
    #[arg(long, env = "KLINECAST_ALERTS_DATA_DIR", value_name = "DIR")]
    pub data_dir: PathBuf,

    /// File of rules, JSON: {"rules": [...]}. Its rules are read at the start, and requests cannot change them
    #[arg(long, env = "KLINECAST_ALERTS_RULES_FILE", value_name = "FILE")]
    pub rules_file: Option<PathBuf>,

    /// Timeframe of the closed bars that rules look at; marketdata must make it. If it is another one than before, all rules begin anew
    #[arg(
        long,
        env = "KLINECAST_ALERTS_TIMEFRAME",
        default_value = "1s",
        value_name = "TIMEFRAME"
    )]
    pub alerts_timeframe: Timeframe,

    /// Most rules
    #[arg(
        long,
        env = "KLINECAST_ALERTS_RULES_MAX",
        default_value_t = 1_000,
        value_name = "COUNT"
    )]
    pub alerts_rules_max: usize,

    /// Most symbols that are watched; bars of more are counted as refused
    #[arg(
        long,
        env = "KLINECAST_ALERTS_SYMBOLS_MAX",
        default_value_t = 1_000,
        value_name = "COUNT"
    )]
    pub alerts_symbols_max: usize,

    /// Longest time that a rule may look back, s. The bars of that time of each symbol are in memory, about 150 bytes each
    #[arg(
        long,
        env = "KLINECAST_ALERTS_WINDOW_SECONDS_MAX",
        default_value_t = 3_600,
        value_name = "SECONDS"
    )]
    pub alerts_window_seconds_max: u32,

    /// Most bars that all rules of one symbol together look at for each new bar: the sum of their windows; each rule counts for one at least
    #[arg(
        long,
        env = "KLINECAST_ALERTS_SYMBOL_BARS_MAX",
        default_value_t = 36_000,
        value_parser = clap::value_parser!(u64).range(1..),
        value_name = "COUNT"
    )]
    pub alerts_symbol_bars_max: u64,

    /// Greatest age of a quote that rules on spreads look at, ms, from when marketdata received it. An older one says nothing
    #[arg(
        long,
        env = "KLINECAST_ALERTS_QUOTE_AGE_MS",
        default_value_t = 60_000,
        value_parser = clap::value_parser!(u64).range(1..=86_400_000),
        value_name = "MS"
    )]
    pub alerts_quote_age_ms: u64,

    /// How often the bus is asked for new closed bars, and rules look at the newest quotes, ms
    #[arg(
        long,
        env = "KLINECAST_ALERTS_POLL_MS",
        default_value_t = 200,
        value_parser = clap::value_parser!(u64).range(1..=60_000),
        value_name = "MS"
    )]
    pub alerts_poll_ms: u64,

    /// Most pairs of a rule and a symbol, of type stale and of type spread each, that are looked at in the time of --alerts-poll-ms. Other pairs wait for their turn
    #[arg(
        long,
        env = "KLINECAST_ALERTS_LOOKS_MAX",
        default_value_t = 100_000,
        value_parser = looks,
        value_name = "COUNT"
    )]
    pub alerts_looks_max: usize,

    /// How long after its end a bar may come, ms: until then, a symbol without trades is not stale. Above the reorder window and the longest hold of marketdata
    #[arg(
        long,
        env = "KLINECAST_ALERTS_LATE_MS",
        default_value_t = 15_000,
        value_parser = clap::value_parser!(u64).range(1..=86_400_000),
        value_name = "MS"
    )]
    pub alerts_late_ms: u64,

    /// Alerts that the store remembers after they were delivered
    #[arg(
        long,
        env = "KLINECAST_ALERTS_RECENT_MAX",
        default_value_t = 10_000,
        value_name = "COUNT"
    )]
    pub alerts_recent_max: usize,

    /// Most alerts that are not on the bus yet: while there are more, no bars are read, and the journal keeps them
    #[arg(
        long,
        env = "KLINECAST_ALERTS_UNPUBLISHED_MAX",
        default_value_t = 10_000,
        value_parser = clap::value_parser!(u64).range(1..),
        value_name = "COUNT"
    )]
    pub alerts_unpublished_max: u64,

    /// File with the token that requests to the HTTP API need: one line of 16 to 4096 characters. Without it, the API must listen on a loopback address
    #[arg(long, env = "KLINECAST_ALERTS_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,

    /// Make the file of --token-file with a random token, for this user only, if there is none
    #[arg(
        long,
        env = "KLINECAST_ALERTS_TOKEN_MAKE",
        requires = "token_file",
        default_value_t = false
    )]
    pub token_make: bool,

    /// Most connections to the HTTP API at once; more wait in the backlog
    #[arg(
        long,
        env = "KLINECAST_ALERTS_CONNECTIONS_MAX",
        default_value_t = 64,
        value_name = "COUNT"
    )]
    pub alerts_connections_max: usize,

    /// Time within which a request's headers must arrive, and then its body, and longest pause between two requests of a connection, ms
    #[arg(
        long,
        env = "KLINECAST_ALERTS_IDLE_MS",
        default_value_t = 60_000,
        value_parser = clap::value_parser!(u64).range(1..),
        value_name = "MS"
    )]
    pub alerts_idle_ms: u64,

    /// Webhooks: http or https addresses that get every alert; separate several with commas
    // Addresses often have a secret in their path.
    #[arg(
        long = "webhook-url",
        env = "KLINECAST_ALERTS_WEBHOOK_URLS",
        hide_env_values = true,
        value_delimiter = ',',
        value_name = "URLS",
        value_parser = WebhookUrl::from_flag
    )]
    pub webhook_urls: Vec<WebhookUrl>,

    /// File with the secret that signs requests to webhooks: one line of 16 to 4096 characters
    #[arg(
        long,
        env = "KLINECAST_ALERTS_WEBHOOK_SECRET_FILE",
        value_name = "FILE"
    )]
    pub webhook_secret_file: Option<PathBuf>,

    /// Most alerts that wait for one webhook; more are dropped and counted
    #[arg(
        long,
        env = "KLINECAST_ALERTS_WEBHOOK_QUEUE_MAX",
        default_value_t = 10_000,
        value_name = "COUNT"
    )]
    pub webhook_queue_max: usize,

    /// Greatest age of an alert that webhooks get, s: from the end of its bar to when it was raised. An older one, such as after a long downtime, is in the store and on the bus only, and is counted
    #[arg(
        long,
        env = "KLINECAST_ALERTS_WEBHOOK_AGE_SECONDS_MAX",
        default_value_t = 3_600,
        value_name = "SECONDS"
    )]
    pub webhook_age_seconds_max: u32,

    /// How often an alert is sent to a webhook that does not take it, before it is dropped and counted. One that the webhook refuses for its content is dropped at once
    #[arg(
        long,
        env = "KLINECAST_ALERTS_WEBHOOK_ATTEMPTS_MAX",
        default_value_t = 20,
        value_parser = clap::value_parser!(u32).range(1..),
        value_name = "COUNT"
    )]
    pub webhook_attempts_max: u32,

    /// Longest time of a request to a webhook, ms
    #[arg(
        long,
        env = "KLINECAST_ALERTS_WEBHOOK_TIMEOUT_MS",
        default_value_t = 10_000,
        value_parser = clap::value_parser!(u64).range(1..=600_000),
        value_name = "MS"
    )]
    pub webhook_timeout_ms: u64,

    /// What the bus keeps of closed bars: the same as at the publishers.
    #[arg(skip)]
    pub journal: JournalConfig,
}

fn looks(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("it is at least 1".to_owned()),
        Ok(looks) => Ok(looks),
        Err(error) => Err(format!("{error}")),
    }
}

impl Config {
    pub(crate) fn poll(&self) -> Duration {
        Duration::from_millis(self.alerts_poll_ms)
    }

    /// Seconds of a bar.
    pub(crate) fn width_s(&self) -> u32 {
        let start_ms = self.alerts_timeframe.start_of(0);
        let width_ms = self
            .alerts_timeframe
            .end_of(start_ms)
            .saturating_sub(start_ms);
        u32::try_from(width_ms / 1_000).unwrap_or(u32::MAX)
    }

    /// The bars of some seconds.
    pub(crate) fn bars_of(&self, seconds: u64) -> u64 {
        seconds.div_ceil(u64::from(self.width_s()).max(1))
    }

    pub(crate) fn late(&self) -> Duration {
        Duration::from_millis(self.alerts_late_ms)
    }
}
