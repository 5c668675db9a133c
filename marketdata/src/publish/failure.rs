//! What happens to a publication that fails.

use std::time::Duration;

use bus::BusError;
use market_core::{Topic, subject};
use tracing::error;
use tracing::field::{DisplayValue, display};

/// Wait before a failed publication is tried again.
pub(super) const RETRY_AFTER: Duration = Duration::from_millis(100);

/// The topic of a message, where it has one, for the log.
pub(super) fn topic_field(subject: &str) -> Option<DisplayValue<Topic>> {
    subject::published_topic(subject).map(display)
}

/// A message that the bus will never accept is a fault of ours or of the configuration.
pub(super) fn log_refused(subject: &str, error: &BusError) {
    if !matches!(error, BusError::Closed) {
        let topic = topic_field(subject);
        error!(subject, topic, error = %error, "the bus refuses a message");
    }
}
