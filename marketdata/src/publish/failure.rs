//! What happens to a publication that fails.

use std::time::Duration;

use bus::BusError;
use tracing::error;

/// Wait before a failed publication is tried again.
pub(super) const RETRY_AFTER: Duration = Duration::from_millis(100);

/// A message that the bus will never accept is a fault of ours or of the configuration.
pub(super) fn log_refused(subject: &str, error: &BusError) {
    if !matches!(error, BusError::Closed) {
        error!(subject, error = %error, "the bus refuses a message");
    }
}
