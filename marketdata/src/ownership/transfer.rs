//! The work of an assignment and of a revocation.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bus::{Bus, BusError};
use market_core::{PipelineConfig, subject};
use service::Shutdown;
use tokio::sync::oneshot;
use tracing::{info, warn};

use crate::assignment::Assignment;
use crate::feed::symbols::SymbolBoard;
use crate::host_clock::now_ms;
use crate::inbox::{Inbox, Input};
use crate::instrument::{Instrument, InstrumentId};
use crate::presence::{Epoch, first_epoch};
use crate::publish::boundary::{Boundaries, position_subject};
use crate::publish::durable::{Item, Lane};
use crate::publish::outbox::Outbox;
use crate::recovery;

/// Pause before the epoch is stored again.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// The parts of the program that an instrument needs.
pub(crate) struct Transfer {
    pub(crate) instruments: Arc<[Instrument]>,
    pub(crate) pipeline: PipelineConfig,
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) board: Arc<SymbolBoard>,
    pub(crate) boundaries: Arc<Boundaries>,
    pub(crate) epoch: Arc<Epoch>,
    /// By instrument: its worker.
    pub(crate) inboxes: Arc<[Inbox]>,
    /// By instrument: its worker's.
    pub(crate) outboxes: Vec<Arc<Outbox>>,
    /// Keeps checkpoints that cannot be used.
    pub(crate) lane: Arc<Lane>,
    pub(crate) shutdown: Shutdown,
}

impl Transfer {
    /// Takes these instruments over, each under its number, and waits for a bus that is away.
    ///
    /// # Errors
    /// What the bus says if it will never answer: nothing was taken over.
    pub(crate) async fn assign(&self, numbered: &[(InstrumentId, u64)]) -> Result<(), BusError> {
        if numbered.is_empty() {
            return Ok(());
        }
        let mut assignments = Vec::new();
        for &(id, number) in numbered {
            let instrument = &self.instruments[id];
            let checkpoints = self.checkpoints(instrument).await?;
            let restored = recovery::pipeline(instrument, &self.pipeline, &checkpoints);
            if let Some((subject, payload)) = restored.refused {
                let subject = subject.into();
                self.lane.set_checkpoint(Item { subject, payload });
            }
            assignments.push(Assignment {
                id,
                number,
                instrument: instrument.clone(),
                pipeline: restored.pipeline,
            });
        }
        // Readers refuse what has a lower epoch than they have seen.
        self.take_epoch().await?;
        // The workers first: sockets may bring trades at once.
        for assignment in assignments {
            let inbox = &self.inboxes[assignment.id];
            inbox.send(Input::Assign(Box::new(assignment))).await;
        }
        self.board.assign(numbered);
        self.keep_position();
        info!(
            instruments = numbered.len(),
            epoch = self.epoch.get(),
            "instruments assigned"
        );
        Ok(())
    }

    /// Hands these instruments on. Their last bars and their states are stored when this completes.
    pub(crate) async fn revoke(&self, ids: &[InstrumentId]) {
        if ids.is_empty() {
            return;
        }
        // The sockets first: no more trades are wanted.
        self.board.release(ids);
        let mut released = Vec::new();
        for &instrument in ids {
            let (tell, told) = oneshot::channel();
            let revoke = Input::Revoke {
                instrument,
                released: tell,
            };
            self.inboxes[instrument].send(revoke).await;
            released.push((instrument, told));
        }
        for (id, told) in released {
            // An error means that its worker has ended: the program is stopping, and drains all.
            if told.await.is_err() {
                return;
            }
            let outbox = &self.outboxes[id];
            if let Some(slot) = outbox.slot(id) {
                outbox.flushed(slot).await;
            }
            self.boundaries.leave(id);
        }
        self.keep_position();
        info!(instruments = ids.len(), "instruments revoked");
    }

    async fn checkpoints(
        &self,
        instrument: &Instrument,
    ) -> Result<HashMap<String, bytes::Bytes>, BusError> {
        let of_symbol = subject::checkpoint(instrument.exchange, &instrument.symbol);
        let mut checkpoints = HashMap::new();
        for subject in [subject::refused_checkpoint(&of_symbol), of_symbol] {
            let kept = recovery::last_values(&*self.bus, &subject, &self.shutdown).await?;
            if let Some(message) = kept.into_iter().next_back() {
                checkpoints.insert(subject, message.payload);
            }
        }
        Ok(checkpoints)
    }

    /// Takes an epoch above the last on the bus, and stores it before anything is published.
    async fn take_epoch(&self) -> Result<(), BusError> {
        let next = first_epoch(&*self.bus, now_ms(), &self.shutdown).await?;
        let epoch = next.max(self.epoch.get());
        loop {
            let payload = epoch.to_string().into();
            match self.bus.publish_durable(subject::EPOCH, payload).await {
                Ok(()) => break,
                Err(error) if error.is_retryable() && !self.shutdown.is_triggered() => {
                    warn!(error = %error, "the epoch is not stored yet, trying again");
                    tokio::time::sleep(RETRY_AFTER).await;
                }
                Err(error) => return Err(error),
            }
        }
        self.epoch.raise(epoch);
        Ok(())
    }

    /// Publishers with disjoint instruments keep the position of their marks apart.
    fn keep_position(&self) {
        let instruments = self.instruments.iter().enumerate();
        let ours = instruments.filter(|&(id, _)| self.board.is_ours(id));
        let symbols = ours.map(|(_, instrument)| instrument.symbol.as_str());
        self.boundaries.keep_at(position_subject(symbols));
    }
}
