//! The settings of order books.

use std::time::Duration;

use clap::Args;
use market_core::BookLimits;
use market_core::book::DEPTH_MAX;

use crate::order_books::DeskSettings;

/// What is kept and published of order books, with `--channels book`.
#[derive(Args, Clone, Copy, Debug, PartialEq, Eq)]
pub struct BookConfig {
    /// Shortest time between two books of an instrument on the bus, in milliseconds
    #[arg(
        long,
        env = "KLINECAST_MARKETDATA_BOOK_INTERVAL_MS",
        default_value_t = BookConfig::default().book_interval_ms,
        value_parser = clap::value_parser!(u32).range(1..),
        value_name = "MS"
    )]
    pub book_interval_ms: u32,

    /// Levels of each side of a book that are published, the best ones; a level takes about 30 bytes of a message
    #[arg(
        long,
        env = "KLINECAST_MARKETDATA_BOOK_DEPTH",
        default_value_t = BookConfig::default().book_depth,
        value_parser = clap::value_parser!(u32).range(1..=DEPTH_MAX as i64),
        value_name = "COUNT"
    )]
    pub book_depth: u32,

    /// Most levels of each side of a book; a deeper book is said to be invalid
    #[arg(
        long,
        env = "KLINECAST_MARKETDATA_BOOK_LEVELS_MAX",
        default_value_t = BookConfig::default().book_levels_max,
        value_parser = clap::value_parser!(u32).range(1..),
        value_name = "COUNT"
    )]
    pub book_levels_max: u32,

    /// Most changes of a book that wait for its snapshot; beyond it the oldest are dropped and counted
    #[arg(
        long,
        env = "KLINECAST_MARKETDATA_BOOK_CHANGES_WAITING_MAX",
        default_value_t = BookConfig::default().book_changes_waiting_max,
        value_parser = clap::value_parser!(u32).range(1..),
        value_name = "COUNT"
    )]
    pub book_changes_waiting_max: u32,

    /// Most levels of the changes of a book that wait for its snapshot; beyond it the oldest changes are dropped and counted
    #[arg(
        long,
        env = "KLINECAST_MARKETDATA_BOOK_LEVELS_WAITING_MAX",
        default_value_t = BookConfig::default().book_levels_waiting_max,
        value_parser = clap::value_parser!(u32).range(1..),
        value_name = "COUNT"
    )]
    pub book_levels_waiting_max: u32,

    /// The part of a venue's REST budget beyond which no snapshot of a book is asked for, in percent: the rest is for missing trades
    #[arg(
        long,
        env = "KLINECAST_MARKETDATA_BOOK_REST_PERCENT",
        default_value_t = BookConfig::default().book_rest_percent,
        value_parser = clap::value_parser!(u32).range(1..=100),
        value_name = "PERCENT"
    )]
    pub book_rest_percent: u32,

    /// Longest time between two messages of a book that does not change, in milliseconds: gateways say that a book is invalid once its publisher has been silent for their --book-silence-ms
    #[arg(
        long,
        env = "KLINECAST_MARKETDATA_BOOK_HEARTBEAT_MS",
        default_value_t = BookConfig::default().book_heartbeat_ms,
        value_parser = clap::value_parser!(u32).range(100..=60_000),
        value_name = "MS"
    )]
    pub book_heartbeat_ms: u32,

    /// Shortest time between the first two snapshots of a book, in milliseconds; doubles with each one up to 1 min, until the book has been right for 1 min
    #[arg(
        long,
        env = "KLINECAST_MARKETDATA_BOOK_RESYNC_MS",
        default_value_t = BookConfig::default().book_resync_ms,
        value_parser = clap::value_parser!(u32).range(1..=60_000),
        value_name = "MS"
    )]
    pub book_resync_ms: u32,
}

impl Default for BookConfig {
    fn default() -> Self {
        Self {
            book_interval_ms: 100,
            book_depth: 20,
            book_levels_max: 100_000,
            book_changes_waiting_max: 1_000,
            book_levels_waiting_max: 50_000,
            book_rest_percent: 80,
            book_heartbeat_ms: 5_000,
            book_resync_ms: 2_000,
        }
    }
}

impl BookConfig {
    /// Longest time between two messages of a book.
    #[must_use]
    pub fn heartbeat(&self) -> Duration {
        Duration::from_millis(self.book_heartbeat_ms.into())
    }

    /// The settings of a connection's books.
    #[must_use]
    pub fn desk(&self) -> DeskSettings {
        let depth = self.book_depth as usize;
        DeskSettings {
            depth,
            limits: BookLimits {
                levels_min: depth,
                levels_max: self.book_levels_max as usize,
                waiting_max: self.book_changes_waiting_max as usize,
                waiting_levels_max: self.book_levels_waiting_max as usize,
            },
            resync_base_ms: self.book_resync_ms.into(),
            rest_percent: self.book_rest_percent,
        }
    }
}
