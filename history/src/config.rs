//! The configuration of history.

mod api;
mod cache;
mod store;

use std::path::PathBuf;
use std::time::Duration;

use auth::TokenConfig;
use bus::StreamSpec;
use clap::Args;
use market_core::Timeframe;
use market_core::channel::TRADE;
use service::JournalConfig;

use crate::error::Error;
use crate::keep::Keep;
use crate::store::{Kind, StoreAddress};
use crate::stream::{BatchPace, Content, Pace};

pub use self::api::ApiConfig;
pub(crate) use self::api::{BURST_SECONDS, REQUESTS_PER_IP_DEFAULT};
pub use self::cache::CacheConfig;
pub use self::store::{BooksConfig, StoreConfig};

/// Where history is kept, and its bounds.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Directory of the stored bars and trades; simulated ones are kept apart, in its folder `simulated` [default: klinecast in the user's data directory, such as ~/.local/share/klinecast]
    #[arg(long, env = "KLINECAST_HISTORY_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,

    /// Most bytes of one file of the store, which holds one timeframe, or the trades, of one month; 0 for no bound but the disk
    #[arg(
        long,
        env = "KLINECAST_HISTORY_FILE_BYTES_MAX",
        default_value_t = Config::default().history_file_bytes_max,
        value_name = "BYTES"
    )]
    pub history_file_bytes_max: u64,

    /// Most series (one symbol and timeframe of a venue) whose newest bars are remembered until they are stored; the bars of more series are counted as refused
    #[arg(
        long,
        env = "KLINECAST_HISTORY_LATEST_SERIES_MAX",
        default_value_t = Config::default().history_latest_series_max,
        value_name = "COUNT"
    )]
    pub history_latest_series_max: usize,

    /// Most connections to the HTTP API at once; more wait in the backlog
    #[arg(
        long,
        env = "KLINECAST_HISTORY_CONNECTIONS_MAX",
        default_value_t = Config::default().history_connections_max,
        value_name = "COUNT"
    )]
    pub history_connections_max: usize,

    /// Time within which a request's headers must arrive, and then its body; and longest pause between two requests of a
    /// connection, ms
    #[arg(
        long,
        env = "KLINECAST_HISTORY_IDLE_MS",
        default_value_t = Config::default().history_idle_ms,
        value_parser = clap::value_parser!(u64).range(1..),
        value_name = "MS"
    )]
    pub history_idle_ms: u64,

    /// Most messages of the bus that are stored in one transaction
    #[arg(
        long,
        env = "KLINECAST_HISTORY_BATCH_MESSAGES_MAX",
        default_value_t = Config::default().history_batch_messages_max,
        value_parser = clap::value_parser!(u16).range(1..=10_000),
        value_name = "COUNT"
    )]
    pub history_batch_messages_max: u16,

    /// How often the bus is asked for new closed bars, ms
    #[arg(
        long,
        env = "KLINECAST_HISTORY_POLL_MS",
        default_value_t = Config::default().history_poll_ms,
        value_parser = clap::value_parser!(u64).range(1..=60_000),
        value_name = "MS"
    )]
    pub history_poll_ms: u64,

    /// Bars of each new series that the venues are asked for, so that charts are full at once; with 0, they are not asked for missing bars either
    #[arg(
        long,
        env = "KLINECAST_HISTORY_FILL_BARS",
        default_value_t = Config::default().fill_bars,
        value_parser = clap::value_parser!(u32).range(0..=1_000_000),
        value_name = "COUNT"
    )]
    pub fill_bars: u32,

    /// How many days rows are kept, by timeframe, and for trades; rows of other timeframes are kept for ever. A month is deleted when all of it is too old, beside the newest stored bar (beside the clock, if that is earlier)
    #[arg(
        long,
        env = "KLINECAST_HISTORY_KEEP_DAYS",
        value_delimiter = ',',
        default_values_t = Config::default().history_keep_days,
        value_name = "LIST"
    )]
    pub history_keep_days: Vec<Keep>,

    /// Store trades, too: marketdata must publish them (--publish-trades), and a million take about 2.5 MB
    #[arg(long, env = "KLINECAST_HISTORY_TRADES")]
    pub trades: bool,

    /// How long the bus keeps trades for history, in hours, if they are stored
    #[arg(
        long,
        env = "KLINECAST_HISTORY_TRADES_JOURNAL_HOURS",
        default_value_t = Config::default().trades_journal_hours,
        value_parser = clap::value_parser!(u32).range(1..=87_600),
        value_name = "HOURS"
    )]
    pub trades_journal_hours: u32,

    /// Most bytes of trades that the bus keeps for history, the newest ones, if they are stored; on the memory bus they take the program's memory
    #[arg(
        long,
        env = "KLINECAST_HISTORY_TRADES_JOURNAL_BYTES_MAX",
        default_value_t = Config::default().trades_journal_bytes_max,
        value_parser = clap::value_parser!(u64).range(1..),
        value_name = "BYTES"
    )]
    pub trades_journal_bytes_max: u64,

    /// Whether the bars on the bus are simulated: they never mix with bars of a market.
    #[arg(skip)]
    pub is_simulated: bool,

    /// What the bus keeps of closed bars: the same as at the publishers.
    #[arg(skip)]
    pub journal: JournalConfig,

    /// Which tokens clients need: the same as at the gateways.
    #[arg(skip)]
    pub tokens: TokenConfig,

    /// Which store keeps the rows.
    #[command(flatten)]
    pub store: StoreConfig,

    /// Most messages of the bus that wait until they are written to a store that is a server; a batch is written as soon as so many wait
    #[arg(
        long,
        env = "KLINECAST_HISTORY_STORE_BATCH_MESSAGES",
        default_value_t = Config::default().store_batch_messages,
        value_parser = clap::value_parser!(u32).range(1..=1_000_000),
        value_name = "COUNT"
    )]
    pub store_batch_messages: u32,

    /// Longest time that messages of the bus wait until they are written to a store that is a server, ms
    #[arg(
        long,
        env = "KLINECAST_HISTORY_STORE_BATCH_MS",
        default_value_t = Config::default().store_batch_ms,
        value_parser = clap::value_parser!(u32).range(0..=3_600_000),
        value_name = "MS"
    )]
    pub store_batch_ms: u32,

    /// Which order books are kept.
    #[command(flatten)]
    pub books: BooksConfig,

    /// Where the newest values are cached.
    #[command(flatten)]
    pub cache: CacheConfig,

    /// How much may be asked.
    #[command(flatten)]
    pub api: ApiConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: None,
            history_file_bytes_max: 0,
            history_latest_series_max: 100_000,
            history_connections_max: 1_024,
            history_idle_ms: 60_000,
            history_batch_messages_max: 4_096,
            history_poll_ms: 200,
            fill_bars: 1_000,
            history_keep_days: vec![
                Keep {
                    kind: Kind::Bars(Timeframe::SECOND),
                    days: 31,
                },
                Keep {
                    kind: Kind::Trades,
                    days: 31,
                },
            ],
            trades: false,
            trades_journal_hours: 24,
            trades_journal_bytes_max: 256 << 20,
            is_simulated: false,
            journal: JournalConfig::default(),
            tokens: TokenConfig::default(),
            store: StoreConfig::default(),
            store_batch_messages: 1_000,
            store_batch_ms: 5_000,
            books: BooksConfig::default(),
            cache: CacheConfig::default(),
            api: ApiConfig::default(),
        }
    }
}

impl Config {
    /// The store that keeps the rows: what was configured, or a directory of the user.
    #[must_use]
    pub fn address(&self) -> StoreAddress {
        let address = self.store.store.clone();
        let address = address.unwrap_or_else(|| StoreAddress::Sqlite(self.data_directory()));
        match self.is_simulated {
            true => address.simulated(),
            false => address,
        }
    }

    /// Where the embedded store is. Beside a server, what history keeps for itself alone is here.
    #[must_use]
    pub fn directory(&self) -> PathBuf {
        match self.address() {
            StoreAddress::Sqlite(directory) => directory,
            _ if self.is_simulated => self.data_directory().join("simulated"),
            _ => self.data_directory(),
        }
    }

    fn data_directory(&self) -> PathBuf {
        self.data_dir.clone().unwrap_or_else(user_directory)
    }

    /// The streams of the bus that are stored.
    pub(crate) fn streams(&self) -> Result<Vec<(StreamSpec, Content)>, Error> {
        let journal = self.journal.stream().ok_or(Error::Config(
            "history stores the journal of the bus: set --journal-bytes-max above 0",
        ))?;
        let mut streams = vec![(journal, Content::Bars)];
        if self.trades {
            let trades = StreamSpec {
                root: TRADE.subject_root().to_owned(),
                messages_per_subject_max: None,
                messages_max: None,
                bytes_max: Some(self.trades_journal_bytes_max),
                age_max: Some(Duration::from_secs(
                    u64::from(self.trades_journal_hours) * 3_600,
                )),
                is_durable: true,
                is_fenced: false,
            };
            streams.push((trades, Content::Trades));
        }
        Ok(streams)
    }

    /// How streams are read.
    pub(crate) fn pace(&self) -> Pace {
        Pace {
            messages_max: usize::from(self.history_batch_messages_max),
            interval: Duration::from_millis(self.history_poll_ms),
            batch: self.address().is_remote().then_some(BatchPace {
                messages: self.store_batch_messages.into(),
                wait: Duration::from_millis(self.store_batch_ms.into()),
            }),
        }
    }
}

/// `klinecast` in the directory in which this system keeps the data of a user's programs; beside the
/// program's working directory where the user has no home.
fn user_directory() -> PathBuf {
    let from = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let home = |path: &str| from("HOME").map(|home| PathBuf::from(home).join(path));
    let parent = if cfg!(windows) {
        from("LOCALAPPDATA").map(PathBuf::from)
    } else if cfg!(target_os = "macos") {
        home("Library/Application Support")
    } else {
        from("XDG_DATA_HOME")
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
            .or_else(|| home(".local/share"))
    };
    match parent {
        Some(parent) => parent.join("klinecast"),
        None => PathBuf::from("klinecast-data"),
    }
}
