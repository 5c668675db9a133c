//! What others publish is followed, and read where it was missed.

use std::sync::Arc;
use std::time::Instant;

use bus::{Delivery, Holding, Subscription};
use market_core::subject;

use super::LeaseTask;
use super::work;
use crate::host_clock::now_ms;
use crate::instrument::InstrumentId;

/// Most messages that are noted in one go.
const RECORDS_AT_ONCE: usize = 1_024;

impl LeaseTask {
    /// Subscribes, as soon as the bus is there.
    pub(super) async fn listen(&mut self) {
        if self.beats.is_none() {
            self.beats = self.parts.bus.subscribe(subject::BEATS).await.ok();
        }
        if self.records.is_none() {
            self.records = self.parts.bus.subscribe(subject::ALL_RECORDS).await.ok();
            if self.records.is_some() {
                let followed = (0..self.parts.instruments.len())
                    .filter(|&instrument| self.tenure.is_followed(instrument));
                self.read(followed.collect());
            }
        }
    }

    /// Notes a message of others, and those that wait behind it. Thousands of leases may change hands
    /// together: what follows from them is asked once.
    pub(super) fn note(&mut self, first: Option<Delivery>) {
        let (mut delivery, mut is_lease_said) = (first, false);
        self.is_drained = false;
        for noted in 1.. {
            match delivery {
                Some(Delivery::Message(message)) => {
                    if let Some(said) = self.followed.take(&message) {
                        let holder = said.holder.as_deref();
                        self.taken_by(said.instrument, holder, said.number);
                        self.tenure.lease_said(said.instrument, holder, now_ms());
                        is_lease_said = true;
                    }
                }
                Some(_) => self.missed(),
                None => {
                    self.records = None;
                    self.missed();
                }
            }
            let Some(records) = self.records.as_mut().filter(|_| noted < RECORDS_AT_ONCE) else {
                break;
            };
            delivery = records.try_recv();
            if delivery.is_none() {
                self.is_drained = true;
                break;
            }
        }
        if is_lease_said {
            self.tenure.tick(now_ms(), &mut self.asks);
        }
    }

    /// The bus says that a program has taken a lease. What others send from now on under a lower
    /// number may have been refused.
    pub(super) fn taken_by(
        &self,
        instrument: InstrumentId,
        holder: Option<&str>,
        number: Option<u64>,
    ) {
        if let (Some(holder), Some(number)) = (holder, number)
            && holder != self.parts.me
        {
            let (outbox, slot) = self.place(instrument);
            outbox.claimed(slot, number);
        }
    }

    /// A lease was looked at; the question was asked at that time.
    pub(super) fn lease_is(&mut self, instrument: InstrumentId, found: &Holding, asked: Instant) {
        if let Some(attempt) = self.doubts.looked(instrument, asked) {
            let (outbox, slot) = self.place(instrument);
            outbox.not_claimed(slot, attempt, found.number);
        }
        self.taken_by(instrument, found.holder.as_deref(), Some(found.number));
    }

    /// Reads what is published of instruments of which a bar was heard that may have been refused.
    pub(super) fn read_doubted(&mut self) {
        let outboxes = self.parts.outboxes.iter();
        for (instrument, number) in outboxes.flat_map(|outbox| outbox.take_doubted()) {
            self.doubts.add(instrument, number);
        }
        let (now, now_ms) = (Instant::now(), now_ms());
        let mut doubted = Vec::new();
        for (instrument, number) in self.doubts.tick() {
            if self.tenure.doubt(instrument, now_ms) {
                self.doubts.read(instrument, number, now);
                // What came since a position is not enough: the doubtful bar was before it.
                self.has_read.remove(&instrument);
                doubted.push(instrument);
            }
        }
        metrics::counter!("marketdata_instruments_doubted_total").increment(doubted.len() as u64);
        if self.records.is_some() {
            self.read(doubted);
        }
    }

    /// Asks for the newest position of the stream, if it is time to.
    pub(super) fn sample(&mut self) {
        if let Some(delivery) = self.records.as_mut().and_then(Subscription::try_recv) {
            self.note(Some(delivery));
        } else {
            self.is_drained = true;
        }
        let is_known = self.is_drained && self.reading == 0 && !self.has_read.is_empty();
        if self.records.is_some() && self.progress.tick(is_known) {
            let (bus, losses) = (Arc::clone(&self.parts.bus), self.progress.losses());
            self.running.spawn(work::sample(bus, losses));
        }
    }

    /// Messages of others were missed.
    fn missed(&mut self) {
        self.progress.missed();
        let followed = self.tenure.missed();
        if self.records.is_some() {
            self.read(followed);
        }
    }

    /// Reads what is published of those that are not ours. Of ours, the outbox knows more than the bus.
    pub(super) fn read(&mut self, mut instruments: Vec<InstrumentId>) {
        instruments.retain(|&instrument| self.tenure.is_joining(instrument));
        let known = self.progress.known();
        let is_begun = |id: &InstrumentId| known.is_some() && self.has_read.contains(id);
        let (begun, new): (Vec<_>, Vec<_>) = instruments.into_iter().partition(is_begun);
        for (instruments, known) in [(begun, known), (new, None)] {
            if instruments.is_empty() {
                continue;
            }
            self.reading += 1;
            let (bus, followed) = (Arc::clone(&self.parts.bus), Arc::clone(&self.followed));
            let at_once = Arc::clone(&self.at_once);
            self.running
                .spawn(work::read(bus, followed, at_once, instruments, known));
        }
    }
}
