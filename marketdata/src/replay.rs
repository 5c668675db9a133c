//! Replays recorded frames into bars on a virtual clock: the tool that checks our bars.
//!
//! The receive times of a capture are the clock; stored trades have their own times. Frames go through the same decoders, the same
//! estimate of the venue's clock and the same pipelines as the live feed; only sockets and the bus
//! are left out. Missing trades cannot be fetched, so a gap stays a gap, after the usual hold.

mod capture;
mod config;
mod error;
mod final_bars;
mod missing;
mod output;
mod player;
mod source;
mod span;
mod summary;

pub use capture::{CaptureError, Line, parse_line};
pub use config::ReplayConfig;
pub use error::ReplayError;
pub use output::{BarFormat, BarSink};
pub use span::Instant;
pub use summary::Summary;

use std::error::Error;
use std::fs::File;
use std::io::{BufWriter, Write};

use market_core::{Symbol, Trade};

use crate::config::ConfigError;
use crate::exchange::{Exchange, registry};
use missing::GapsFile;
use output::BarWriter;
use player::Player;
use source::{Merge, Place, Source};

/// Replays the files, merged by time, writing bars to `out`.
///
/// # Errors
/// `Config` for an unknown exchange or instrument, `Read`, `Write`, or the reason why the files
/// cannot be replayed completely.
pub fn run(config: &ReplayConfig, out: &mut dyn Write) -> Result<Summary, ReplayError> {
    let exchange = exchange_of(config)?;
    let mut writer = BarWriter::new(out, config.format, config.no_fill, config.closed_only)?;
    play_into(exchange, config, None, &mut writer)
}

/// As [`run`], with the bars to `sink`, which the flags of the output do not concern.
///
/// # Errors
/// As of [`run`]. An error of the sink ends the replay.
pub fn run_into(config: &ReplayConfig, sink: &mut dyn BarSink) -> Result<Summary, ReplayError> {
    play_into(exchange_of(config)?, config, None, sink)
}

/// As [`run_into`], with forming bars, too: those that have changed, once in so many milliseconds of
/// the capture's time.
///
/// # Errors
/// See [`run_into`].
pub fn run_as_live(
    config: &ReplayConfig,
    forming_interval_ms: u32,
    sink: &mut dyn BarSink,
) -> Result<Summary, ReplayError> {
    let exchange = exchange_of(config)?;
    play_into(exchange, config, Some(forming_interval_ms), sink)
}

/// As [`run_as_live`], of trades by ascending time instead of files. Their own times are the clock.
///
/// # Errors
/// `Trades` with the first error of `trades`; otherwise as of [`run_into`].
pub fn run_trades_as_live<E: Into<Box<dyn Error + Send + Sync>>>(
    config: &ReplayConfig,
    trades: impl Iterator<Item = Result<(Symbol, Trade), E>>,
    forming_interval_ms: u32,
    sink: &mut dyn BarSink,
) -> Result<Summary, ReplayError> {
    let exchange = exchange_of(config)?;
    play_with(
        exchange,
        config,
        Some(forming_interval_ms),
        sink,
        |player| {
            for (trade, row) in trades.zip(1..) {
                let (symbol, trade) = trade.map_err(|error| ReplayError::Trades(error.into()))?;
                let place = Place {
                    file: "the stored trades",
                    line: row,
                };
                player.trade(&symbol, &trade, place)?;
            }
            Ok(())
        },
    )
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
    forming_interval_ms: Option<u32>,
    sink: &mut dyn BarSink,
) -> Result<Summary, ReplayError> {
    play_with(exchange, config, forming_interval_ms, sink, |player| {
        play(config, player)
    })
}

fn play_with(
    exchange: &'static dyn Exchange,
    config: &ReplayConfig,
    forming_interval_ms: Option<u32>,
    sink: &mut dyn BarSink,
    play: impl FnOnce(&mut Player<'_>) -> Result<(), ReplayError>,
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
    player.form_every(forming_interval_ms);
    play(&mut player)?;
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
