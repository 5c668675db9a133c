//! Puts alerts on the bus, in their order, each once.
//!
//! An alert is published under the condition that the subject's last message is still the one that
//! was looked at. If that one is the alert itself or a later one of its epoch, an earlier attempt has
//! stored it, and its answer was lost. So no number of restarts and outages makes a second one. If that
//! one has a later epoch, this program did not send it: the alert gets an epoch above it. Gateways
//! refuse epochs that are more than a day ahead, so such an epoch is not believed here, either.

use std::sync::Arc;
use std::time::Duration;

use bus::{Append, Bus, BusError, Expected, Message};
use market_core::subject;
use market_core::wire::AlertMessage;
use metrics::counter;
use service::Shutdown;
use tokio::sync::{Notify, mpsc, oneshot};
use tracing::{error, warn};

use crate::command::Command;
use crate::error::Error;
use crate::reader::epoch_latest;
use crate::store::{Store, StoreError};

/// Pause after a failure, and longest pause between two looks at the store.
const RETRY_AFTER: Duration = Duration::from_millis(500);

#[derive(Debug, thiserror::Error)]
enum PublishError {
    #[error("{0}")]
    Bus(#[from] BusError),
    #[error("{0}")]
    Store(#[from] StoreError),
    #[error("its rule has no later epoch yet")]
    NotLifted,
}

/// How an alert stands to the last message of its subject.
enum Standing {
    /// It is to be the next one.
    Next,
    /// It is on the bus.
    There,
    /// The bus has an alert of a later epoch.
    Behind(u64),
}

/// Publishes until the shutdown.
///
/// # Errors
/// If the bus will never take an alert, or was drained.
pub(crate) async fn run(
    bus: Arc<dyn Bus>,
    store: Store,
    commands: mpsc::Sender<Command>,
    raised: Arc<Notify>,
    shutdown: Shutdown,
) -> Result<(), Error> {
    let mut failures = 0_u32;
    while !shutdown.is_triggered() {
        let told = raised.notified();
        match publish_next(&*bus, &store, &commands).await {
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
async fn publish_next(
    bus: &dyn Bus,
    store: &Store,
    commands: &mpsc::Sender<Command>,
) -> Result<bool, PublishError> {
    let Some(queued) = store.run(Store::unpublished).await? else {
        return Ok(false);
    };
    let alert = &queued.alert;
    if alert.epoch > epoch_latest() {
        counter!("alerts_epochs_lifted_total").increment(1);
        error!(
            alert = alert.id(),
            "the epoch of a rule is more than a day ahead of this host's clock, and gateways would refuse its alerts: they get a new epoch. Look at the clock of this host"
        );
        lift(&alert.rule, 0, commands).await?;
        return Ok(true);
    }
    let own = subject::alerts(&alert.rule, &alert.symbol);
    match look(bus, &own, alert).await? {
        (_, Standing::There) => {}
        (last, Standing::Next) => put(bus, own, alert, last).await?,
        (_, Standing::Behind(above)) => {
            counter!("alerts_epochs_lifted_total").increment(1);
            error!(
                alert = alert.id(),
                epoch = above,
                "the bus has alerts of this rule with a later epoch: its alerts go on with an epoch above it. Run only one alerts for a rule, with its own --data-dir, and look at the clocks of the hosts"
            );
            lift(&alert.rule, above, commands).await?;
            return Ok(true);
        }
    }
    let (system, status) = (
        subject::system_alert(&alert.level, &alert.kind),
        alert.for_system(),
    );
    let (last, standing) = look(bus, &system, &status).await?;
    if !matches!(standing, Standing::There) {
        put(bus, system, &status, last).await?;
    }
    store.run(move |store| store.published(queued.id)).await?;
    counter!("alerts_published_total").increment(1);
    Ok(true)
}

async fn lift(
    rule: &str,
    above: u64,
    commands: &mpsc::Sender<Command>,
) -> Result<(), PublishError> {
    let rule = rule.parse().map_err(|_| PublishError::NotLifted)?;
    let (done, told) = oneshot::channel();
    let command = Command::Lift { rule, above, done };
    let asked = commands.send(command).await;
    asked.map_err(|_| PublishError::NotLifted)?;
    told.await.map_err(|_| PublishError::NotLifted)
}

/// The last message of the subject of an alert, and what it says of the alert.
async fn look(
    bus: &dyn Bus,
    subject: &str,
    alert: &AlertMessage,
) -> Result<(Option<Message>, Standing), BusError> {
    let last = bus.streams().last(subject).await?;
    let known = last
        .as_ref()
        .and_then(|last| AlertMessage::read(&last.payload))
        .filter(|known| known.rule == alert.rule && known.symbol == alert.symbol)
        // No gateway takes one that is later, so no client knows it.
        .filter(|known| known.epoch < epoch_latest());
    let standing = match known {
        Some(known) if known.epoch > alert.epoch => Standing::Behind(known.epoch),
        Some(known) if known.epoch == alert.epoch && known.seq >= alert.seq => Standing::There,
        _ => Standing::Next,
    };
    Ok((last, standing))
}

async fn put(
    bus: &dyn Bus,
    subject: String,
    alert: &AlertMessage,
    last: Option<Message>,
) -> Result<(), BusError> {
    let at = last.and_then(|last| last.position);
    let append = Append {
        message_id: Some(format!("{}/{}", alert.topic, alert.id())),
        expected: Some(Expected::LastOfSubject(at.map_or(0, |at| at.sequence))),
        ..Append::new(subject, alert.encode())
    };
    bus.streams().append(append).await.map(|_| ())
}
