//! The work of an assignment and of a revocation.

use std::collections::HashMap;
use std::sync::Arc;

use bus::{Bus, BusError};
use market_core::{PipelineConfig, subject};
use service::Shutdown;
use tokio::sync::oneshot;
use tracing::info;

use crate::assignment::Assignment;
use crate::feed::symbols::SymbolBoard;
use crate::inbox::{Inbox, Input};
use crate::instrument::{Instrument, InstrumentId};
use crate::lease::command::Leases;
use crate::publish::durable::{Item, Lane};
use crate::publish::outbox::Outbox;
use crate::publish::values::Values;
use crate::recovery;

/// The parts of the program that an instrument needs.
pub(crate) struct Transfer {
    pub(crate) instruments: Arc<[Instrument]>,
    pub(crate) pipeline: PipelineConfig,
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) board: Arc<SymbolBoard>,
    pub(crate) leases: Leases,
    pub(crate) values: Arc<Values>,
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
                self.lane.set_checkpoint(Item::new(subject, payload));
            }
            assignments.push(Assignment {
                id,
                number,
                instrument: instrument.clone(),
                pipeline: restored.pipeline,
            });
        }
        // The workers first: sockets may bring trades at once.
        for assignment in assignments {
            let inbox = &self.inboxes[assignment.id];
            inbox.send(Input::Assign(Box::new(assignment))).await;
        }
        for &(id, _) in numbered {
            self.values.forget(id);
        }
        self.board.assign(numbered);
        let ids = numbered.iter().map(|&(id, _)| id).collect();
        self.leases.join(ids).await;
        info!(instruments = numbered.len(), "instruments assigned");
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
        }
        self.leases.leave(ids.to_vec()).await;
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
}
