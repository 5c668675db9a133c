//! The outcomes of the messages from the bus, for the metrics.

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use crate::topics::publication::Refusal;

pub(super) struct Outcomes {
    pub(super) taken: Counter,
    pub(super) duplicate: Counter,
    pub(super) stale: Counter,
    pub(super) unknown: Counter,
    pub(super) full: Counter,
    pub(super) conflated: Counter,
    pub(super) missed: Counter,
    pub(super) late: Counter,
    pub(super) bar_age: Histogram,
    pub(super) resync_seconds: Histogram,
    pub(super) resync_failures: Counter,
    pub(super) unsynced: Gauge,
}

pub(super) fn outcome(outcome: &'static str) -> Counter {
    counter!("gateway_ingest_messages_total", "outcome" => outcome)
}

impl Outcomes {
    pub(super) fn new() -> Self {
        for refusal in [
            Refusal::TooLong,
            Refusal::Malformed,
            Refusal::Misplaced,
            Refusal::Implausible,
            Refusal::Ahead,
        ] {
            // Seen at 0 before the first.
            outcome(refusal.label()).increment(0);
        }
        Self {
            taken: outcome("taken"),
            duplicate: outcome("duplicate"),
            stale: outcome("stale"),
            unknown: outcome("unknown_subject"),
            full: outcome("topics_max"),
            conflated: counter!("gateway_conflated_forming_total"),
            missed: counter!("gateway_missed_closed_bars_total"),
            late: counter!("gateway_late_closed_bars_total"),
            bar_age: histogram!("gateway_bar_age_seconds"),
            resync_seconds: histogram!("gateway_resync_seconds"),
            resync_failures: counter!("gateway_resync_failures_total"),
            unsynced: gauge!("gateway_unsynced_patterns"),
        }
    }
}
