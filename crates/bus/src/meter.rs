//! The bus's metrics, by name in one place.

use std::sync::OnceLock;
use std::time::Duration;

use metrics::{
    Counter, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};

/// Where a message was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LostReason {
    /// One subscriber did not receive fast enough.
    SubscriberQueue,
    /// The process did not read the connection fast enough.
    ClientQueue,
    /// Delivered, but not retained, because the retained values are at their bound.
    RetentionFull,
}

impl LostReason {
    fn label(self) -> &'static str {
        match self {
            LostReason::SubscriberQueue => "subscriber_queue",
            LostReason::ClientQueue => "client_queue",
            LostReason::RetentionFull => "retention_full",
        }
    }
}

/// Counts publications. It looks its counter up at the first one, when the recorder is installed.
#[derive(Default)]
pub(crate) struct PublishMeter(OnceLock<Counter>);

impl PublishMeter {
    pub(crate) fn published(&self) {
        self.0
            .get_or_init(|| counter!("bus_published_total"))
            .increment(1);
    }
}

pub(crate) fn stored(took: Duration) {
    histogram!("bus_publish_seconds").record(took.as_secs_f64());
}

pub(crate) fn lost(reason: LostReason, count: u64) {
    counter!("bus_messages_lost_total", "reason" => reason.label()).increment(count);
}

pub(crate) fn reconnected_times(count: u64) {
    counter!("bus_reconnects_total").increment(count);
}

pub(crate) fn question_refused() {
    counter!("bus_questions_refused_total").increment(1);
}

pub(crate) fn redelivered() {
    counter!("bus_redeliveries_total").increment(1);
}

pub(crate) fn streams_created(count: u64) {
    counter!("bus_streams_created_total").increment(count);
}

/// Describes the metrics. Call it after the recorder is installed.
pub(crate) fn describe() {
    describe_counter!(
        "bus_published_total",
        "Messages published on the bus or stored by it"
    );
    describe_histogram!(
        "bus_publish_seconds",
        "Time until a durable publication was stored"
    );
    describe_counter!(
        "bus_messages_lost_total",
        "Messages lost on the way to a subscriber, by reason"
    );
    describe_counter!(
        "bus_questions_refused_total",
        "Questions refused because too many waited"
    );
    describe_counter!(
        "bus_redeliveries_total",
        "Messages given out again because nobody acknowledged them"
    );
    describe_counter!("bus_reconnects_total", "Reconnects to the bus");
    describe_counter!(
        "bus_streams_created_total",
        "Streams that disappeared while the program was connected and were created again"
    );
    describe_gauge!("bus_connected", "1 while the bus is connected, 0 while not");
}

pub(crate) fn connected(is_connected: bool) {
    gauge!("bus_connected").set(if is_connected { 1.0 } else { 0.0 });
}
