//! The help text of every metric of the bridge.

use service::{MetricHelp, NameAndHelp};

const COUNTERS: &[NameAndHelp] = &[
    (
        "bridge_errors_total",
        "Failed attempts to read or write, by topic and side: bus, kafka; they are repeated",
    ),
    (
        "bridge_in_records_total",
        "Records of Kafka, by what became of them: published; own, which this fleet wrote; set aside because they are unreadable, too_long, ahead of the clock, too_many symbols, of a symbol that is owned by marketdata or another exchange, or in a batch that is undecodable",
    ),
    (
        "bridge_messages_total",
        "Messages to Kafka by topic and what became of them: written; from_kafka, which do not go back; conflated, replaced by a newer value; dropped, pushed out or given up at the end of a lease; lost on the bus; set aside because they are too_long or refused by Kafka",
    ),
    (
        "bridge_streams_anew_total",
        "Times that the stream of a topic was another one than before",
    ),
];

const GAUGES: &[NameAndHelp] = &[
    (
        "bridge_in_lag_records",
        "Records of Kafka that were not read yet, of the partitions of this bridge",
    ),
    (
        "bridge_lag_messages",
        "Messages of the stream of a topic that are not in Kafka yet",
    ),
    (
        "bridge_lag_seconds",
        "Age of the oldest message of a topic that is not in Kafka yet, when it was read last",
    ),
    (
        "bridge_pending",
        "Live messages of a topic that wait for Kafka",
    ),
    (
        "bridge_symbols_claimed",
        "Symbols on the bus that an exchange of Kafka has, as far as this bridge knows: at most --bridge-series-max",
    ),
];

const HISTOGRAMS: &[NameAndHelp] = &[(
    "bridge_write_seconds",
    "Time of a write of a batch to Kafka, until it is acknowledged",
)];

/// Describes all metrics.
pub(crate) fn describe() {
    service::describe_metrics(&MetricHelp {
        counters: COUNTERS,
        gauges: GAUGES,
        histograms: HISTOGRAMS,
    });
}
