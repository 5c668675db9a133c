//! The help text of every metric of history.

use service::{MetricHelp, NameAndHelp};

const COUNTERS: &[NameAndHelp] = &[
    (
        "history_latest_lost_total",
        "Newest bars that were lost because they came faster than they were taken; the next ones replace them",
    ),
    (
        "history_latest_refused_total",
        "Newest bars of series beyond the bound of series",
    ),
    (
        "history_messages_unreadable_total",
        "Messages that are no bars or trades, and were skipped",
    ),
];

const GAUGES: &[NameAndHelp] = &[
    (
        "history_latest_series",
        "Series whose newest bars are remembered",
    ),
    ("history_series", "Series of bars that are stored"),
];

/// Describes all metrics of history.
pub(crate) fn describe() {
    service::describe_metrics(&MetricHelp {
        counters: COUNTERS,
        gauges: GAUGES,
        histograms: &[],
    });
}
