//! Trades of one connection on their way to the workers, in batches.

use std::collections::BTreeSet;
use std::sync::Arc;

use market_core::{Trade, UnixMillis};

use crate::inbox::{ConnectionId, Inbox, Input};
use crate::instrument::InstrumentId;

/// Most trades in a batch.
pub(crate) const BATCH_MAX: usize = 64;

/// Sorts trades by worker.
pub(crate) struct Router {
    /// By instrument: the worker's index.
    worker_of: Arc<[usize]>,
    workers: Arc<[Inbox]>,
    batches: Vec<Vec<(InstrumentId, Trade)>>,
    /// Instruments whose newest trades may have been dropped. No later id shows this.
    owed: BTreeSet<InstrumentId>,
}

impl Router {
    pub(crate) fn new(worker_of: Arc<[usize]>, workers: Arc<[Inbox]>) -> Self {
        Self {
            batches: vec![Vec::new(); workers.len()],
            worker_of,
            workers,
            owed: BTreeSet::new(),
        }
    }

    /// Passes `trades` to their workers, without waiting.
    pub(crate) fn route(
        &mut self,
        trades: &mut Vec<(InstrumentId, Trade)>,
        offset_ms: Option<i64>,
    ) {
        self.pay_what_is_owed();
        for (instrument, trade) in trades.drain(..) {
            self.batches[self.worker_of[instrument]].push((instrument, trade));
        }
        for (worker, batch) in self.batches.iter_mut().enumerate() {
            if batch.is_empty() {
                continue;
            }
            let capacity = batch.len().min(BATCH_MAX);
            let full = std::mem::replace(batch, Vec::with_capacity(capacity));
            if let Err(dropped) = self.workers[worker].offer_trades(full, offset_ms) {
                self.owed.extend(dropped);
            }
        }
    }

    /// Tells workers about dropped trades once there is room again.
    pub(crate) fn pay_what_is_owed(&mut self) {
        while let Some(&instrument) = self.owed.first() {
            let inbox = &self.workers[self.worker_of[instrument]];
            if !inbox.try_send(Input::Suspect { instrument }) {
                return;
            }
            self.owed.pop_first();
        }
    }

    /// Tells each worker about its part of `instruments`, waiting for room.
    pub(crate) async fn tell(
        &self,
        instruments: &[InstrumentId],
        input: impl Fn(Vec<InstrumentId>) -> Input,
    ) {
        for (worker, inbox) in self.workers.iter().enumerate() {
            let part: Vec<InstrumentId> = instruments
                .iter()
                .copied()
                .filter(|&instrument| self.worker_of[instrument] == worker)
                .collect();
            if !part.is_empty() {
                inbox.send(input(part)).await;
            }
        }
    }

    /// Tells each worker that carries some of `instruments` up to when data is read. This is
    /// repeated soon, so a worker without room is skipped.
    pub(crate) fn read_through(
        &self,
        connection: ConnectionId,
        instruments: impl Iterator<Item = InstrumentId>,
        through_ms: UnixMillis,
    ) {
        let workers: BTreeSet<usize> = instruments.map(|id| self.worker_of[id]).collect();
        for worker in workers {
            let _ = self.workers[worker].try_send(Input::Read {
                connection,
                through_ms,
            });
        }
    }

    /// Asks the instrument's worker to ask REST.
    pub(crate) fn suspect(&mut self, instrument: InstrumentId) {
        self.owed.insert(instrument);
        self.pay_what_is_owed();
    }
}
