//! Puts alerts on the bus, in their order, each once.
//!
//! An alert is published under the condition that the subject's last message is still the one that
//! was looked at. If that one is the alert itself or a later one, an earlier attempt has stored it, and
//! its answer was lost. So no number of restarts and outages makes a second one.

use std::sync::Arc;
use std::time::Duration;

use bus::{Append, Bus, BusError, Expected};
use market_core::subject;
use market_core::wire::AlertMessage;
use metrics::counter;
use service::Shutdown;
use tokio::sync::Notify;
use tracing::warn;

use crate::error::Error;
use crate::store::{Store, StoreError};

/// Pause after a failure, and longest pause between two looks at the store.
const RETRY_AFTER: Duration = Duration::from_millis(500);

#[derive(Debug, thiserror::Error)]
enum PublishError {
    #[error("{0}")]
    Bus(#[from] BusError),
    #[error("{0}")]
    Store(#[from] StoreError),
}

/// Publishes until the shutdown.
///
/// # Errors
/// If the bus will never take an alert, or was drained.
pub(crate) async fn run(
    bus: Arc<dyn Bus>,
    store: Store,
    raised: Arc<Notify>,
    shutdown: Shutdown,
) -> Result<(), Error> {
    let mut failures = 0_u32;
    while !shutdown.is_triggered() {
        let told = raised.notified();
        match publish_next(&*bus, &store).await {
            Ok(true) => {
                failures = 0;
                continue;
            }
            Ok(false) => failures = 0,
            Err(PublishError::Bus(_)) if shutdown.is_triggered() => return Ok(()),
            Err(PublishError::Bus(error))
                if !error.is_retryable() && !matches!(error, BusError::NotAsExpected { .. }) =>
            {
                return Err(error.into());
            }
            Err(error) => {
                failures = failures.saturating_add(1);
                counter!("alerts_publish_errors_total").increment(1);
                if failures.is_power_of_two() {
                    warn!(%error, failures, "an alert is not on the bus yet, trying again");
                }
            }
        }
        tokio::select! {
            () = told, if failures == 0 => {}
            () = tokio::time::sleep(RETRY_AFTER) => {}
            () = shutdown.triggered() => {}
        }
    }
    Ok(())
}

/// False if no alert waits.
async fn publish_next(bus: &dyn Bus, store: &Store) -> Result<bool, PublishError> {
    let Some(queued) = store.run(Store::unpublished).await? else {
        return Ok(false);
    };
    let alert = &queued.alert;
    let own = subject::alerts(&alert.rule, &alert.symbol);
    put(bus, own, alert).await?;
    let system = subject::system_alert(&alert.level, &alert.kind);
    put(bus, system, &alert.for_system()).await?;
    store.run(move |store| store.published(queued.id)).await?;
    counter!("alerts_published_total").increment(1);
    Ok(true)
}

async fn put(bus: &dyn Bus, subject: String, alert: &AlertMessage) -> Result<(), BusError> {
    let last = bus.streams().last(&subject).await?;
    let known = last
        .as_ref()
        .and_then(|last| AlertMessage::read(&last.payload));
    let is_there = known.is_some_and(|known| {
        known.rule == alert.rule
            && known.symbol == alert.symbol
            && (known.epoch, known.seq) >= (alert.epoch, alert.seq)
    });
    if is_there {
        return Ok(());
    }
    let at = last.and_then(|last| last.position);
    let append = Append {
        message_id: Some(format!("{}/{}", alert.topic, alert.id())),
        expected: Some(Expected::LastOfSubject(at.map_or(0, |at| at.sequence))),
        ..Append::new(subject, alert.encode())
    };
    bus.streams().append(append).await.map(|_| ())
}
