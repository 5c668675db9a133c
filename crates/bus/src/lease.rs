//! One holder at a time, with a number that only rises.
//!
//! A lease is a subject of a stream that keeps one message: who holds it, and under which number.
//! It is taken by compare-and-set, so of several that try one wins. Nothing depends on a clock: a
//! holder that was stopped and goes on is refused by the broker, because its publications expect
//! the sequence under which it took the lease (see [`Lease::fence`]), and by readers, because its
//! number is lower.
//!
//! The holder beats on a subject that no stream keeps. A program that waits for the lease measures
//! the silence ([`LeaseWatch::next`]) and decides when it is too long.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::subject::check_subject;
use crate::{Append, Bus, BusError, Delivery, Expected, Message, Subscription};

/// Which lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseKey {
    /// Where it is kept, in a stream with one message for each subject: `epoch.binance-0`.
    pub subject: String,
    /// Where its holder beats, in no stream: `beat.binance-0`.
    pub beat_subject: String,
}

/// The holder of a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holding {
    /// Higher than that of every holder before.
    pub number: u64,
    /// The holder; `None` after a release.
    pub holder: Option<String>,
    /// The sequence in the stream under which it was taken.
    pub sequence: u64,
}

/// What became of an attempt to take a lease.
#[derive(Debug)]
pub enum Claim {
    /// It is ours.
    Taken(Lease),
    /// Another one has it now, or none if the lease went missing.
    Lost(Option<Holding>),
}

/// A lease that is held, until somebody else takes it: it does not run out by itself.
pub struct Lease {
    bus: Arc<dyn Bus>,
    key: LeaseKey,
    holding: Holding,
}

impl std::fmt::Debug for Lease {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Lease({:?})", self.holding)
    }
}

impl LeaseKey {
    /// The holder of the lease; `None` if nobody ever held it.
    ///
    /// # Errors
    /// `NotRetained`, `Lease` if what is kept there is no lease; otherwise as
    /// [`crate::StreamStore::last`].
    pub async fn holding(&self, bus: &dyn Bus) -> Result<Option<Holding>, BusError> {
        let message = bus.streams().last(&self.subject).await?;
        message.map(|message| self.read(&message)).transpose()
    }

    /// Takes the lease over from `from`, which is what was last seen of it; lost if it has changed
    /// since. The new number is above that of `from` and not below `number_min`: above everything
    /// that was ever published under a number, even where the stream went missing and started again.
    ///
    /// # Errors
    /// `Subject`, `NotRetained`, `Lease`; otherwise as [`crate::StreamStore::append`]. After a
    /// retryable error look at [`LeaseKey::holding`]: it may be ours.
    pub async fn take(
        &self,
        bus: &Arc<dyn Bus>,
        holder: &str,
        from: Option<&Holding>,
        number_min: u64,
    ) -> Result<Claim, BusError> {
        check_subject(&self.beat_subject)?;
        let above = from.map_or(0, |from| from.number.saturating_add(1));
        let number = above.max(number_min).max(1);
        if number == u64::MAX {
            return Err(self.wrong("its number is the highest there is; purge the subject"));
        }
        match self.put(&**bus, Some(holder), number, from).await? {
            Some(sequence) => Ok(Claim::Taken(Lease {
                bus: Arc::clone(bus),
                key: self.clone(),
                holding: Holding {
                    number,
                    holder: Some(holder.to_owned()),
                    sequence,
                },
            })),
            None => Ok(Claim::Lost(self.holding(&**bus).await?)),
        }
    }

    /// Follows the lease: who takes it, and the beats of who holds it.
    ///
    /// # Errors
    /// As [`Bus::subscribe`] and [`LeaseKey::holding`].
    pub async fn watch(&self, bus: &Arc<dyn Bus>) -> Result<LeaseWatch, BusError> {
        // Before the first look, so that no change falls between.
        let changes = bus.subscribe(&self.subject).await?;
        let beats = bus.subscribe(&self.beat_subject).await?;
        let holding = self.holding(&**bus).await?;
        Ok(LeaseWatch {
            bus: Arc::clone(bus),
            key: self.clone(),
            changes,
            beats,
            holding,
            look_at: None,
            looks: 0,
        })
    }

    /// The sequence if it is ours; `None` if the lease is not as `from` says.
    async fn put(
        &self,
        bus: &dyn Bus,
        holder: Option<&str>,
        number: u64,
        from: Option<&Holding>,
    ) -> Result<Option<u64>, BusError> {
        let content = json!({ "number": number, "holder": holder });
        let append = Append {
            expected: Some(Expected::LastOfSubject(
                from.map_or(0, |from| from.sequence),
            )),
            ..Append::new(self.subject.as_str(), Bytes::from(content.to_string()))
        };
        match bus.streams().append(append).await {
            Ok(appended) => Ok(Some(appended.sequence)),
            Err(BusError::NotAsExpected { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn read(&self, message: &Message) -> Result<Holding, BusError> {
        let sequence = message.position.as_ref().map_or(0, |at| at.sequence);
        let content: Option<Value> = serde_json::from_slice(&message.payload).ok();
        let number = content
            .as_ref()
            .and_then(|content| content["number"].as_u64());
        let (Some(content), Some(number)) = (content, number) else {
            return Err(self.wrong("what is kept there is no lease; purge the subject"));
        };
        Ok(Holding {
            number,
            holder: content["holder"].as_str().map(str::to_owned),
            sequence,
        })
    }

    fn wrong(&self, reason: &'static str) -> BusError {
        BusError::Lease {
            subject: self.subject.clone(),
            reason,
        }
    }
}

/// Whether a lease is still ours.
#[derive(Debug)]
pub enum Renewal {
    /// The stream says so.
    Held,
    /// Somebody else has it, or it went missing: stop publishing.
    Lost(Option<Holding>),
    /// The stream does not answer. Nobody can take the lease from a stream that takes nothing, and
    /// what is published behind the fence is refused if somebody did.
    Unknown(BusError),
}

impl Lease {
    /// The fencing number: the epoch of what is published under the lease.
    pub fn number(&self) -> u64 {
        self.holding.number
    }

    /// The holder, and the place where it is kept.
    pub fn holding(&self) -> &Holding {
        &self.holding
    }

    /// What a publication into the stream of the lease must expect, so that the broker refuses it
    /// once somebody else has the lease.
    pub fn fence(&self) -> Expected {
        Expected::LastOf {
            subject: self.key.subject.clone(),
            sequence: self.holding.sequence,
        }
    }

    /// Beats once, for those who watch. It stores nothing, so the fence stays as it is.
    ///
    /// # Errors
    /// As [`Bus::publish`].
    pub async fn beat(&self) -> Result<(), BusError> {
        let content = json!({ "number": self.holding.number, "holder": self.holding.holder });
        let payload = Bytes::from(content.to_string());
        self.bus.publish(&self.key.beat_subject, payload).await
    }

    /// Beats, and asks the stream whether the lease is still ours.
    pub async fn renew(&self) -> Renewal {
        // A beat that does not go out is heard as silence by those who watch.
        let _ = self.beat().await;
        match self.key.holding(&*self.bus).await {
            Ok(Some(now)) if now == self.holding => Renewal::Held,
            Ok(now) => Renewal::Lost(now),
            Err(error) => Renewal::Unknown(error),
        }
    }

    /// Gives the lease back, so that the next one need not wait for silence. False if it was lost
    /// before.
    ///
    /// # Errors
    /// As [`crate::StreamStore::append`]; it may be given back or not.
    pub async fn release(self) -> Result<bool, BusError> {
        let number = self.holding.number;
        let put = self.key.put(&*self.bus, None, number, Some(&self.holding));
        Ok(put.await?.is_some())
    }
}

/// What a watch tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaseEvent {
    /// The holder of now has beaten.
    Beat,
    /// The lease has another holder, none, or went missing.
    Changed(Option<Holding>),
}

/// Follows a lease.
pub struct LeaseWatch {
    bus: Arc<dyn Bus>,
    key: LeaseKey,
    changes: Subscription,
    beats: Subscription,
    holding: Option<Holding>,
    /// When to read the lease next, after a change was announced.
    look_at: Option<Instant>,
    /// How often it was read since then.
    looks: usize,
}

/// After the announcement of a change the lease is read again and again: the announcement can
/// overtake the stream, and an attempt that the stream refuses is announced, too.
const LOOK_DELAYS: [Duration; 4] = [
    Duration::ZERO,
    Duration::from_millis(10),
    Duration::from_millis(100),
    Duration::from_secs(1),
];

impl LeaseWatch {
    /// What is known of the lease.
    pub fn holding(&self) -> Option<&Holding> {
        self.holding.as_ref()
    }

    /// Waits for the next event. Silence is no event: put a deadline around it. Beats of holders
    /// before are left out. Cancel safe.
    ///
    /// # Errors
    /// `Closed` once the bus has drained; otherwise as [`LeaseKey::holding`], and the next call
    /// looks again.
    pub async fn next(&mut self) -> Result<LeaseEvent, BusError> {
        loop {
            if self.look_at.is_some_and(|at| at <= Instant::now()) {
                let now = self.key.holding(&*self.bus).await?;
                self.looks += 1;
                let delay = LOOK_DELAYS.get(self.looks);
                self.look_at = delay.map(|delay| Instant::now() + *delay);
                if now != self.holding {
                    self.holding.clone_from(&now);
                    return Ok(LeaseEvent::Changed(now));
                }
            }
            let look_at = self.look_at;
            tokio::select! {
                () = sleep_until(look_at), if look_at.is_some() => {}
                delivery = self.changes.recv() => match delivery {
                    // A live message does not say its sequence, and after a loss there may be more.
                    Some(_) => self.look(),
                    None => return Err(BusError::Closed),
                },
                delivery = self.beats.recv() => match delivery {
                    Some(Delivery::Message(message)) if self.is_of_holder(&message) => {
                        return Ok(LeaseEvent::Beat);
                    }
                    Some(Delivery::Message(_)) => {}
                    Some(_) => self.look(),
                    None => return Err(BusError::Closed),
                },
            }
        }
    }

    fn look(&mut self) {
        self.looks = 0;
        self.look_at = Some(Instant::now() + LOOK_DELAYS[0]);
    }

    fn is_of_holder(&self, beat: &Message) -> bool {
        let read = self.key.read(beat).ok();
        match (read, &self.holding) {
            (Some(beat), Some(now)) => beat.number == now.number && beat.holder == now.holder,
            _ => false,
        }
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
