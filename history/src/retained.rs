//! Follows the newest values of subjects: what the bus retains, and what it carries from then on.

use std::time::Duration;

use bus::{Bus, BusError, Delivery, Message};
use service::Shutdown;
use tracing::warn;

/// Pause after the bus could not do what was asked.
const BUS_REST: Duration = Duration::from_millis(500);

/// Who takes newest values.
pub(crate) trait NewestValues {
    /// One that the bus retains, or has delivered. It may come again.
    fn take(&self, message: &Message);

    /// So many were not delivered. What the bus retains comes next.
    fn lost(&self, count: u64);
}

/// Gives `values` the messages of the subjects of `pattern` until the shutdown. Where the retained ones
/// cannot be read, the next messages will do.
///
/// # Errors
/// If the bus will never accept the subscription.
pub(crate) async fn follow(
    values: &impl NewestValues,
    bus: &dyn Bus,
    pattern: &str,
    shutdown: Shutdown,
) -> Result<(), BusError> {
    let work = async {
        loop {
            let mut subscription = match bus.subscribe(pattern).await {
                Ok(subscription) => subscription,
                Err(error) if error.is_retryable() => {
                    tokio::time::sleep(BUS_REST).await;
                    continue;
                }
                Err(error) => return Err(error),
            };
            load(values, bus, pattern).await;
            while let Some(delivery) = subscription.recv().await {
                match delivery {
                    Delivery::Message(message) => values.take(&message),
                    Delivery::Lagged { lost } => {
                        values.lost(lost);
                        load(values, bus, pattern).await;
                    }
                    Delivery::Reconnected => load(values, bus, pattern).await,
                }
            }
            return Err(BusError::Closed);
        }
    };
    tokio::select! {
        result = work => result,
        () = shutdown.triggered() => Ok(()),
    }
}

async fn load(values: &impl NewestValues, bus: &dyn Bus, pattern: &str) {
    match bus.last_values(pattern).await {
        Ok(retained) => retained.iter().for_each(|message| values.take(message)),
        Err(error) => warn!(%error, pattern, "the newest values cannot be read from the bus"),
    }
}
