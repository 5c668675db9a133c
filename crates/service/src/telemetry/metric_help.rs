//! The help texts of a program's metrics, as tables.

use metrics::{describe_counter, describe_gauge, describe_histogram};

/// The name of a metric, and its text in `/metrics`.
pub type NameAndHelp = (&'static str, &'static str);

/// The metrics of one program, by kind.
#[derive(Clone, Copy, Debug)]
pub struct MetricHelp {
    /// Metrics that only rise.
    pub counters: &'static [NameAndHelp],
    /// Metrics that rise and fall.
    pub gauges: &'static [NameAndHelp],
    /// Metrics that count how often values of each size occurred.
    pub histograms: &'static [NameAndHelp],
}

/// Describes metrics. Call it after [`install_metrics`](crate::install_metrics): earlier help texts
/// are lost.
pub fn describe_metrics(help: &MetricHelp) {
    for &(name, text) in help.counters {
        describe_counter!(name, text);
    }
    for &(name, text) in help.gauges {
        describe_gauge!(name, text);
    }
    for &(name, text) in help.histograms {
        describe_histogram!(name, text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_metric_shows_its_help_text() {
        let handle = crate::install_metrics();
        describe_metrics(&MetricHelp {
            counters: &[("service_help_total", "What was counted")],
            gauges: &[("service_help", "What there is now")],
            histograms: &[("service_help_seconds", "How long it took")],
        });
        metrics::counter!("service_help_total").increment(1);
        metrics::gauge!("service_help").set(1.0);
        metrics::histogram!("service_help_seconds").record(1.0);
        let page = handle.render();
        for line in [
            "# HELP service_help_total What was counted",
            "# TYPE service_help_total counter",
            "# HELP service_help What there is now",
            "# TYPE service_help gauge",
            "# HELP service_help_seconds How long it took",
            "# TYPE service_help_seconds histogram",
        ] {
            assert!(page.lines().any(|shown| shown == line), "{line}: {page}");
        }
    }
}
