//! What is replayed, and how.

use std::path::PathBuf;

use clap::Args;
use market_core::{PipelineConfig, TimeframeSet};

use super::output::BarFormat;
use super::span::{Instant, Span};
use crate::config::Config;
use crate::instrument::InstrumentSpec;

/// Replays captured frames and prints the bars.
#[derive(Args, Clone, Debug)]
pub struct ReplayConfig {
    /// The exchange of the frames
    #[arg(long, value_name = "NAME")]
    pub exchange: String,

    /// A capture, plain, gzip or zip, with lines `<ns> <frame>`, `<seconds>: <frame>`, or one REST trade each; or a CSV file of trades as the exchange publishes it. Repeatable in any order: files are merged by time. - is standard input
    #[arg(long = "file", required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,

    /// Symbols to follow, as exchange:SYMBOL, separated by commas [default: all symbols in the frames]
    #[arg(long, value_delimiter = ',', value_name = "LIST")]
    pub instruments: Vec<InstrumentSpec>,

    /// Timeframes of the bars: any of Ns, Nm, Nh, 1d, 1w, 1M
    #[arg(long, default_value = "1s,1m,1h,1d", value_name = "LIST")]
    pub timeframes: TimeframeSet,

    /// Output format of the bars
    #[arg(long, value_enum, default_value_t = BarFormat::Jsonl)]
    pub format: BarFormat,

    /// Leave out the flat bars of intervals without trades
    #[arg(long)]
    pub no_fill: bool,

    /// Leave out bars that are not closed when the capture ends; otherwise they are printed as forming
    #[arg(long)]
    pub closed_only: bool,

    /// Print each bar once, as its last revision, when nothing can revise it any more
    #[arg(long)]
    pub final_only: bool,

    /// The files hold all trades since this time (2024-08-08, 2024-08-08T12:00:00Z or milliseconds): bars that start then are whole, earlier bars are left out
    #[arg(long, value_name = "TIME")]
    pub from: Option<Instant>,

    /// The files hold all trades until this time: bars that end then are closed, later bars are left out
    #[arg(long, value_name = "TIME")]
    pub until: Option<Instant>,

    /// Write the trade ids that the files lack to this file, as CSV
    #[arg(long, value_name = "FILE")]
    pub gaps_file: Option<PathBuf>,

    /// Reorder window: how long after its end a bar waits for trades, ms
    #[arg(long, default_value_t = 2_000, value_name = "MS")]
    pub reorder_window_ms: u32,

    /// How long after the reorder window a late trade still revises a closed bar, ms
    #[arg(long, default_value_t = 900_000, value_name = "MS")]
    pub late_horizon_ms: u32,
}

impl ReplayConfig {
    /// How bars are made.
    pub(super) fn pipeline(&self) -> PipelineConfig {
        PipelineConfig {
            timeframes: self.timeframes.clone(),
            reorder_window_ms: self.reorder_window_ms.into(),
            late_horizon_ms: self.late_horizon_ms.into(),
            gap_give_up_ms: self.late_horizon_ms.into(),
            // A capture gives only one answer about missing trades.
            gap_answers_min: 1,
            ..Config::default().pipeline()
        }
    }

    /// The time span whose bars are printed.
    pub(super) fn span(&self) -> Span {
        Span {
            from_ms: self.from.map(|Instant(at_ms)| at_ms),
            until_ms: self.until.map(|Instant(at_ms)| at_ms),
        }
    }
}
