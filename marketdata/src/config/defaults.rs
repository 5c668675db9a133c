//! The defaults of every flag.

use market_core::{Timeframe, TimeframeSet};

use super::books::BookConfig;
use super::feed_channel::FeedChannel;
use super::{Assigned, Config, DEFAULT_INSTRUMENTS, DiscoveryConfig};
use crate::discovery::pattern::Wish;

impl Default for Config {
    fn default() -> Self {
        Self {
            instruments: Wish::parse_list(DEFAULT_INSTRUMENTS).expect("the default is valid"),
            discovery: DiscoveryConfig::default(),
            assigned: Assigned::All,
            endpoints: Vec::new(),
            sim: None,
            venue_ca_file: None,
            feed_mode_label: "live".to_owned(),
            timeframes: TimeframeSet::default(),
            reorder_window_ms: 2_000,
            late_horizon_ms: 900_000,
            gap_grace_ms: 300,
            gap_hold_ms: 10_000,
            gap_retry_ms: 1_000,
            gap_give_up_ms: 300_000,
            gap_answers_min: 3,
            checkpoint_age_max_ms: 86_400_000,
            backfill_trades_max: 500_000,
            backfill_concurrency: 4,
            backfill_jobs_max: 8_192,
            rest_timeout_ms: 10_000,
            forming_interval_ms: 250,
            publish_trades: true,
            channels: vec![FeedChannel::Ticker],
            quote_interval_ms: 100,
            ticker_interval_ms: 1_000,
            trades_waiting_max: 65_536,
            bars_waiting_max: 100_000,
            workers: 0,
            inbox_batches_max: 4_096,
            streams_per_connection: None,
            connect_timeout_ms: 10_000,
            backoff_base_ms: 500,
            backoff_max_ms: 30_000,
            rotation_age_ms: None,
            symbol_silence_ms: 15_000,
            refused_retry_ms: 30_000,
            listing_interval_ms: 3_600_000,
            status_symbols_max: 20,
            stale_after_ms: 5_000,
            proof_hold_ms: 3_000,
            store_stall_ms: 10_000,
            rival_silence_ms: 2_000,
            takeover_silence_ms: 500,
            share_instruments: false,
            batch_bars: false,
            checkpoint_interval_ms: 1_000,
            reconcile_interval_ms: 60_000,
            reconcile_timeframe: Timeframe::MINUTE,
            books: BookConfig::default(),
            journal: service::JournalConfig::default(),
        }
    }
}
