//! A tap: log lines for the program itself, which may pass them on.

use std::fmt::{self, Write};
use std::time::SystemTime;

use metrics::counter;
use serde_json::{Map, Value};
use tokio::sync::{Semaphore, mpsc};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::log_config::LogConfig;
use super::log_layer::{LogLayer, QUIET_LIBRARIES, filter};

/// Most bytes of the texts of one line; longer texts are cut.
const TEXT_BYTES_MAX: usize = 16 << 10;
/// What follows a text that was cut.
const CUT: &str = "…";

/// One event of the log.
#[derive(Clone, Debug, PartialEq)]
pub struct LogLine {
    /// When it was logged.
    pub time: SystemTime,
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub level: &'static str,
    /// The part of the program that logged it.
    pub target: &'static str,
    /// What happened.
    pub message: String,
    /// The figures and names that belong to it.
    pub fields: Map<String, Value>,
}

/// The lines that a program logs, as standard error has them, except those of libraries that carry
/// the lines: passing a line on must not make another line.
///
/// At most a number of lines wait; more are dropped, and counted in
/// `service_tapped_log_lines_dropped_total`.
#[derive(Debug)]
pub struct LogTap {
    lines: mpsc::Receiver<LogLine>,
}

impl LogTap {
    /// The next line. It comes at once, or when it is logged; none where nothing logs any more.
    pub async fn next(&mut self) -> Option<LogLine> {
        self.lines.recv().await
    }

    /// The next line, if one waits.
    pub fn next_waiting(&mut self) -> Option<LogLine> {
        self.lines.try_recv().ok()
    }
}

/// A tap with room for as many lines, and the layer that fills it.
pub(super) fn tap(config: &LogConfig, lines_max: usize) -> (LogLayer, LogTap) {
    let (sender, lines) = mpsc::channel(lines_max.clamp(1, Semaphore::MAX_PERMITS));
    let layer = TapLayer { sender }.with_filter(filter(&config.log_level));
    (layer.boxed(), LogTap { lines })
}

struct TapLayer {
    sender: mpsc::Sender<LogLine>,
}

impl<S: Subscriber> Layer<S> for TapLayer {
    #[expect(
        clippy::disallowed_methods,
        reason = "a line has the time of the wall clock, as on standard error"
    )]
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        if is_of_library(metadata.target()) {
            return;
        }
        // The place first: a line that finds none costs nothing more.
        let Ok(place) = self.sender.try_reserve() else {
            counter!("service_tapped_log_lines_dropped_total").increment(1);
            return;
        };
        let mut texts = Texts::default();
        event.record(&mut texts);
        place.send(LogLine {
            time: SystemTime::now(),
            level: level_name(*metadata.level()),
            target: metadata.target(),
            message: texts.message,
            fields: texts.fields,
        });
    }
}

fn is_of_library(target: &str) -> bool {
    let root = target.split("::").next().unwrap_or_default();
    QUIET_LIBRARIES.contains(&root)
}

fn level_name(level: tracing::Level) -> &'static str {
    match level {
        tracing::Level::ERROR => "error",
        tracing::Level::WARN => "warn",
        tracing::Level::INFO => "info",
        tracing::Level::DEBUG => "debug",
        tracing::Level::TRACE => "trace",
    }
}

/// Collects the fields of an event, up to a length.
#[derive(Default)]
struct Texts {
    message: String,
    fields: Map<String, Value>,
    used: usize,
}

impl Texts {
    fn add(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(text)) => self.message = text,
            (name, value) => drop(self.fields.insert(name.to_owned(), value)),
        }
    }

    fn add_text(&mut self, field: &Field, text: fmt::Arguments<'_>) {
        let mut cut = Cut {
            text: String::new(),
            room: TEXT_BYTES_MAX.saturating_sub(self.used),
        };
        let is_whole = cut.write_fmt(text).is_ok();
        self.used += cut.text.len();
        if !is_whole {
            cut.text.push_str(CUT);
        }
        self.add(field, Value::String(cut.text));
    }
}

impl Visit for Texts {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add_text(field, format_args!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add_text(field, format_args!("{value}"));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.add_text(field, format_args!("{value}"));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, value.into());
    }
}

/// A text that takes no more than it has room for, and then ends the writing.
struct Cut {
    text: String,
    room: usize,
}

impl Write for Cut {
    fn write_str(&mut self, piece: &str) -> fmt::Result {
        let room = self.room - self.text.len();
        if piece.len() <= room {
            self.text.push_str(piece);
            return Ok(());
        }
        let end = (0..=room)
            .rev()
            .find(|&end| piece.is_char_boundary(end))
            .unwrap_or(0);
        self.text.push_str(&piece[..end]);
        Err(fmt::Error)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tracing_subscriber::Registry;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    /// What a tap has of what `act` logs.
    fn tapped(level: &str, lines_max: usize, act: impl FnOnce()) -> Vec<LogLine> {
        let config = LogConfig {
            log_level: level.to_owned(),
            ..LogConfig::default()
        };
        let (layer, mut tap) = tap(&config, lines_max);
        tracing::subscriber::with_default(Registry::default().with(layer), act);
        std::iter::from_fn(|| tap.next_waiting()).collect()
    }

    #[test]
    fn a_tapped_line_has_its_level_its_message_and_its_fields_by_type() {
        let lines = tapped("info", 8, || {
            tracing::warn!(
                role = "read",
                count = 7,
                is_on = true,
                "a token permits too little"
            );
            tracing::debug!("below the level");
        });
        assert_eq!(lines.len(), 1, "{lines:?}");
        let line = &lines[0];
        assert_eq!(
            (line.level, line.message.as_str()),
            ("warn", "a token permits too little")
        );
        assert!(line.target.starts_with("service::"), "{line:?}");
        let fields = json!({"role": "read", "count": 7, "is_on": true});
        assert_eq!(Value::Object(line.fields.clone()), fields);
    }

    #[test]
    fn a_tap_that_nobody_reads_keeps_the_first_lines_and_counts_the_others() {
        let handle = crate::install_metrics();
        let dropped = || {
            let text = handle.render();
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix("service_tapped_log_lines_dropped_total "));
            line.map_or(0, |count| count.parse::<u64>().expect("a count"))
        };
        let before = dropped();
        let lines = tapped("info", 4, || {
            for number in 0..20 {
                tracing::info!(number, "nobody reads this");
            }
        });
        let numbers: Vec<_> = lines.iter().map(|line| &line.fields["number"]).collect();
        assert_eq!(numbers, [0, 1, 2, 3]);
        assert_eq!(dropped() - before, 16);
    }

    #[test]
    fn a_tap_leaves_out_the_libraries_that_carry_its_lines() {
        let lines = tapped("trace", 8, || {
            tracing::warn!(target: "async_nats", "event: slow consumer");
            tracing::trace!(target: "async_nats::connector", "a publication");
            tracing::trace!(target: "rustls::conn", "a record");
            tracing::warn!(target: "async_natsy", "a part of ours");
        });
        let targets: Vec<_> = lines.iter().map(|line| line.target).collect();
        assert_eq!(targets, ["async_natsy"]);
    }

    #[test]
    fn long_texts_of_a_tapped_line_are_cut_between_two_letters() {
        let long = "ü".repeat(TEXT_BYTES_MAX);
        let lines = tapped("info", 8, || {
            tracing::info!(first = %"a", long, again = ?long, number = 1, "a message");
        });
        let line = &lines[0];
        assert_eq!(line.message, "a message");
        let length = |name: &str| line.fields[name].as_str().map_or(0, str::len);
        let all = line.message.len() + length("first") + length("long") + length("again");
        assert!(all <= TEXT_BYTES_MAX + 3 * CUT.len(), "{all}");
        assert!(length("long") > TEXT_BYTES_MAX / 2);
        assert!(
            line.fields["long"]
                .as_str()
                .is_some_and(|text| text.ends_with("ü…"))
        );
        assert_eq!(line.fields["number"], 1);
    }
}
