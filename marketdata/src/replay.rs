//! Replays recorded frames into bars on a virtual clock: the tool that checks our bars.
//!
//! The receive times of a capture are the clock. Frames go through the same decoders, the same
//! estimate of the venue's clock and the same pipelines as the live feed; only sockets and the bus
//! are left out. Missing trades cannot be fetched, so a gap stays a gap, after the usual hold.

mod capture;
mod final_bars;
mod missing;
mod output;
mod player;
mod source;
mod span;
mod summary;

pub use capture::{CaptureError, Line, parse_line};
pub use output::BarFormat;
pub(crate) use output::BarSink;
pub use span::Instant;
pub use summary::Summary;

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use clap::Args;
use market_core::{PipelineConfig, TimeframeSet};

use crate::config::{Config, ConfigError};
use crate::exchange::{Exchange, registry};
use crate::instrument::InstrumentSpec;
use missing::GapsFile;
use output::BarWriter;
use player::Player;
use source::{Merge, Source};
use span::Span;

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

    /// Leave out the bars in whose middle the capture ends; they are printed as forming otherwise
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

    /// Reorder window: how long after its end a bar waits for trades, in milliseconds
    #[arg(long, default_value_t = 2_000, value_name = "MS")]
    pub reorder_window_ms: u32,

    /// How long after the reorder window a late trade still revises a closed bar, in milliseconds
    #[arg(long, default_value_t = 900_000, value_name = "MS")]
    pub late_horizon_ms: u32,
}

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

impl ReplayConfig {
    fn pipeline(&self) -> PipelineConfig {
        PipelineConfig {
            timeframes: self.timeframes.clone(),
            reorder_window_ms: self.reorder_window_ms.into(),
            late_horizon_ms: self.late_horizon_ms.into(),
            gap_give_up_ms: self.late_horizon_ms.into(),
            // A capture says once what it has.
            gap_answers_min: 1,
            ..Config::default().pipeline()
        }
    }

    fn span(&self) -> Span {
        Span {
            from_ms: self.from.map(|Instant(at_ms)| at_ms),
            until_ms: self.until.map(|Instant(at_ms)| at_ms),
        }
    }
}

/// Replays the files, merged by time, writing bars to `out`.
///
/// # Errors
/// `Config` for an unknown exchange or instrument, `Read`, `Write`, or the reason why the files
/// cannot be replayed completely.
pub fn run(config: &ReplayConfig, out: &mut dyn Write) -> Result<Summary, ReplayError> {
    let exchange = exchange_of(config)?;
    let mut writer = BarWriter::new(out, config.format, config.no_fill, config.closed_only)?;
    play_into(exchange, config, &mut writer)
}

/// As [`run`], with the bars to `sink`, which the flags of the output do not concern.
pub(crate) fn run_into(
    config: &ReplayConfig,
    sink: &mut dyn BarSink,
) -> Result<Summary, ReplayError> {
    play_into(exchange_of(config)?, config, sink)
}

fn exchange_of(config: &ReplayConfig) -> Result<&'static dyn Exchange, ReplayError> {
    let exchange =
        registry::find(&config.exchange).ok_or_else(|| ConfigError::UnknownExchange {
            name: config.exchange.clone(),
            given: format!("--exchange {}", config.exchange),
            known: registry::names(),
        })?;
    if let Some(other) = config
        .instruments
        .iter()
        .find(|spec| spec.exchange != config.exchange)
    {
        return Err(ReplayError::Config(ConfigError::Text {
            given: other.to_string(),
            what: "an instrument of --exchange",
            example: "both with the same exchange",
        }));
    }
    Ok(exchange)
}

fn play_into(
    exchange: &'static dyn Exchange,
    config: &ReplayConfig,
    sink: &mut dyn BarSink,
) -> Result<Summary, ReplayError> {
    let mut gaps_out = match &config.gaps_file {
        Some(path) => Some(BufWriter::new(
            File::create(path).map_err(ReplayError::GapsFile)?,
        )),
        None => None,
    };
    let gaps_file = match &mut gaps_out {
        Some(out) => Some(GapsFile::new(out).map_err(ReplayError::GapsFile)?),
        None => None,
    };
    let mut player = Player::new(exchange, config, sink, gaps_file);
    play(config, &mut player)?;
    player.finish()
}

/// Plays the files' lines, merged by time.
fn play(config: &ReplayConfig, player: &mut Player<'_>) -> Result<(), ReplayError> {
    let read_error = |file: &str, source| ReplayError::Read {
        file: file.to_owned(),
        source,
    };
    let mut sources = Vec::new();
    for file in &config.files {
        let name = file.display().to_string();
        let source = Source::open(file).map_err(|source| read_error(&name, source))?;
        sources.push(source);
    }
    let is_one = sources.len() == 1;
    let mut merge = Merge::default();
    for (index, source) in sources.iter_mut().enumerate() {
        go_on(source, index, is_one, player, &mut merge)?;
    }
    while let Some(index) = merge.pop() {
        let source = &mut sources[index];
        let useless = player.summary().useless();
        player.line(source.line(), source.place())?;
        source.lines += u64::from(!source.line().trim().is_empty());
        source.useless += u64::from(player.summary().useless() > useless);
        go_on(source, index, is_one, player, &mut merge)?;
    }
    Ok(())
}

/// Moves to a file's next line, which is sorted among those of the others.
fn go_on(
    source: &mut Source,
    index: usize,
    is_one: bool,
    player: &Player<'_>,
    merge: &mut Merge,
) -> Result<(), ReplayError> {
    let is_there = source.advance().map_err(|error| ReplayError::Read {
        file: source.name().to_owned(),
        source: error,
    })?;
    if is_there {
        // With one file, places need no file name.
        let at_ms = if is_one {
            None
        } else {
            player.time_of(source.line())
        };
        merge.push(source, index, at_ms);
    } else if source.lines > 0 && source.useless == source.lines {
        return Err(ReplayError::Garbage {
            file: source.name().to_owned(),
            lines: source.lines,
            exchange: player.exchange_name().to_owned(),
        });
    }
    Ok(())
}
