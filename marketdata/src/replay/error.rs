//! Why a replay failed.

use std::io;

use super::summary::Summary;
use crate::config::ConfigError;

/// Why a replay failed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// A flag's value.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A file that cannot be read.
    #[error("failed to read {file}")]
    Read {
        /// Its name.
        file: String,
        /// Why.
        source: io::Error,
    },
    /// The trades that are played cannot be read.
    #[error("the stored trades cannot be played")]
    Trades(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Nowhere to write.
    #[error("failed to write bars")]
    Write(#[from] io::Error),
    /// The file of missing ids cannot be written.
    #[error("failed to write --gaps-file")]
    GapsFile(#[source] io::Error),
    /// Rows name no symbol, and the number of requested instruments is not one.
    #[error(
        "{place} names no symbol, and --instruments has {instruments}: write one, such as --instruments {exchange}:BTC-USDT, and replay the files of each instrument separately"
    )]
    NoSymbol {
        /// The first such row.
        place: String,
        /// The exchange.
        exchange: String,
        /// The number of requested instruments.
        instruments: usize,
    },
    /// A line is so late that its trades would be left out.
    #[error(
        "{place} has the time {at}, but {newest} has been played: lines may be up to {allowed_s} s late. Sort the file by time, or set --late-horizon-ms higher"
    )]
    OutOfOrder {
        /// The line.
        place: String,
        /// Its time.
        at: String,
        /// The latest time before it.
        newest: String,
        /// How late a line may be.
        allowed_s: i64,
    },
    /// A file without any usable line.
    #[error(
        "none of the {lines} lines of {file} is a trade or a frame of {exchange}: is --exchange right, and is it a capture or a file of trades?"
    )]
    Garbage {
        /// The file.
        file: String,
        /// Its lines.
        lines: u64,
        /// The format in which it was read.
        exchange: String,
    },
    /// No trade to make bars of.
    #[error(
        "no trade of {exchange} was played{}: {summary}",
        if others.is_empty() {
            String::new()
        } else {
            format!(", for --instruments names none of {}", others.join(", "))
        }
    )]
    NothingPlayed {
        /// The exchange.
        exchange: String,
        /// Instruments in the files, by the venue's names.
        others: Vec<String>,
        /// What was met instead.
        summary: Box<Summary>,
    },
}

impl ReplayError {
    /// Whether the reader of our output has gone, as `head` does.
    #[must_use]
    pub fn is_reader_gone(&self) -> bool {
        matches!(self, Self::Write(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}
