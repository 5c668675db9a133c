//! The process-wide metrics recorder and its text.

use std::sync::OnceLock;
use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing::error;

use super::{logs, process};

/// Upper bounds of the histogram buckets of metrics named `*_seconds`: 100 µs to 10 s.
const SECONDS_BUCKETS: [f64; 16] = [
    0.0001, 0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0,
];

/// How often histogram samples are folded into their buckets if there is no scrape.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

static INSTALLED: OnceLock<MetricsHandle> = OnceLock::new();

/// Returns the text of every metric of the process.
#[derive(Clone)]
pub struct MetricsHandle {
    prometheus: PrometheusHandle,
}

impl MetricsHandle {
    /// All metrics in the Prometheus text format, with the process's own (`process_*`) at the end.
    pub fn render(&self) -> String {
        metrics::counter!("service_log_lines_dropped_total").absolute(logs::lines_dropped());
        let mut text = self.prometheus.render();
        process::append_metrics(&mut text);
        text
    }
}

impl std::fmt::Debug for MetricsHandle {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("MetricsHandle")
    }
}

/// Installs the recorder behind the `metrics` macros, once for the process; a further call
/// returns the same handle. Call it before building anything that reports metrics.
///
/// # Panics
/// If the operating system cannot start the upkeep thread.
pub fn install_metrics() -> MetricsHandle {
    INSTALLED.get_or_init(install).clone()
}

#[expect(
    clippy::disallowed_methods,
    reason = "the upkeep has a thread of its own"
)]
fn install() -> MetricsHandle {
    let recorder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS_BUCKETS)
        .expect("the bucket list is not empty")
        .build_recorder();
    let prometheus = recorder.handle();
    if metrics::set_global_recorder(recorder).is_err() {
        error!("another metrics recorder is installed, so this program's metrics are empty");
    }
    metrics::describe_gauge!(
        "service_http_connections",
        "Open connections of the program's HTTP listeners, by listener"
    );
    metrics::describe_counter!(
        "service_log_lines_dropped_total",
        "Log lines that were dropped because standard error was not read"
    );
    metrics::describe_gauge!(
        "service_ready",
        "1 while every condition of /readyz is met, 0 while not, also while the program drains"
    );
    metrics::describe_counter!(
        "service_spans_dropped_total",
        "Spans that did not reach the collector, by reason: queue_full, not_sent, refused, or end if they waited when the program ended"
    );
    metrics::describe_counter!(
        "service_spans_sent_total",
        "Spans that the collector of --otlp-endpoint took"
    );
    metrics::describe_counter!(
        "service_tapped_log_lines_dropped_total",
        "Log lines that were not passed on because too many waited"
    );
    let upkeep = prometheus.clone();
    // It lives as long as the recorder, which is as long as the process: it is never joined.
    std::thread::Builder::new()
        .name("metrics-upkeep".to_owned())
        .spawn(move || {
            loop {
                std::thread::sleep(UPKEEP_INTERVAL);
                upkeep.run_upkeep();
            }
        })
        .expect("a thread can be started");
    MetricsHandle { prometheus }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn second_install_returns_the_same_recorder() {
        let first = install_metrics();
        let second = install_metrics();
        metrics::counter!("service_install_total").increment(1);
        assert!(first.render().contains("service_install_total 1"));
        assert!(second.render().contains("service_install_total 1"));
    }

    #[test]
    fn seconds_are_histograms_with_fixed_buckets() {
        let handle = install_metrics();
        metrics::histogram!("service_test_seconds").record(0.0002);
        let text = handle.render();
        assert!(
            text.contains(r#"service_test_seconds_bucket{le="0.0001"} 0"#),
            "{text}"
        );
        assert!(
            text.contains(r#"service_test_seconds_bucket{le="0.00025"} 1"#),
            "{text}"
        );
        assert!(
            text.contains(r#"service_test_seconds_bucket{le="10"} 1"#),
            "{text}"
        );
    }
}
