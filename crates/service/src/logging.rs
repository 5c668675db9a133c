//! Logs: one line per event on standard error, for people or for machines.

use std::io::IsTerminal;

use clap::{Args, ValueEnum};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// Libraries that log every connection event at info, which would hide our lines. A directive in
/// `--log-level` that names the library turns it on again.
const QUIET_LIBRARIES: [&str; 4] = ["async_nats", "hyper", "hyper_util", "rustls"];

/// Format and level of a program's log.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// Format of log lines: human for a terminal, json for a log collector
    #[arg(long, env = "KLINECAST_LOG_FORMAT", value_enum, default_value_t = LogFormat::Human)]
    pub log_format: LogFormat,

    /// Log level: error, warn, info, debug or trace, or directives such as info,marketdata=debug
    #[arg(long, env = "KLINECAST_LOG_LEVEL", default_value = "info", value_parser = parse_level)]
    pub log_level: String,
}

impl Default for LogConfig {
    fn default() -> LogConfig {
        LogConfig {
            log_format: LogFormat::Human,
            log_level: "info".to_owned(),
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

/// Starts logging for the process. Only the first call has an effect, so tests may call it freely.
pub fn init_logging(config: &LogConfig) {
    // A second subscriber cannot be installed. The first one stays; this is fine.
    let _ = tracing::subscriber::set_global_default(subscriber(config, std::io::stderr));
}

/// The subscriber that [`init_logging`] installs, writing to `writer`.
fn subscriber<W>(config: &LogConfig, writer: W) -> Box<dyn tracing::Subscriber + Send + Sync>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter(&config.log_level))
        .with_writer(writer);
    match config.log_format {
        LogFormat::Human => {
            let is_terminal = std::io::stderr().is_terminal();
            Box::new(builder.with_ansi(is_terminal).finish())
        }
        LogFormat::Json => Box::new(builder.json().flatten_event(true).finish()),
    }
}

fn filter(level: &str) -> EnvFilter {
    let mut directives = level.to_owned();
    for library in QUIET_LIBRARIES {
        if !level.contains(library) {
            directives.push_str(&format!(",{library}=warn"));
        }
    }
    // A level that code put into the config may be anything: fall back instead of failing.
    EnvFilter::try_new(directives).unwrap_or_else(|_| EnvFilter::new("info,async_nats=warn"))
}

fn parse_level(level: &str) -> Result<String, String> {
    EnvFilter::try_new(level)
        .map(|_| level.to_owned())
        .map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        log: LogConfig,
    }

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0
                .lock()
                .expect("no test panics here")
                .extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[track_caller]
    fn logged(config: &LogConfig, act: impl FnOnce()) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = subscriber(config, move || writer.clone());
        tracing::subscriber::with_default(subscriber, act);
        let bytes = lines.0.lock().expect("no test panics here").clone();
        String::from_utf8(bytes).expect("logs are utf-8")
    }

    #[test]
    fn default_equals_no_flags() {
        let program = Program::try_parse_from(["program"]).expect("no flag is required");
        assert_eq!(program.log, LogConfig::default());
    }

    #[test]
    fn unknown_level_is_refused() {
        assert!(Program::try_parse_from(["program", "--log-level", "info,bus=loud"]).is_err());
    }

    #[test]
    fn json_line_has_its_fields_at_the_top_level() {
        let config = LogConfig {
            log_format: LogFormat::Json,
            ..LogConfig::default()
        };
        let line = logged(&config, || {
            tracing::warn!(lateness_ms = 7, "late trade dropped");
        });
        assert!(line.contains(r#""lateness_ms":7"#), "{line}");
        assert!(line.contains(r#""message":"late trade dropped""#), "{line}");
        assert!(line.contains(r#""level":"WARN""#), "{line}");
    }

    #[test]
    fn chatty_library_is_quiet_at_info_unless_named() {
        let speak = || tracing::info!(target: "async_nats", "event: slow consumer");
        assert_eq!(logged(&LogConfig::default(), speak), "");
        let config = LogConfig {
            log_level: "info,async_nats=info".to_owned(),
            ..LogConfig::default()
        };
        assert!(logged(&config, speak).contains("slow consumer"));
    }
}
