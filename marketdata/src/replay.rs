//! Replays recorded frames into bars on a virtual clock: the tool that checks our bars.
//!
//! A capture's receive times are the clock. It runs through the same decoders, the same estimate
//! of the venue's clock and the same pipelines as the live feed; only sockets and the bus are
//! left out. Nothing can be refetched, so a gap stays one, after the usual hold.

mod capture;
mod output;
mod player;

pub use capture::{CaptureError, Line, parse_line};
pub use output::{BarFormat, BarWriter};
pub use player::{Player, Summary};

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use flate2::read::MultiGzDecoder;
use market_core::{PipelineConfig, TimeframeSet};

use crate::config::{Config, ConfigError};
use crate::exchange::registry;
use crate::instrument::InstrumentSpec;

/// Replays captured frames and prints the bars.
#[derive(Args, Clone, Debug)]
pub struct ReplayConfig {
    /// The venue that the frames are of
    #[arg(long, value_name = "NAME")]
    pub exchange: String,

    /// A capture, plain or gzip: `<ns> <frame>`, `<seconds>: <frame>`, one REST trade a line, or a CSV file of trades as the venue publishes them; repeatable, - is standard input
    #[arg(long = "file", required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,

    /// What to follow, as exchange:SYMBOL separated by commas [default: all that the frames name]
    #[arg(long, value_delimiter = ',', value_name = "LIST")]
    pub instruments: Vec<InstrumentSpec>,

    /// Widths of the bars: any of Ns, Nm, Nh, 1d, 1w, 1M
    #[arg(long, default_value = "1s,1m,1h,1d", value_name = "LIST")]
    pub timeframes: TimeframeSet,

    /// How the bars are printed
    #[arg(long, value_enum, default_value_t = BarFormat::Jsonl)]
    pub format: BarFormat,

    /// Leave out the flat bars of intervals without trades
    #[arg(long)]
    pub no_fill: bool,

    /// Leave out the bars that the capture ends in the middle of, which are printed as forming
    #[arg(long)]
    pub closed_only: bool,

    /// How long after its end a bar waits for late trades, in milliseconds
    #[arg(long, default_value_t = 2_000, value_name = "MS")]
    pub reorder_window_ms: u32,

    /// How long after that a late trade still revises a closed bar, in milliseconds
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
    /// REST rows name no symbol.
    #[error(
        "the rows name no symbol, so one is needed: write --instruments {0}:BASE-QUOTE, such as {0}:BTC-USDT"
    )]
    NoSymbol(String),
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
            ..Config::default().pipeline()
        }
    }
}

/// Replays the files, in order, writing bars to `out`.
///
/// # Errors
/// `Config` for an unknown exchange or instrument, `Read`, `Write`, or `NoSymbol`.
pub fn run(config: &ReplayConfig, out: &mut dyn Write) -> Result<Summary, ReplayError> {
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
    let writer = BarWriter::new(out, config.format, config.no_fill, config.closed_only)?;
    let mut player = Player::new(exchange, &config.instruments, config.pipeline(), writer);
    for file in &config.files {
        let read_error = |source| ReplayError::Read {
            file: file.display().to_string(),
            source,
        };
        let mut reader = open(file).map_err(read_error)?;
        let mut line = Vec::new();
        loop {
            line.clear();
            if reader.read_until(b'\n', &mut line).map_err(read_error)? == 0 {
                break;
            }
            let text = String::from_utf8_lossy(&line);
            player.line(text.trim_end_matches(['\n', '\r']))?;
        }
    }
    player.finish()
}

/// Opens a capture, gzip or plain.
pub(crate) fn open(file: &Path) -> io::Result<Box<dyn BufRead>> {
    let raw: Box<dyn Read> = if file.as_os_str() == "-" {
        Box::new(io::stdin())
    } else {
        Box::new(File::open(file)?)
    };
    let mut reader = BufReader::with_capacity(1 << 18, raw);
    let is_gzip = reader.fill_buf()?.starts_with(&[0x1f, 0x8b]);
    Ok(if is_gzip {
        Box::new(BufReader::with_capacity(
            1 << 18,
            MultiGzDecoder::new(reader),
        ))
    } else {
        Box::new(reader)
    })
}
