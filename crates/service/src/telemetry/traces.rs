//! Traces: a line for each span of a stage that ends, with the time that it took.

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::{EnvFilter, FilterExt, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::FmtSpan;
use tracing_subscriber::{Layer, fmt};

use super::log_config::{LogConfig, LogFormat, is_coloured};
use super::log_layer::LogLayer;

/// The layer that `--log-spans` asks for, if it does.
///
/// Without it no span is enabled that the log level does not enable, and a span then costs its
/// place in the code one comparison.
pub(super) fn layer<W>(config: &LogConfig, writer: W) -> Option<LogLayer>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let directives = config.log_spans.as_deref()?;
    // A value that was put into the config by hand may be anything: no spans rather than failing.
    let chosen = EnvFilter::try_new(directives).ok()?;
    let spans = filter_fn(|metadata| metadata.is_span()).with_max_level_hint(LevelFilter::TRACE);
    let layer = fmt::layer()
        .with_writer(writer)
        .with_span_events(FmtSpan::CLOSE);
    Some(match config.log_format {
        LogFormat::Human => {
            let layer = layer.with_ansi(is_coloured());
            layer.with_filter(spans.and(chosen)).boxed()
        }
        LogFormat::Json => {
            let layer = layer.json().flatten_event(true);
            layer.with_filter(spans.and(chosen)).boxed()
        }
    })
}

#[cfg(test)]
mod tests {
    use crate::telemetry::logs::tests::logged;
    use crate::{LogConfig, LogFormat};

    fn spans(directives: &str) -> LogConfig {
        LogConfig {
            log_format: LogFormat::Json,
            log_spans: Some(directives.to_owned()),
            ..LogConfig::default()
        }
    }

    fn stage() {
        let _stage = tracing::trace_span!("decode", exchange = "binance").entered();
        tracing::debug!("a detail");
    }

    #[test]
    fn a_stage_that_ends_tells_its_time_where_spans_are_asked_for() {
        let text = logged(&spans("service=trace"), stage);
        let lines: Vec<&str> = text.lines().collect();
        // The events within it are the log's, which takes none below info.
        assert_eq!(lines.len(), 1, "{text}");
        for part in [
            r#""message":"close""#,
            r#""time.busy":""#,
            r#""name":"decode""#,
            r#""exchange":"binance""#,
        ] {
            assert!(lines[0].contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn spans_of_other_parts_are_silent() {
        assert_eq!(logged(&spans("marketdata=trace"), stage), "");
        assert_eq!(logged(&LogConfig::default(), stage), "");
    }
}
