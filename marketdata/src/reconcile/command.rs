//! `marketdata reconcile`: replays a capture and compares its bars with the venue's own.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};
use market_core::wire::{BarMessage, Stamp};
use market_core::{Bar, Symbol, Timeframe, TimeframeSet, Topic, UnixMicros, UnixMillis};

use super::klines::{self, KlinesError};
use super::report::{Report, Section};
use crate::backfill::client::{RestClient, RestError};
use crate::config::ConfigError;
use crate::exchange::{Exchange, VenueBar, registry};
use crate::feed::dial::VenueTls;
use crate::instrument::InstrumentSpec;
use crate::replay::{self, BarFormat, BarSink, ReplayConfig, ReplayError};

/// Bars per request: the page size of the venue with the shortest pages.
const BARS_PER_REQUEST: usize = 100;
const REST_TIMEOUT: Duration = Duration::from_secs(10);
/// Tries of one request.
const TRIES_MAX: u32 = 4;

/// Replays captured frames and compares the bars with the exchange's own.
#[derive(Args, Clone, Debug)]
pub struct ReconcileConfig {
    /// The exchange of the frames
    #[arg(long, value_name = "NAME")]
    pub exchange: String,

    /// A capture, as for replay; repeatable, in any order
    #[arg(long = "file", required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,

    /// The exchange's own bars: a CSV file or REST rows, plain, gzip or zip, or the base URL of its REST interface; repeatable
    #[arg(long, required = true, value_name = "FILE|URL")]
    pub klines: Vec<String>,

    /// Symbols to follow, as exchange:SYMBOL, separated by commas [default: all symbols in the frames]
    #[arg(long, value_delimiter = ',', value_name = "LIST")]
    pub instruments: Vec<InstrumentSpec>,

    /// Timeframes to compare [default: those of the files' rows; 1m,1h from a URL]
    #[arg(long, value_name = "LIST")]
    pub timeframes: Option<TimeframeSet>,

    /// Output format of the report
    #[arg(long, value_enum, default_value_t = ReportFormat::Text)]
    pub format: ReportFormat,

    /// Reorder window: how long after its end a bar waits for trades, ms
    #[arg(long, default_value_t = 2_000, value_name = "MS")]
    pub reorder_window_ms: u32,

    /// How long after the reorder window a late trade still revises a closed bar, ms
    #[arg(long, default_value_t = 900_000, value_name = "MS")]
    pub late_horizon_ms: u32,
}

/// How a report is printed.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReportFormat {
    /// For people.
    Text,
    /// One JSON object.
    Json,
}

/// Why nothing could be compared.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// The replay failed.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// A file of klines that cannot be read.
    #[error("failed to read {file}")]
    Read {
        /// Its name.
        file: String,
        /// Why.
        source: io::Error,
    },
    /// A file without klines.
    #[error("cannot use {file}")]
    Klines {
        /// Its name.
        file: String,
        /// Why.
        source: KlinesError,
    },
    /// The rows do not reveal their timeframe.
    #[error(
        "{0} does not say the timeframe of its bars: write --timeframes with one timeframe, such as 1m"
    )]
    NoWidth(String),
    /// A file's timeframe was not asked for.
    #[error("{file} has bars of {width}, but --timeframes is {asked}")]
    OtherWidth {
        /// The file.
        file: String,
        /// Its width.
        width: Timeframe,
        /// What was asked for.
        asked: TimeframeSet,
    },
    /// A file of klines has one symbol.
    #[error(
        "{file} can have one symbol only, but the capture has {symbols}: write --instruments with one symbol"
    )]
    ManySymbols {
        /// The file.
        file: String,
        /// The capture's symbols.
        symbols: String,
    },
    /// The venue's REST interface failed.
    #[error("failed to fetch klines of {native}")]
    Fetch {
        /// The venue's name of the symbol.
        native: String,
        /// Why.
        source: RestError,
    },
    /// Nothing that both cover.
    #[error(
        "nothing to compare: the capture has {ours}, and the klines have {venue}: choose files of the same symbols and time"
    )]
    NothingInCommon {
        /// What the capture covers.
        ours: String,
        /// What the klines cover.
        venue: String,
    },
    /// No trades in the capture.
    #[error("the capture has no trades: {0}")]
    NoTrades(String),
    /// No runtime for REST.
    #[error("failed to start the runtime")]
    Runtime(#[source] io::Error),
}

/// A symbol's bars of one timeframe, by start.
type Bars = BTreeMap<UnixMillis, BarMessage>;
/// All bars of a capture.
type BySymbol = BTreeMap<(String, Timeframe), Bars>;

/// One file of the venue's bars.
struct KlinesFile {
    name: String,
    timeframe: Timeframe,
    bars: BTreeMap<UnixMillis, VenueBar>,
}

/// Replays and compares.
///
/// # Errors
/// Why the comparison is impossible.
pub fn run(config: &ReconcileConfig) -> Result<Report, ReconcileError> {
    let exchange = registry::find(&config.exchange).ok_or_else(|| {
        ReplayError::Config(ConfigError::UnknownExchange {
            name: config.exchange.clone(),
            given: format!("--exchange {}", config.exchange),
            known: registry::names(),
        })
    })?;
    let is_url = |klines: &&String| klines.starts_with("http://") || klines.starts_with("https://");
    let urls: Vec<&String> = config.klines.iter().filter(is_url).collect();
    let mut files = Vec::new();
    for file in config.klines.iter().filter(|klines| !is_url(klines)) {
        files.push(read_klines(file, exchange, config.timeframes.as_ref())?);
    }
    let timeframes = timeframes(config, &files, !urls.is_empty());
    let (ours, replayed) = replay(config, timeframes)?;
    let symbols: BTreeSet<&String> = ours.keys().map(|(symbol, _)| symbol).collect();
    let Some(&symbol) = symbols.first() else {
        return Err(ReconcileError::NoTrades(replayed));
    };
    let mut sections = Vec::new();
    let mut venue_spans = Vec::new();
    for file in &files {
        if symbols.len() > 1 {
            let symbols: Vec<&str> = symbols.iter().map(|symbol| symbol.as_str()).collect();
            return Err(ReconcileError::ManySymbols {
                file: file.name.clone(),
                symbols: symbols.join(", "),
            });
        }
        venue_spans.push(span(file.timeframe, &file.bars));
        let key = (symbol.clone(), file.timeframe);
        if let Some(bars) = ours.get(&key) {
            sections.push(Section::new(key, file.name.clone(), bars, &file.bars));
        }
    }
    for url in urls {
        for ((symbol, timeframe), bars) in &ours {
            let Some(venue) = fetch(exchange, url, symbol, *timeframe, bars)? else {
                continue;
            };
            venue_spans.push(span(*timeframe, &venue));
            let key = (symbol.clone(), *timeframe);
            sections.push(Section::new(key, url.clone(), bars, &venue));
        }
    }
    if sections.iter().all(|section| section.compared == 0) {
        let ours = ours
            .iter()
            .map(|((_, timeframe), bars)| span(*timeframe, bars));
        return Err(ReconcileError::NothingInCommon {
            ours: ours.collect::<Vec<_>>().join(", "),
            venue: venue_spans.join(", "),
        });
    }
    Ok(Report::new(exchange.name(), replayed, sections))
}

fn span<T>(timeframe: Timeframe, bars: &BTreeMap<UnixMillis, T>) -> String {
    match (bars.keys().next(), bars.keys().next_back()) {
        (Some(first), Some(last)) => format!("{timeframe} bars from {first} to {last}"),
        _ => format!("no {timeframe} bar"),
    }
}

fn timeframes(config: &ReconcileConfig, files: &[KlinesFile], has_url: bool) -> TimeframeSet {
    if let Some(asked) = &config.timeframes {
        return asked.clone();
    }
    let mut widths: Vec<Timeframe> = files.iter().map(|file| file.timeframe).collect();
    if has_url {
        widths.extend([Timeframe::MINUTE, Timeframe::HOUR]);
    }
    widths.sort_unstable();
    widths.dedup();
    TimeframeSet::new(widths).expect("there is at least one source of klines, each with a width")
}

fn read_klines(
    file: &str,
    exchange: &dyn Exchange,
    asked: Option<&TimeframeSet>,
) -> Result<KlinesFile, ReconcileError> {
    let mut bytes = Vec::new();
    venue_files::open(Path::new(file))
        .and_then(|mut file| file.reader.read_to_end(&mut bytes))
        .map_err(|source| ReconcileError::Read {
            file: file.to_owned(),
            source,
        })?;
    let text = String::from_utf8_lossy(&bytes);
    let klines = klines::parse(&text, exchange).map_err(|source| ReconcileError::Klines {
        file: file.to_owned(),
        source,
    })?;
    let only = asked.and_then(|asked| match asked.as_slice() {
        [only] => Some(*only),
        _ => None,
    });
    // The user's flags win over a guess from few rows, but not over a contradiction.
    let is_possible = |width: Timeframe| {
        klines
            .bars
            .keys()
            .all(|&start| width.start_of(start) == start)
    };
    let timeframe = match (only.filter(|only| is_possible(*only)), klines.timeframe) {
        (Some(only), None) => only,
        (Some(only), Some(told)) if only <= told => only,
        (_, Some(told)) => told,
        (None, None) => return Err(ReconcileError::NoWidth(file.to_owned())),
    };
    if let Some(asked) = asked
        && !asked.as_slice().contains(&timeframe)
    {
        return Err(ReconcileError::OtherWidth {
            file: file.to_owned(),
            width: timeframe,
            asked: asked.clone(),
        });
    }
    Ok(KlinesFile {
        name: file.to_owned(),
        timeframe,
        bars: klines.bars,
    })
}

/// The capture's bars, the last revision of each, and the replay's counts.
fn replay(
    config: &ReconcileConfig,
    timeframes: TimeframeSet,
) -> Result<(BySymbol, String), ReconcileError> {
    let replay_config = ReplayConfig {
        exchange: config.exchange.clone(),
        files: config.files.clone(),
        instruments: config.instruments.clone(),
        timeframes,
        format: BarFormat::Jsonl,
        no_fill: false,
        closed_only: false,
        final_only: false,
        from: None,
        until: None,
        gaps_file: None,
        reorder_window_ms: config.reorder_window_ms,
        late_horizon_ms: config.late_horizon_ms,
    };
    let mut collector = Collector::default();
    let summary = replay::run_into(&replay_config, &mut collector)?;
    Ok((collector.bars, summary.to_string()))
}

/// Keeps the newest revision of each bar.
#[derive(Default)]
struct Collector {
    bars: BySymbol,
}

impl BarSink for Collector {
    fn bar(
        &mut self,
        exchange: &str,
        symbol: &Symbol,
        bar: &Bar,
        seq: u64,
        published_us: UnixMicros,
    ) -> io::Result<bool> {
        let topic = Topic::bars(bar.timeframe, symbol);
        let stamp = Stamp {
            seq,
            epoch: 0,
            published_us,
        };
        let Some(message) = BarMessage::new(&topic, exchange, symbol, bar, stamp) else {
            return Ok(false);
        };
        self.bars
            .entry((message.symbol.clone(), message.interval))
            .or_default()
            .insert(message.start_ms, message);
        Ok(true)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The venue's bars for ours; `None` if it has none of that timeframe.
fn fetch(
    exchange: &'static dyn Exchange,
    url: &str,
    symbol: &str,
    timeframe: Timeframe,
    ours: &Bars,
) -> Result<Option<BTreeMap<UnixMillis, VenueBar>>, ReconcileError> {
    let symbol: Symbol = symbol.parse().expect("a symbol that was published");
    let native = exchange.native_name(symbol.base(), symbol.quote());
    let client = || {
        // A second provider in the process is not a fault: the first one stays.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let base = url.trim_end_matches('/').to_owned();
        RestClient::new(exchange, base, REST_TIMEOUT, &VenueTls::default())
    };
    let starts: Vec<UnixMillis> = ours.keys().copied().collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(ReconcileError::Runtime)?;
    runtime.block_on(async {
        let client = client();
        let mut bars = BTreeMap::new();
        for chunk in starts.chunks(BARS_PER_REQUEST) {
            let (Some(&first_ms), Some(&last_ms)) = (chunk.first(), chunk.last()) else {
                continue;
            };
            let page = exchange.bars_page(&native, timeframe, first_ms, last_ms);
            let Some(request) = page else { return Ok(None) };
            let mut tries = 0;
            let page = loop {
                let body = client.get(&request).await;
                let page = body.and_then(|body| {
                    exchange
                        .parse_bars_page(&body)
                        .map_err(|error| RestError::Unavailable(error.to_string()))
                });
                match page {
                    Ok(page) => break page,
                    Err(error) if error.is_retryable() && tries < TRIES_MAX => tries += 1,
                    Err(source) => {
                        return Err(ReconcileError::Fetch {
                            native: native.clone(),
                            source,
                        });
                    }
                }
            };
            bars.extend(page.into_iter().map(|bar| (bar.start_ms, bar)));
        }
        Ok(Some(bars))
    })
}
