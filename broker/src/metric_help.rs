//! The help text of every metric of the broker.

use service::{MetricHelp, NameAndHelp, describe_metrics};

const COUNTERS: &[NameAndHelp] = &[
    (
        "broker_events_lost_total",
        "Events of the broker that could not be published",
    ),
    (
        "broker_http_requests_total",
        "Requests, by route and status",
    ),
    (
        "broker_log_lines_lost_total",
        "Log lines that were not published, by reason: rate, too_long or refused",
    ),
    ("broker_log_lines_published_total", "Log lines published"),
    (
        "broker_nats_hangs_total",
        "Times that nats-server was killed because it answered nothing",
    ),
    (
        "broker_nats_restarts_total",
        "Times that nats-server was started again",
    ),
    (
        "broker_publish_failures_total",
        "Publications over HTTP that nats-server did not take",
    ),
    ("broker_published_total", "Messages published over HTTP"),
    (
        "broker_stream_changes_total",
        "Streams created, updated, purged or deleted, by action",
    ),
    (
        "broker_unmetered_addresses_total",
        "Requests that were let through because the memory for addresses was full",
    ),
];

const GAUGES: &[NameAndHelp] = &[(
    "broker_nats_running",
    "1 while the supervised nats-server answers",
)];

const HISTOGRAMS: &[NameAndHelp] = &[(
    "broker_http_request_seconds",
    "Time to answer a request, by route",
)];

/// Describes them; call it after the recorder is installed.
pub(crate) fn describe() {
    describe_metrics(&MetricHelp {
        counters: COUNTERS,
        gauges: GAUGES,
        histograms: HISTOGRAMS,
    });
}
