//! Of the bridges of one name, one writes to Kafka: who holds the lease on the bus.
//!
//! The lease keeps two bridges from writing the same live values. Streams are safe without it: who
//! writes under a name in Kafka fences off who did before.

use std::sync::Arc;
use std::time::Duration;

use bus::{Bus, BusError, Claim, Lease, LeaseEvent, LeaseKey, Renewal};
use rand::Rng as _;
use service::Shutdown;
use tokio::sync::watch;
use tracing::{info, warn};

use crate::error::Error;
use crate::stop::Term;

/// Beats in the time after which another one takes over.
const BEATS: u32 = 5;

/// Takes the lease, and keeps it.
pub(crate) struct Leader {
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) site: String,
    pub(crate) takeover: Duration,
    pub(crate) term: watch::Sender<Term>,
    pub(crate) shutdown: Shutdown,
}

impl Leader {
    /// Runs until the shutdown.
    ///
    /// # Errors
    /// If the bus can never have the lease.
    pub(crate) async fn run(self) -> Result<(), Error> {
        let name = format!("bridge-{:016x}", rand::rng().random::<u64>());
        let key = LeaseKey {
            subject: market_core::subject::bridge_lease(&self.site),
            beat_subject: market_core::subject::bridge_beat(&self.site),
        };
        while !self.shutdown.is_triggered() {
            let outcome = self.turn(&key, &name).await;
            self.term.send_replace(None);
            match outcome {
                Ok(()) => {}
                Err(_) if self.shutdown.is_triggered() => return Ok(()),
                Err(error) if error.is_retryable() => {
                    warn!(%error, "the lease of the bridges cannot be looked at now, trying again");
                }
                Err(error) => return Err(error.into()),
            }
            tokio::select! {
                () = tokio::time::sleep(self.takeover / BEATS) => {}
                () = self.shutdown.triggered() => {}
            }
        }
        Ok(())
    }

    /// Waits for the lease, has it, and returns when it is lost.
    async fn turn(&self, key: &LeaseKey, name: &str) -> Result<(), BusError> {
        let mut watch = key.watch(&self.bus).await?;
        while watch
            .holding()
            .is_some_and(|holding| holding.holder.is_some())
        {
            tokio::select! {
                event = tokio::time::timeout(self.takeover, watch.next()) => match event {
                    Ok(Ok(LeaseEvent::Beat | LeaseEvent::Changed(_))) => {}
                    Ok(Err(error)) => return Err(error),
                    Err(_) => break,
                },
                () = self.shutdown.triggered() => return Ok(()),
            }
        }
        match key.take(&self.bus, name, watch.holding(), 1).await? {
            Claim::Taken(lease) => self.hold(lease).await,
            Claim::Lost(_) => Ok(()),
        }
    }

    async fn hold(&self, lease: Lease) -> Result<(), BusError> {
        info!(number = lease.number(), "this bridge writes to kafka");
        self.term.send_replace(Some(lease.number()));
        let mut unknown: u32 = 0;
        loop {
            tokio::select! {
                () = tokio::time::sleep(self.takeover / BEATS) => {}
                () = self.shutdown.triggered() => {
                    // So that another one need not wait.
                    let _ = tokio::time::timeout(Duration::from_millis(500), lease.release()).await;
                    return Ok(());
                }
            }
            match lease.renew().await {
                Renewal::Held => unknown = 0,
                Renewal::Lost(holding) => {
                    let holder = holding.and_then(|holding| holding.holder);
                    warn!(?holder, "another bridge writes to kafka now");
                    return Ok(());
                }
                // Another one may have heard nothing for as long.
                Renewal::Unknown(error) if unknown >= BEATS - 1 => {
                    warn!(%error, "the lease of the bridges was not answered for too long");
                    return Ok(());
                }
                Renewal::Unknown(_) => unknown = unknown.saturating_add(1),
            }
        }
    }
}
