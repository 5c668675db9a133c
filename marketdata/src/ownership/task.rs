//! The task that carries out the operator's commands, several at a time.

use std::collections::HashMap;
use std::sync::Arc;

use bus::BusError;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::error;

use super::control::{Answer, Command, Control, Instruments, Refused};
use super::ledger::{Busy, Ledger, Stage};
use super::transfer::Transfer;
use crate::instrument::{Instrument, InstrumentId, InstrumentSpec};

/// What has ended, and who waits for it.
enum Ended {
    Assigned {
        numbered: Vec<(InstrumentId, u64)>,
        result: Result<(), BusError>,
    },
    Revoked(Vec<InstrumentId>),
}

/// See the module.
pub(crate) struct OwnershipTask {
    ledger: Ledger,
    transfer: Arc<Transfer>,
    by_name: HashMap<String, InstrumentId>,
    running: JoinSet<(Ended, oneshot::Sender<Answer>)>,
}

impl OwnershipTask {
    /// The task of a program that owns what `ledger` says.
    pub(crate) fn new(ledger: Ledger, transfer: Transfer) -> Self {
        let instruments = transfer.instruments.iter().enumerate();
        let by_name = instruments.map(|(id, instrument)| (name(instrument), id));
        Self {
            ledger,
            by_name: by_name.collect(),
            transfer: Arc::new(transfer),
            running: JoinSet::new(),
        }
    }

    /// Runs until `stop`. Instruments that change hands then are drained with all others.
    pub(crate) async fn run(mut self, control: Control, stop: CancellationToken) {
        let inbox = control.take_inbox();
        let is_operated = inbox.is_some();
        let mut asks = inbox.unwrap_or_else(|| mpsc::channel(1).1);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                Some(ended) = self.running.join_next() => {
                    let (ended, answer) = ended.expect("a transfer does not panic");
                    let _ = answer.send(self.end(ended));
                }
                Some((command, answer)) = asks.recv() => self.begin(command, answer),
            }
        }
        self.running.shutdown().await;
        if is_operated {
            control.return_inbox(asks);
        }
    }

    fn begin(&mut self, command: Command, answer: oneshot::Sender<Answer>) {
        let refused = match command {
            Command::See => Ok(()),
            Command::Assign(wanted) => match self.assign(&wanted) {
                Ok(numbered) => {
                    let transfer = Arc::clone(&self.transfer);
                    self.running.spawn(async move {
                        let result = transfer.assign(&numbered).await;
                        (Ended::Assigned { numbered, result }, answer)
                    });
                    return;
                }
                Err(refused) => Err(refused),
            },
            Command::Revoke(wanted) => match self.revoke(&wanted) {
                Ok(ids) => {
                    let transfer = Arc::clone(&self.transfer);
                    self.running.spawn(async move {
                        transfer.revoke(&ids).await;
                        (Ended::Revoked(ids), answer)
                    });
                    return;
                }
                Err(refused) => Err(refused),
            },
        };
        // Nobody waits any more if the operator has gone.
        let _ = answer.send(refused.map(|()| self.instruments()));
    }

    fn assign(&mut self, wanted: &[InstrumentSpec]) -> Result<Vec<(InstrumentId, u64)>, Refused> {
        let ids = self.ids(wanted)?;
        let begun = self.ledger.assign(&ids);
        begun.map_err(|busy| self.busy(busy))
    }

    fn revoke(&mut self, wanted: &[InstrumentSpec]) -> Result<Vec<InstrumentId>, Refused> {
        let ids = self.ids(wanted)?;
        let begun = self.ledger.revoke(&ids);
        begun.map_err(|busy| self.busy(busy))
    }

    fn end(&mut self, ended: Ended) -> Answer {
        match ended {
            Ended::Assigned { numbered, result } => {
                count("assigned", if result.is_ok() { numbered.len() } else { 0 });
                count("failed", if result.is_ok() { 0 } else { numbered.len() });
                for (id, number) in numbered {
                    self.ledger.assigned(id, number, result.is_ok());
                }
                if let Err(error) = result {
                    error!(error = %error, "instruments were not assigned: the bus cannot be used");
                    let why = format!("nothing was assigned, for the bus cannot be used: {error}");
                    return Err(Refused::Failed(why));
                }
            }
            Ended::Revoked(ids) => {
                count("revoked", ids.len());
                for id in ids {
                    self.ledger.revoked(id);
                }
            }
        }
        Ok(self.instruments())
    }

    fn ids(&self, wanted: &[InstrumentSpec]) -> Result<Vec<InstrumentId>, Refused> {
        let id = |spec: &InstrumentSpec| {
            let id = self.by_name.get(&spec.to_string()).copied();
            id.ok_or_else(|| Refused::Unknown(spec.clone()))
        };
        wanted.iter().map(id).collect()
    }

    fn busy(&self, Busy(id): Busy) -> Refused {
        let instrument = &self.transfer.instruments[id];
        Refused::Busy(InstrumentSpec {
            exchange: instrument.exchange.to_owned(),
            symbol: instrument.symbol.clone(),
        })
    }

    fn instruments(&self) -> Instruments {
        let mut all = Instruments::default();
        for (id, instrument) in self.transfer.instruments.iter().enumerate() {
            let of_stage = match self.ledger.stage(id) {
                Stage::Owned(_) => &mut all.owned,
                Stage::Released => &mut all.released,
                Stage::Assigning(_) => &mut all.assigning,
                Stage::Revoking => &mut all.revoking,
            };
            of_stage.push(name(instrument));
        }
        all
    }
}

fn name(instrument: &Instrument) -> String {
    format!("{}:{}", instrument.exchange, instrument.symbol)
}

fn count(change: &'static str, instruments: usize) {
    metrics::counter!("marketdata_ownership_changes_total", "change" => change)
        .increment(instruments as u64);
}
