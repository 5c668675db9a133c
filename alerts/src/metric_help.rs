//! The help text of every metric of alerts.

use service::{MetricHelp, NameAndHelp};

const COUNTERS: &[NameAndHelp] = &[
    (
        "alerts_bars_total",
        "Bars of the journal, by what became of them: watched, unwatched, known, too_old, refused because there are too many symbols, ahead of the time at which the bus took them, unreadable",
    ),
    (
        "alerts_epochs_lifted_total",
        "Times that a rule got another epoch, because the bus had its alerts with a later one, or its own was more than a day ahead",
    ),
    (
        "alerts_http_requests_total",
        "Requests to the HTTP API, by status",
    ),
    (
        "alerts_messages_lost_total",
        "Messages that the bus kept no longer when they were to be read",
    ),
    (
        "alerts_publish_errors_total",
        "Failed attempts to put an alert on the bus; it is tried again",
    ),
    ("alerts_published_total", "Alerts that are on the bus"),
    (
        "alerts_quotes_total",
        "Quotes that rules on spreads could look at, by what became of them: watched, refused because there are too many symbols, unreadable",
    ),
    (
        "alerts_raised_total",
        "Alerts that rules raised, by type and level",
    ),
    (
        "alerts_store_errors_total",
        "Failed attempts to use the store; they are repeated",
    ),
    (
        "alerts_streams_anew_total",
        "Times that the stream of bars was another one than before, or was put back to an older copy",
    ),
    (
        "alerts_webhook_dropped_total",
        "Alerts that a webhook will not get, by reason: queue_full, too_old, refused for its content, attempts, removed",
    ),
    (
        "alerts_webhook_requests_total",
        "Requests to webhooks, by outcome: delivered, refused, failed",
    ),
];

const GAUGES: &[NameAndHelp] = &[
    ("alerts_bars", "Bars in memory"),
    (
        "alerts_lag_messages",
        "Messages of the stream of bars that were not read yet",
    ),
    ("alerts_rules", "Rules"),
    ("alerts_symbols", "Symbols that rules watch"),
    ("alerts_unpublished", "Alerts that are not on the bus yet"),
    (
        "alerts_watches_waiting",
        "Pairs of a rule and a symbol that were not looked at yet in this round, by type: stale, spread",
    ),
    (
        "alerts_webhook_waiting",
        "Alerts that wait for a webhook, by its number in the configuration",
    ),
];

const HISTOGRAMS: &[NameAndHelp] = &[(
    "alerts_commit_seconds",
    "Time of a transaction of the store",
)];

/// Describes all metrics.
pub(crate) fn describe() {
    service::describe_metrics(&MetricHelp {
        counters: COUNTERS,
        gauges: GAUGES,
        histograms: HISTOGRAMS,
    });
}
