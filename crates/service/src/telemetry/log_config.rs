//! What the flags of every program say about its log.

use std::io::IsTerminal;

use clap::{Args, ValueEnum};
use tracing_subscriber::EnvFilter;

/// Format and level of a program's log.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// Format of log lines: human for a terminal, json for a log collector
    #[arg(long, env = "KLINECAST_LOG_FORMAT", value_enum, default_value_t = LogFormat::Human)]
    pub log_format: LogFormat,

    /// Log level: error, warn, info, debug or trace, or directives such as info,marketdata=debug
    #[arg(long, env = "KLINECAST_LOG_LEVEL", default_value = "info", value_parser = parse_directives)]
    pub log_level: String,

    /// Spans that log a line with their time when they end: directives such as
    /// marketdata=trace,ws_gateway=trace
    #[arg(long, env = "KLINECAST_LOG_SPANS", value_parser = parse_directives, value_name = "DIRECTIVES")]
    pub log_spans: Option<String>,

    /// Most log lines that wait while nobody reads standard error; more are dropped and counted
    #[arg(long, env = "KLINECAST_LOG_LINES_MAX", default_value_t = LogConfig::default().log_lines_max)]
    pub log_lines_max: usize,
}

impl Default for LogConfig {
    fn default() -> LogConfig {
        LogConfig {
            log_format: LogFormat::Human,
            log_level: "info".to_owned(),
            log_spans: None,
            log_lines_max: 8_192,
        }
    }
}

/// Format of a log line.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Text, coloured when standard error is a terminal.
    Human,
    /// One JSON object a line, with the event's fields at the top level.
    Json,
}

/// Whether lines for people have colours.
pub(super) fn is_coloured() -> bool {
    std::io::stderr().is_terminal()
}

fn parse_directives(directives: &str) -> Result<String, String> {
    EnvFilter::try_new(directives)
        .map(|_| directives.to_owned())
        .map_err(|error| error.to_string())
}
