//! What can be configured.

mod books;
mod defaults;
mod discovery;
mod endpoint;
mod error;
mod feed_channel;
mod patterns;
mod plan;

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use market_core::{Timeframe, TimeframeSet};

pub use self::books::BookConfig;
pub use self::discovery::DiscoveryConfig;
pub use self::endpoint::{EndpointOverride, SimAddress};
pub use self::error::ConfigError;
pub use self::feed_channel::FeedChannel;
pub use self::plan::Plan;
use crate::discovery::pattern::Wish;

/// The instruments of a deployment that names none.
pub const DEFAULT_INSTRUMENTS: &str = "binance:BTC-USDT,binance:ETH-USDT,binance:SOL-USDT,coinbase:BTC-USD,coinbase:ETH-USD,okx:OKX:BTC-USDT,okx:OKX:ETH-USDT";

/// Which of the configured instruments a program publishes from the start.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assigned {
    /// All of them.
    All,
    /// None of them, until an operator assigns some.
    None,
}

/// Configuration of marketdata.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
#[group(id = "marketdata")]
pub struct Config {
    /// Symbols to follow, as exchange:SYMBOL, separated by commas. If two exchanges list a symbol, put the exchange in front of one of them: okx:OKX:BTC-USDT. A symbol with * means all markets that match, also those that the exchange lists later: binance:*-USDT:top=200:exclude=USDC-USDT+*UP-USDT has the 200 with the highest turnover of a day
    #[arg(long, env = "KLINECAST_MARKETDATA_INSTRUMENTS", value_delimiter = ',', default_value = DEFAULT_INSTRUMENTS, value_name = "LIST")]
    pub instruments: Vec<Wish>,

    /// Patterns of instruments.
    #[command(flatten)]
    pub discovery: DiscoveryConfig,

    /// Which of the instruments are published from the start: all, or none until POST /instruments/assign on the admin side
    #[arg(
        long,
        env = "KLINECAST_MARKETDATA_ASSIGNED",
        value_enum,
        default_value_t = Assigned::All,
        value_name = "WHICH"
    )]
    pub assigned: Assigned,

    /// Address of an exchange, in place of its public one: binance.ws=ws://host:port/ws or binance.rest=http://host:port; repeatable
    #[arg(
        long = "endpoint",
        env = "KLINECAST_MARKETDATA_ENDPOINTS",
        value_delimiter = ',',
        value_name = "VENUE.KIND=URL"
    )]
    pub endpoints: Vec<EndpointOverride>,

    /// Use the exchange-sim at this address for every exchange, such as http://127.0.0.1:9443
    #[arg(long, env = "KLINECAST_MARKETDATA_SIM", value_name = "URL")]
    pub sim: Option<SimAddress>,

    /// PEM file of more certificate authorities for the exchanges' certificates, for example the authority of a proxy that opens TLS
    #[arg(long, env = "KLINECAST_MARKETDATA_VENUE_CA_FILE", value_name = "PATH")]
    pub venue_ca_file: Option<PathBuf>,

    /// Name of the source in the feed's status: live, or sim for a simulator (--sim sets it)
    #[arg(
        long,
        env = "KLINECAST_MARKETDATA_FEED_MODE_LABEL",
        default_value = "live",
        value_name = "LABEL"
    )]
    pub feed_mode_label: String,

    /// Timeframes of the bars: any of Ns, Nm, Nh, 1d, 1w, 1M. After a restart with other timeframes,
    /// open bars continue; the first bar of a new timeframe is partial
    #[arg(
        long,
        env = "KLINECAST_MARKETDATA_TIMEFRAMES",
        default_value = "1s,1m,1h,1d",
        value_name = "LIST"
    )]
    pub timeframes: TimeframeSet,

    /// Reorder window: how long after its end a bar waits for trades, ms
    #[arg(
        long,
        env = "KLINECAST_MARKETDATA_REORDER_WINDOW_MS",
        default_value_t = 2_000,
        value_name = "MS"
    )]
    pub reorder_window_ms: u32,

    /// How long after the reorder window a late trade still revises a closed bar, ms
    #[arg(
        long,
        env = "KLINECAST_MARKETDATA_LATE_HORIZON_MS",
        default_value_t = 900_000,
        value_name = "MS"
    )]
    pub late_horizon_ms: u32,

    /// How long to wait for missing trade ids, which may only be out of order, ms; then they are fetched over REST
    #[arg(
        long,
        env = "KLINECAST_MARKETDATA_GAP_GRACE_MS",
        default_value_t = 300,
        value_name = "MS"
    )]
    pub gap_grace_ms: u32,

    /// How long bars wait for missing trades before they close and say gap, ms
    #[arg(
        long,
        env = "KLINECAST_MARKETDATA_GAP_HOLD_MS",
        default_value_t = 10_000,
        value_name = "MS"
    )]
    pub gap_hold_ms: u32,

    /// Wait before a failed backfill is tried again, ms; doubles up to 30 s
    #[arg(
        long,
        env = "KLINECAST_MARKETDATA_GAP_RETRY_MS",
        default_value_t = 1_000,
        value_name = "MS"
    )]
    pub gap_retry_ms: u32,

    /// How long missing trades are asked for before they count as lost, ms. If the
    /// exchange did not answer, they are asked for again each time that this time has passed
    #[arg(
        long,
        env = "KLINECAST_MARKETDATA_GAP_GIVE_UP_MS",
        default_value_t = 300_000,
        value_name = "MS"
    )]
    pub gap_give_up_ms: u32,

    /// How many answers of the venue must lack missing trades before these count as lost; they must
    /// also be missing for longer than --gap-hold-ms
    #[arg(
        long,
        env = "KLINECAST_MARKETDATA_GAP_ANSWERS_MIN",
        default_value_t = 3,
        value_name = "NUMBER"
    )]
    pub gap_answers_min: u32,

    /// Oldest checkpoint from which a symbol continues, ms. With an older one, the
    /// symbol joins again, and its open bars say gap
    #[arg(
        long,
        env = "KLINECAST_MARKETDATA_CHECKPOINT_AGE_MAX_MS",
        default_value_t = 86_400_000,
        value_name = "MS"
    )]
    pub checkpoint_age_max_ms: u32,

    /// Most trades of one backfill; a wider gap is lost
    #[arg(
        long,
        env = "KLINECAST_MARKETDATA_BACKFILL_TRADES_MAX",
        default_value_t = 500_000,
        value_name = "COUNT"
    )]
    pub backfill_trades_max: u64,

    /// Most backfills at a time, for each exchange
    #[arg(
        long,
        env = "KLINECAST_MARKETDATA_BACKFILL_CONCURRENCY",
        default_value_t = 4,
        value_name = "COUNT"
    )]
    pub backfill_concurrency: usize,

    /// Most backfills that wait for their turn, for each exchange; more are counted and tried again later
    #[arg(
        long,
        env = "KLINECAST_MARKETDATA_BACKFILL_JOBS_MAX",
        default_value_t = 8_192,
        value_name = "COUNT"
    )]
    pub backfill_jobs_max: usize,

    /// Longest time of one REST request, ms
    #[arg(
        long,
        env = "KLINECAST_MARKETDATA_REST_TIMEOUT_MS",
        default_value_t = 10_000,
        value_name = "MS"
    )]
    pub rest_timeout_ms: u32,

    /// Shortest time between two forming bars of a topic, ms
    #[arg(
        long,
        env = "KLINECAST_MARKETDATA_FORMING_INTERVAL_MS",
        default_value_t = 250,
        value_name = "MS"
    )]
    pub forming_interval_ms: u32,

    /// Whether each trade is published on `market.<exchange>.<symbol>.trade`
    #[arg(long, env = "KLINECAST_MARKETDATA_PUBLISH_TRADES", default_value_t = true, action = clap::ArgAction::Set, value_name = "BOOL")]
    pub publish_trades: bool,

    /// What is followed of each instrument besides its trades: ticker (the last 24 hours, about one message a second), quote (the best bid and ask: several times as many messages of the venue as trades), book (the best levels of the order book, on connections of their own), or none
    #[arg(
        long,
        env = "KLINECAST_MARKETDATA_CHANNELS",
        value_delimiter = ',',
        default_value = "ticker",
        value_name = "LIST"
    )]
    pub channels: Vec<FeedChannel>,

    /// Shortest time between two quotes of an instrument on the bus, ms
    #[arg(
        long,
        env = "KLINECAST_MARKETDATA_QUOTE_INTERVAL_MS",
        default_value_t = 100,
        value_parser = clap::value_parser!(u32).range(1..),
        value_name = "MS"
    )]
    pub quote_interval_ms: u32,

    /// Shortest time between two tickers of an instrument on the bus, ms
    #[arg(
        long,
        env = "KLINECAST_MARKETDATA_TICKER_INTERVAL_MS",
        default_value_t = 1_000,
        value_parser = clap::value_parser!(u32).range(1..),
        value_name = "MS"
    )]
    pub ticker_interval_ms: u32,

    /// Most trades that wait for the bus, for each worker; beyond it the oldest are dropped and counted
    #[arg(
        long,
        env = "KLINECAST_MARKETDATA_TRADES_WAITING_MAX",
        default_value_t = 65_536,
        value_name = "COUNT"
    )]
    pub trades_waiting_max: usize,

    /// Most closed bars that wait for the bus; beyond it the oldest are dropped and counted
    #[arg(
        long,
        env = "KLINECAST_MARKETDATA_BARS_WAITING_MAX",
        default_value_t = 100_000,
        value_name = "COUNT"
    )]
    pub bars_waiting_max: usize,

    /// Aggregation workers that share the symbols; 0 is one for each core
    #[arg(
        long,
        env = "KLINECAST_MARKETDATA_WORKERS",
        default_value_t = 0,
        value_name = "COUNT"
    )]
    pub workers: usize,

    /// Most batches (of up to 64 trades) that wait for a worker; beyond it new ones are dropped and counted
    #[arg(
        long,
        env = "KLINECAST_MARKETDATA_INBOX_BATCHES_MAX",
        default_value_t = 4_096,
        value_name = "COUNT"
    )]
    pub inbox_batches_max: usize,

    /// Most symbols on one connection [default: by exchange]
    #[arg(
        long,
        env = "KLINECAST_MARKETDATA_STREAMS_PER_CONNECTION",
        value_name = "COUNT"
    )]
    pub streams_per_connection: Option<usize>,

    /// Longest time for a connection to open, and again to be subscribed, ms
    #[arg(
        long,
        env = "KLINECAST_MARKETDATA_CONNECT_TIMEOUT_MS",
        default_value_t = 10_000,
        value_name = "MS"
    )]
    pub connect_timeout_ms: u32,

    /// Longest first wait before a reconnect, ms; doubles with each failure
    #[arg(
        long,
        env = "KLINECAST_MARKETDATA_BACKOFF_BASE_MS",
        default_value_t = 500,
        value_name = "MS"
    )]
    pub backoff_base_ms: u32,

    /// Longest wait before a reconnect, ms
    #[arg(
        long,
        env = "KLINECAST_MARKETDATA_BACKOFF_MAX_MS",
        default_value_t = 30_000,
        value_name = "MS"
    )]
    pub backoff_max_ms: u32,

    /// Age at which a connection is replaced, ms [default: by exchange, 23 h]
    #[arg(long, env = "KLINECAST_MARKETDATA_ROTATION_AGE_MS", value_name = "MS")]
    pub rotation_age_ms: Option<u64>,

    /// Silence of a symbol after which REST is asked whether trades were missed, ms; doubles up to 10 min
    #[arg(
        long,
        env = "KLINECAST_MARKETDATA_SYMBOL_SILENCE_MS",
        default_value_t = 15_000,
        value_name = "MS"
    )]
    pub symbol_silence_ms: u32,

    /// Wait before a refused symbol is asked for again, ms; doubles up to 1 h
    #[arg(
        long,
        env = "KLINECAST_MARKETDATA_REFUSED_RETRY_MS",
        default_value_t = 30_000,
        value_name = "MS"
    )]
    pub refused_retry_ms: u32,

    /// How often each exchange is asked for its list of symbols, ms; 0 for never
    #[arg(
        long,
        env = "KLINECAST_MARKETDATA_LISTING_INTERVAL_MS",
        default_value_t = 3_600_000,
        value_name = "MS"
    )]
    pub listing_interval_ms: u32,

    /// Most symbols of each state that a feed's status lists by name
    #[arg(
        long,
        env = "KLINECAST_MARKETDATA_STATUS_SYMBOLS_MAX",
        default_value_t = 20,
        value_name = "COUNT"
    )]
    pub status_symbols_max: usize,

    /// Age of its newest frame above which a feed is stale, ms
    #[arg(
        long,
        env = "KLINECAST_MARKETDATA_STALE_AFTER_MS",
        default_value_t = 5_000,
        value_name = "MS"
    )]
    pub stale_after_ms: u32,

    /// How long bars wait until their connection proves that all its data was read, ms; after that, trades that may be missing count as a gap
    #[arg(
        long,
        env = "KLINECAST_MARKETDATA_PROOF_HOLD_MS",
        default_value_t = 3_000,
        value_name = "MS"
    )]
    pub proof_hold_ms: u32,

    /// Longest time in which the bus must store a closed bar, ms; after that, marketdata is not ready
    #[arg(
        long,
        env = "KLINECAST_MARKETDATA_STORE_STALL_MS",
        default_value_t = 10_000,
        value_name = "MS"
    )]
    pub store_stall_ms: u32,

    /// Silence after which another marketdata with the same symbols counts as gone, ms
    #[arg(
        long,
        env = "KLINECAST_MARKETDATA_RIVAL_SILENCE_MS",
        default_value_t = 2_000,
        value_name = "MS"
    )]
    pub rival_silence_ms: u32,

    /// Silence of the marketdata that publishes an instrument, after which a standby takes the instrument over, ms; a fifth of it lies between two beats
    #[arg(
        long,
        env = "KLINECAST_MARKETDATA_TAKEOVER_SILENCE_MS",
        default_value_t = 500,
        value_name = "MS"
    )]
    pub takeover_silence_ms: u32,

    /// Share the instruments evenly with other marketdata that have them and this flag, instead of leaving all to one of them; an instrument moves at a time. A program gets no part of a venue that does not reach it
    #[arg(long, env = "KLINECAST_MARKETDATA_SHARE_INSTRUMENTS")]
    pub share_instruments: bool,

    /// Store the closed bars of a boundary in atomic batches: faster where streams have several copies (`--bus-replicas`), and slower where they have one
    #[arg(long, env = "KLINECAST_MARKETDATA_BATCH_BARS")]
    pub batch_bars: bool,

    /// How often the checkpoint of a changed symbol is saved, ms
    #[arg(
        long,
        env = "KLINECAST_MARKETDATA_CHECKPOINT_INTERVAL_MS",
        default_value_t = 1_000,
        value_name = "MS"
    )]
    pub checkpoint_interval_ms: u32,

    /// Duration of one round that compares published bars with the exchanges' own, ms; 0 for never
    #[arg(
        long,
        env = "KLINECAST_MARKETDATA_RECONCILE_INTERVAL_MS",
        default_value_t = 60_000,
        value_name = "MS"
    )]
    pub reconcile_interval_ms: u32,

    /// Timeframe of the compared bars; if it is not among --timeframes, no bars are compared
    #[arg(
        long,
        env = "KLINECAST_MARKETDATA_RECONCILE_TIMEFRAME",
        default_value = "1m",
        value_name = "WIDTH"
    )]
    pub reconcile_timeframe: Timeframe,

    /// Order books.
    #[command(flatten)]
    pub books: BookConfig,

    /// What the bus keeps of closed bars for history.
    #[command(flatten)]
    pub journal: service::JournalConfig,
}

#[cfg(test)]
mod tests;
