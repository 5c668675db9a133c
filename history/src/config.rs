//! The configuration of history.

use std::path::PathBuf;

use clap::Args;

/// Where history is kept, and its bounds.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Directory of the stored bars and trades [default: klinecast in the user's data directory]
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
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: None,
            history_file_bytes_max: 0,
            history_latest_series_max: 100_000,
        }
    }
}

impl Config {
    /// Where the store is: what was configured, or a directory of the user.
    #[must_use]
    pub fn directory(&self) -> PathBuf {
        self.data_dir.clone().unwrap_or_else(user_directory)
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
