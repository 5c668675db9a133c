//! The questions to the bus, which are asked beside the task.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bus::{Bus, Claim, Holding, Lease, LeaseKey, LogLimit};
use bytes::Bytes;
use market_core::subject;
use tokio::sync::{Semaphore, oneshot};
use tracing::{error, warn};

use crate::host_clock::now_ms;
use crate::instrument::{Instrument, InstrumentId};
use crate::lease::followed::Followed;
use crate::lease::tenure::Claimed;
use crate::publish::outbox::Outbox;
use crate::rivals::is_plausible;

/// Pause before the records are read again.
const RETRY_AFTER: Duration = Duration::from_millis(500);
/// How long what waits may take to be published before its lease is released.
const FLUSH_MAX: Duration = Duration::from_secs(2);

/// A question's answer.
pub(super) enum Done {
    /// What the bus keeps of these instruments is known.
    Read(Vec<InstrumentId>),
    /// It is not, and should be read again.
    NotRead(Vec<InstrumentId>),
    Looked(InstrumentId, Result<Option<Holding>, ()>),
    /// An attempt to take a lease, and the lease.
    Claimed(InstrumentId, Result<Claimed, ()>, Option<Lease>),
    /// Where the position of the marks is kept, the position, and for which leases it was read.
    Position(Arc<str>, Option<Bytes>, Vec<(InstrumentId, Lease)>),
    /// These may be taken by others.
    Released(Vec<InstrumentId>, Option<oneshot::Sender<()>>),
}

/// A question about one lease.
pub(super) struct Question {
    pub(super) bus: Arc<dyn Bus>,
    pub(super) instrument: InstrumentId,
    pub(super) of: Instrument,
    pub(super) at_once: Arc<Semaphore>,
    pub(super) failures: Arc<LogLimit>,
}

impl Question {
    fn key(&self) -> LeaseKey {
        LeaseKey {
            subject: subject::lease(self.of.exchange, &self.of.symbol),
            beat_subject: subject::BEATS.to_owned(),
        }
    }

    /// Who holds it.
    pub(super) async fn look(self) -> Done {
        let _turn = self.at_once.acquire().await;
        let found = self.key().holding(&*self.bus).await;
        if let Err(error) = &found {
            self.tell("a lease cannot be read, trying again", error);
        }
        let found = found.map_err(drop);
        Done::Looked(self.instrument, found)
    }

    /// Takes it.
    pub(super) async fn claim(self, me: String, from: Option<Holding>, number_min: u64) -> Done {
        let _turn = self.at_once.acquire().await;
        let key = self.key();
        let from = from.map(|mut from| {
            if !is_plausible(from.number, now_ms()) {
                // Readers ignore every publisher below it, and one above it as well.
                metrics::counter!("marketdata_epochs_refused_total").increment(1);
                error!(
                    subject = key.subject,
                    number = from.number,
                    "the number of a lease is more than a day ahead of this host's clock and is ignored: set the clocks right"
                );
                from.number = 0;
            }
            from
        });
        let claim = key.take(&self.bus, &me, from.as_ref(), number_min).await;
        match claim {
            Ok(Claim::Taken(lease)) => {
                let holding = lease.holding().clone();
                let taken = Ok(Claimed::Taken(holding));
                Done::Claimed(self.instrument, taken, Some(lease))
            }
            Ok(Claim::Lost(to)) => Done::Claimed(self.instrument, Ok(Claimed::Lost(to)), None),
            Err(error) => {
                self.tell("a lease cannot be taken, trying again", &error);
                Done::Claimed(self.instrument, Err(()), None)
            }
        }
    }

    fn tell(&self, what: &'static str, error: &bus::BusError) {
        let Some(failures) = self.failures.pass(Instant::now(), 1) else {
            return;
        };
        let (exchange, symbol) = (self.of.exchange, self.of.symbol.as_str());
        if error.is_retryable() {
            warn!(exchange, symbol, failures, error = %error, what);
        } else {
            error!(exchange, symbol, failures, error = %error, what);
        }
    }
}

/// Reads what is published of these instruments.
pub(super) async fn read(
    bus: Arc<dyn Bus>,
    followed: Arc<Followed>,
    at_once: Arc<Semaphore>,
    instruments: Vec<InstrumentId>,
) -> Done {
    let turn = at_once.acquire().await;
    match followed.read(&*bus, &instruments).await {
        Ok(()) => Done::Read(instruments),
        Err(error) => {
            warn!(error = %error, "the published bars cannot be read yet, trying again");
            drop(turn);
            tokio::time::sleep(RETRY_AFTER).await;
            Done::NotRead(instruments)
        }
    }
}

/// Reads the position of the marks that is kept there. Without it, a mark may come twice.
pub(super) async fn position(
    bus: Arc<dyn Bus>,
    subject: Arc<str>,
    taken: Vec<(InstrumentId, Lease)>,
) -> Done {
    let kept = bus.last_values(&subject).await;
    if let Err(error) = &kept {
        warn!(error = %error, "the position of the boundary marks cannot be read: some marks may be published twice");
    }
    let position = kept.ok().and_then(|mut kept| kept.pop());
    Done::Position(subject, position.map(|message| message.payload), taken)
}

/// Releases leases after what waits was published and stored.
pub(super) async fn release(
    given_up: Vec<(InstrumentId, Arc<Outbox>, usize, Lease)>,
    answer: Option<oneshot::Sender<()>>,
) -> Done {
    let released = given_up.into_iter().map(|(id, outbox, slot, lease)| async move {
        if tokio::time::timeout(FLUSH_MAX, outbox.flushed(slot)).await.is_err() {
            warn!("the last bars of an instrument are not stored yet, and its next publisher makes them again");
        }
        if let Err(error) = lease.release().await {
            warn!(error = %error, "a lease was not released: another marketdata takes it after --takeover-silence-ms");
        }
        id
    });
    let released = futures_util::future::join_all(released).await;
    Done::Released(released, answer)
}
