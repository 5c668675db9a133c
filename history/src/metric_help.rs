//! The help text of every metric of history.

use service::{MetricHelp, NameAndHelp};

const COUNTERS: &[NameAndHelp] = &[
    (
        "history_commits_total",
        "Transactions with rows of the bus, by kind of rows",
    ),
    (
        "history_latest_lost_total",
        "Newest bars that were lost because they came faster than they were taken; the next ones replace them",
    ),
    (
        "history_latest_refused_total",
        "Newest bars of series beyond the bound of series",
    ),
    (
        "history_messages_lost_total",
        "Messages that the bus kept no longer when they were to be stored, by stream",
    ),
    (
        "history_messages_unreadable_total",
        "Messages that are no bars or trades, and were skipped",
    ),
    (
        "history_rows_refused_total",
        "Rows that no store can hold, and were skipped, by kind of rows",
    ),
    (
        "history_rows_total",
        "Rows of the bus that were stored, repeated ones included, by kind of rows",
    ),
    (
        "history_store_errors_total",
        "Times that the store did not take rows, which were kept and tried again, by kind of rows",
    ),
    (
        "history_streams_created_anew_total",
        "Times that the bus had another stream than the one that was stored last",
    ),
];

const GAUGES: &[NameAndHelp] = &[
    (
        "history_lag_messages",
        "Messages of the bus that are not stored yet, by stream",
    ),
    (
        "history_lag_seconds",
        "Age of the newest stored message while older ones than the newest are stored, by stream",
    ),
    (
        "history_latest_series",
        "Series whose newest bars are remembered",
    ),
    ("history_series", "Series of bars that are stored"),
];

const HISTOGRAMS: &[NameAndHelp] = &[(
    "history_commit_seconds",
    "Time until the rows of a page of the bus were on disk, by kind of rows",
)];

/// Describes all metrics of history.
pub(crate) fn describe() {
    service::describe_metrics(&MetricHelp {
        counters: COUNTERS,
        gauges: GAUGES,
        histograms: HISTOGRAMS,
    });
}
