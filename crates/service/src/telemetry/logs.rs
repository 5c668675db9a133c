//! Logs: one line per event on standard error, for people or for machines.

use std::sync::{Arc, Mutex, OnceLock};

use tracing::Subscriber;
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Layer, Registry, fmt};

use super::log_config::{LogConfig, LogFormat, is_coloured};
use super::log_layer::{LogLayer, filter};
use super::tap::{self, LogTap};
use super::traces;

/// Counts the lines that found no room, once the process logs.
static LINES_DROPPED: OnceLock<ErrorCounter> = OnceLock::new();

/// Writes the log lines that wait when it ends. Lines from later on are lost. Clones share the log.
#[derive(Clone, Debug)]
#[must_use = "what is logged after the guard is dropped is lost"]
pub struct LogGuard(Arc<Mutex<Option<WorkerGuard>>>);

impl LogGuard {
    /// Writes what waits and ends the log. Where nobody reads standard error, what is left after a
    /// second is given up.
    pub fn flush(&self) {
        let worker = self.0.lock().map(|mut worker| worker.take());
        drop(worker);
    }
}

/// Starts logging for the process, until the guard is dropped. Only the first call has an effect,
/// so tests may call it freely.
///
/// A thread of its own writes the lines: a standard error that nobody reads stops that thread, and
/// nothing else.
pub fn init_logging(config: &LogConfig) -> LogGuard {
    install(config, None)
}

/// As [`init_logging`], with a tap in which at most `lines_max` lines wait.
pub(crate) fn init_tapped_logging(config: &LogConfig, lines_max: usize) -> (LogGuard, LogTap) {
    let (layer, tap) = tap::tap(config, lines_max);
    (install(config, Some(layer)), tap)
}

fn install(config: &LogConfig, tap: Option<LogLayer>) -> LogGuard {
    let (writer, worker) = non_blocking(config, std::io::stderr());
    let dropped = writer.error_counter();
    let subscriber = subscriber(config, writer, tap);
    // A second subscriber cannot be installed. The first one stays; this is fine.
    if tracing::subscriber::set_global_default(subscriber).is_ok() {
        let _ = LINES_DROPPED.set(dropped);
    }
    LogGuard(Arc::new(Mutex::new(Some(worker))))
}

/// Log lines of this process that found no room.
pub(super) fn lines_dropped() -> u64 {
    LINES_DROPPED
        .get()
        .map_or(0, |dropped| dropped.dropped_lines() as u64)
}

/// A writer that hands lines to a thread, and drops them where that one is too far behind.
fn non_blocking<W>(
    config: &LogConfig,
    writer: W,
) -> (tracing_appender::non_blocking::NonBlocking, WorkerGuard)
where
    W: std::io::Write + Send + 'static,
{
    NonBlockingBuilder::default()
        .lossy(true)
        // Without any room a line is only taken while the thread waits for one.
        .buffered_lines_limit(config.log_lines_max.max(1))
        .thread_name("log")
        .finish(writer)
}

/// The subscriber that [`init_logging`] installs, writing to `writer`.
fn subscriber<W>(
    config: &LogConfig,
    writer: W,
    tap: Option<LogLayer>,
) -> impl Subscriber + Send + Sync + use<W>
where
    W: for<'w> MakeWriter<'w> + Clone + Send + Sync + 'static,
{
    let mut layers = vec![layer(config, writer.clone())];
    layers.extend(traces::layer(config, writer));
    layers.extend(tap);
    Registry::default().with(layers)
}

/// The layer that logs events.
fn layer<W>(config: &LogConfig, writer: W) -> LogLayer
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let layer = fmt::layer().with_writer(writer);
    let filter = filter(&config.log_level);
    match config.log_format {
        LogFormat::Human => layer.with_ansi(is_coloured()).with_filter(filter).boxed(),
        LogFormat::Json => {
            let layer = layer.json().flatten_event(true);
            layer.with_filter(filter).boxed()
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Write;
    use std::sync::mpsc::{Receiver, sync_channel};
    use std::sync::{Arc, Mutex};

    use clap::Parser;
    use tracing::level_filters::LevelFilter;

    use super::*;
    use crate::TraceContext;

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

    /// What `act` logs.
    #[track_caller]
    pub(crate) fn logged(config: &LogConfig, act: impl FnOnce()) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = subscriber(config, move || writer.clone(), None);
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
    fn a_line_about_something_traced_has_the_id_of_its_trace() {
        let trace = TraceContext::begin();
        let id = trace.trace_id().to_string();
        for log_format in [LogFormat::Json, LogFormat::Human] {
            let config = LogConfig {
                log_format,
                ..LogConfig::default()
            };
            let line = logged(&config, || {
                let warn = || tracing::warn!("the bus is slow");
                trace.log_span().in_scope(warn);
            });
            assert!(line.contains(&id) && line.contains("trace_id"), "{line}");
            let line = logged(&config, || tracing::warn!("the bus is slow"));
            assert!(!line.contains("trace_id"), "{line}");
        }
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

    #[test]
    fn no_span_is_enabled_below_the_log_level_unless_asked_for() {
        let hint = |config: &LogConfig| subscriber(config, std::io::sink, None).max_level_hint();
        let mut config = LogConfig::default();
        assert_eq!(hint(&config), Some(LevelFilter::INFO));
        config.log_spans = Some("marketdata=trace".to_owned());
        assert_eq!(hint(&config), Some(LevelFilter::TRACE));
    }

    /// A standard error that nobody reads: it takes nothing until the sender is dropped.
    struct Unread(Receiver<()>);

    impl Write for Unread {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let _ = self.0.recv();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_log_that_nobody_reads_stops_nobody_and_its_lost_lines_are_counted() {
        let config = LogConfig {
            log_lines_max: 4,
            ..LogConfig::default()
        };
        let (reader, unread) = sync_channel(1);
        let (writer, worker) = non_blocking(&config, Unread(unread));
        let dropped = writer.error_counter();
        // A log that waits for its reader would never come back from here.
        tracing::subscriber::with_default(subscriber(&config, writer, None), || {
            for number in 0..20 {
                tracing::info!(number, "nobody reads this");
            }
        });
        // One line may be in the hands of the thread, and as many wait as have room.
        assert!(dropped.dropped_lines() >= 20 - 1 - 4, "{dropped:?}");
        assert!(dropped.dropped_lines() <= 20 - 4, "{dropped:?}");
        drop(reader);
        drop(worker);
    }

    #[test]
    fn lines_that_wait_are_written_when_the_guard_ends() {
        let lines = Lines::default();
        let (writer, worker) = non_blocking(&LogConfig::default(), lines.clone());
        let guard = LogGuard(Arc::new(Mutex::new(Some(worker))));
        let config = LogConfig::default();
        tracing::subscriber::with_default(subscriber(&config, writer, None), || {
            for number in 0..100 {
                tracing::info!(number, "the last words");
            }
        });
        guard.flush();
        let bytes = lines.0.lock().expect("no test panics here").clone();
        let text = String::from_utf8(bytes).expect("logs are utf-8");
        assert_eq!(text.lines().count(), 100);
    }
}
