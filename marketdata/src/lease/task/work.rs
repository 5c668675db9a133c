//! The questions to the bus, which are asked beside the task.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bus::{Bus, BusError, Claim, Holding, Lease, LeaseKey, LogLimit, Position};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use market_core::channel::KLINE;
use market_core::subject;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout_at;
use tracing::{error, warn};

use crate::host_clock::now_ms;
use crate::instrument::{Instrument, InstrumentId};
use crate::lease::bridge_epoch::BridgeEpoch;
use crate::lease::followed::{Followed, count_read};
use crate::lease::progress::Known;
use crate::lease::tenure::Claimed;
use crate::publish::book::Newest;
use crate::publish::outbox::Outbox;
use crate::rivals::is_plausible;

/// Leases that are read or taken at once.
pub(super) const AT_ONCE_MAX: usize = 64;
/// Pause before the records are read again.
const RETRY_AFTER: Duration = Duration::from_millis(500);
/// How long what waits may take to be published before its lease is released.
const FLUSH_MAX: Duration = Duration::from_secs(2);

/// A question's answer.
pub(super) enum Done {
    /// What the bus keeps of these instruments is known.
    Read(Vec<InstrumentId>),
    /// It is not, and should be read again.
    NotRead(Vec<InstrumentId>, Unread),
    /// The newest position of the stream, asked for after so many losses; `None` without an answer.
    Sampled(u64, Option<Known>),
    /// What was found, and when the question was asked.
    Looked(InstrumentId, Result<Option<Holding>, ()>, Instant),
    /// An attempt to take a lease, and the lease with the number that it was taken from.
    Claimed(InstrumentId, Result<Claimed, ()>, Option<(Lease, u64)>),
    /// What to continue after.
    Taken(Takeover),
    /// These may be taken by others.
    Released(Vec<InstrumentId>, Option<oneshot::Sender<()>>),
}

/// Why records were not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unread {
    /// The bus does not answer.
    Unanswered,
    /// What was known is of a stream that is no more.
    Lost,
}

/// Where a takeover continues.
pub(super) struct Takeover {
    /// Where the position of the marks is kept.
    pub(super) subject: Arc<str>,
    /// The position of the marks.
    pub(super) marks: Option<Bytes>,
    pub(super) taken: Vec<Taken>,
    /// Up to where the records are known.
    pub(super) known: Option<Known>,
    /// Whether the records are read again.
    pub(super) is_anew: bool,
}

/// A lease that was taken.
pub(super) struct Taken {
    pub(super) instrument: InstrumentId,
    pub(super) lease: Lease,
    /// The number of the lease that it was taken from.
    pub(super) holder: u64,
    /// What its records have.
    pub(super) newest: Vec<Newest>,
}

/// A question about one lease.
pub(super) struct Question {
    pub(super) bus: Arc<dyn Bus>,
    pub(super) instrument: InstrumentId,
    pub(super) of: Instrument,
    pub(super) at_once: Arc<Semaphore>,
    pub(super) failures: Arc<LogLimit>,
}

impl Taken {
    /// A lease that was taken from one of the number `holder`. Of its records nothing was read yet.
    pub(super) fn new(instrument: InstrumentId, lease: Lease, holder: u64) -> Self {
        Self {
            instrument,
            lease,
            holder,
            newest: Vec::new(),
        }
    }
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
        let asked = Instant::now();
        let found = self.key().holding(&*self.bus).await;
        if let Err(error) = &found {
            self.tell("a lease cannot be read, trying again", error);
        }
        let found = found.map_err(drop);
        Done::Looked(self.instrument, found, asked)
    }

    /// Takes it, with a number above those of the bridges to Kafka.
    pub(super) async fn claim(
        self,
        me: String,
        from: Option<Holding>,
        number_min: u64,
        bridges: Arc<BridgeEpoch>,
    ) -> Done {
        let _turn = self.at_once.acquire().await;
        let number_min = number_min.max(bridges.above(&*self.bus).await);
        let key = self.key();
        let holder = from.as_ref().map_or(0, |from| from.number);
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
                Done::Claimed(self.instrument, taken, Some((lease, holder)))
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

/// Reads what is published of these instruments: what the stream took since `known`, or all that it
/// keeps.
pub(super) async fn read(
    bus: Arc<dyn Bus>,
    followed: Arc<Followed>,
    at_once: Arc<Semaphore>,
    instruments: Vec<InstrumentId>,
    known: Option<Known>,
) -> Done {
    let turn = at_once.acquire().await;
    let read = match known {
        Some(known) => followed.read_since(&*bus, &instruments, known).await,
        None => followed.read(&*bus, &instruments).await,
    };
    match read {
        Ok(messages) => {
            count_read(messages);
            Done::Read(instruments)
        }
        Err(BusError::PositionLost { .. }) if known.is_some() => {
            Done::NotRead(instruments, Unread::Lost)
        }
        Err(error) => {
            warn!(error = %error, "the published bars cannot be read yet, trying again");
            drop(turn);
            tokio::time::sleep(RETRY_AFTER).await;
            Done::NotRead(instruments, Unread::Unanswered)
        }
    }
}

/// Asks for the newest position of the stream of the record.
pub(super) async fn sample(bus: Arc<dyn Bus>, losses: u64) -> Done {
    let asked_ms = now_ms();
    let status = bus.streams().status(KLINE.record_root()).await;
    let status = status.ok().flatten();
    let known = status.map(|status| Known {
        position: Position {
            stream_created_ns: status.created_ns,
            sequence: status.last_sequence,
            stored_ns: 0,
        },
        asked_ms,
    });
    if known.is_none() {
        tokio::time::sleep(RETRY_AFTER).await;
    }
    Done::Sampled(losses, known)
}

/// Reads the position of the marks that is kept there, without which a mark may come twice, and the
/// newest records of what was taken. If something was missed, all records that the bus keeps of it.
pub(super) async fn position(
    bus: Arc<dyn Bus>,
    followed: Arc<Followed>,
    mut takeover: Takeover,
) -> Done {
    let kept = bus.last_values(&takeover.subject).await;
    if let Err(error) = &kept {
        warn!(error = %error, "the position of the boundary marks cannot be read: some marks may be published twice");
    }
    let marks = kept.ok().and_then(|mut kept| kept.pop());
    takeover.marks = marks.map(|message| message.payload);
    while let Err(error) = read_taken(&*bus, &followed, &mut takeover).await {
        if !error.is_retryable() {
            error!(error = %error, "the newest bars of what was taken over cannot be read: some may be missing on the bus");
            break;
        }
        warn!(error = %error, "the newest bars of what was taken over cannot be read yet, trying again");
        tokio::time::sleep(RETRY_AFTER).await;
    }
    Done::Taken(takeover)
}

async fn read_taken(
    bus: &dyn Bus,
    followed: &Followed,
    takeover: &mut Takeover,
) -> Result<(), BusError> {
    let taken = &mut takeover.taken;
    let instruments: Vec<InstrumentId> = taken.iter().map(|taken| taken.instrument).collect();
    if takeover.is_anew {
        count_read(followed.read(bus, &instruments).await?);
    } else {
        let leases = taken.iter().map(|taken| taken.lease.holding().sequence);
        let up_to = leases.max().unwrap_or_default();
        let known = takeover.known;
        let newest = followed
            .newest_since(bus, &instruments, known, up_to)
            .await?;
        if let Some(newest) = newest {
            for (taken, newest) in taken.iter_mut().zip(newest) {
                taken.newest = newest;
            }
            return Ok(());
        }
    }
    let mut questions = Vec::with_capacity(taken.len());
    for taken in taken {
        questions.push(async {
            taken.newest = followed.newest(bus, taken.instrument).await?;
            Ok(())
        });
    }
    futures_util::stream::iter(questions)
        .buffer_unordered(AT_ONCE_MAX)
        .try_collect()
        .await
}

/// Releases leases after what waits was published and stored.
pub(super) async fn release(
    given_up: Vec<(InstrumentId, Arc<Outbox>, usize, Lease)>,
    answer: Option<oneshot::Sender<()>>,
) -> Done {
    let flushed_by = tokio::time::Instant::now() + FLUSH_MAX;
    let released = given_up.into_iter().map(|(id, outbox, slot, lease)| async move {
        if timeout_at(flushed_by, outbox.flushed(slot)).await.is_err() {
            warn!("the last bars of an instrument are not stored yet, and its next publisher makes them again");
            // Otherwise no mark would come without it.
            outbox.left(slot);
        }
        if let Err(error) = lease.release().await {
            warn!(error = %error, "a lease was not released: another marketdata takes it after --takeover-silence-ms");
        }
        id
    });
    let released = futures_util::stream::iter(released).buffer_unordered(AT_ONCE_MAX);
    Done::Released(released.collect().await, answer)
}
