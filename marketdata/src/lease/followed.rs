//! What other programs publish and take, as the bus tells it.

use std::collections::HashMap;
use std::sync::Arc;

use bus::{Bus, BusError, Message, Start};
use futures_util::future::try_join_all;
use futures_util::{StreamExt, TryStreamExt};
use market_core::channel::KLINE;
use market_core::subject;
use serde::Deserialize;
use tracing::warn;

use super::progress::Known;
use super::reading::{self, Heads, Patience};
use crate::host_clock::now_ms;
use crate::instrument::{Instrument, InstrumentId};
use crate::publish::book::{Newest, RecordHead};
use crate::publish::outbox::Outbox;

/// Instruments that are read one by one; of more, the records of all are read at once.
const ONE_BY_ONE_MAX: usize = 64;

/// Instruments whose newest messages are asked for at once.
const ASKED_AT_ONCE_MAX: usize = 64;

/// What is done about a server that lags for too long, and what to do.
const LAGS: &str = "a server of the cluster lags behind the one that leads the stream of closed bars: what is published before the newest message of each record is not read, and counts as published; if this is logged again, look at the replicas of the stream";

/// The places of records and leases. See the module.
pub(crate) struct Followed {
    /// The outbox and the topic of a record.
    records: HashMap<Arc<str>, (Arc<Outbox>, usize)>,
    /// The instrument of a lease.
    leases: HashMap<String, InstrumentId>,
    /// By instrument: the pattern of its records.
    patterns: Vec<String>,
    /// By instrument: the subjects of its records, in the order of its timeframes.
    records_of: Vec<Vec<Arc<str>>>,
    /// Messages that the stream keeps of a record.
    depth: usize,
    one_by_one_max: usize,
}

/// A lease was taken by a program, or released. The bus may have refused it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LeaseSaid {
    pub(crate) instrument: InstrumentId,
    pub(crate) holder: Option<String>,
    pub(crate) number: Option<u64>,
}

#[derive(Deserialize)]
struct LeaseBody {
    holder: Option<String>,
    number: Option<u64>,
}

impl Followed {
    /// What belongs to these instruments, whose bars go through `outboxes`.
    pub(crate) fn new(instruments: &[Instrument], outboxes: &[Arc<Outbox>]) -> Self {
        let mut records = HashMap::new();
        for outbox in outboxes {
            for (topic, subject) in outbox.record_subjects().enumerate() {
                records.insert(Arc::clone(subject), (Arc::clone(outbox), topic));
            }
        }
        let leases = instruments.iter().enumerate().map(|(id, instrument)| {
            let lease = subject::lease(instrument.exchange, &instrument.symbol);
            (lease, id)
        });
        let records_of = (0..instruments.len()).map(|id| {
            let mut places = outboxes.iter();
            let place = places.find_map(|outbox| outbox.slot(id).map(|slot| (outbox, slot)));
            place.map_or_else(Vec::new, |(outbox, slot)| outbox.records_of(slot))
        });
        let kept =
            market_core::channel::kept_roots().find(|(root, _)| *root == KLINE.record_root());
        let depth = kept.map_or(u64::MAX, |(_, kept)| kept.messages_per_subject);
        Self {
            records,
            leases: leases.collect(),
            patterns: instruments
                .iter()
                .map(|instrument| subject::records_of(&instrument.symbol))
                .collect(),
            records_of: records_of.collect(),
            depth: usize::try_from(depth).unwrap_or(usize::MAX),
            one_by_one_max: ONE_BY_ONE_MAX,
        }
    }

    /// A message came: notes a record, and gives out what a lease says.
    pub(crate) fn take(&self, message: &Message) -> Option<LeaseSaid> {
        if let Some((outbox, topic)) = self.records.get(&message.subject) {
            let now = now_ms();
            match RecordHead::read(&message.payload, now) {
                Some(head) => outbox.follow(*topic, &head, now),
                None => refused(),
            }
            return None;
        }
        let instrument = *self.leases.get(&*message.subject)?;
        let body: LeaseBody = serde_json::from_slice(&message.payload).ok()?;
        Some(LeaseSaid {
            instrument,
            holder: body.holder,
            number: body.number,
        })
    }

    /// Notes everything that the bus keeps of these instruments, of which nothing was known, or not
    /// without a hole. Gives the number of messages.
    ///
    /// # Errors
    /// As [`bus::StreamStore::range`] and [`bus::StreamStore::last`]; some of it may be noted.
    pub(crate) async fn read(
        &self,
        bus: &dyn Bus,
        instruments: &[InstrumentId],
    ) -> Result<u64, BusError> {
        for record in self.records_of(instruments) {
            if let Some((outbox, topic)) = self.records.get(record) {
                outbox.begin_anew(*topic);
            }
        }
        let (mut messages, mut patience) = (0, Patience::default());
        let mut note = |message: &Message| {
            messages += 1;
            self.note(message);
        };
        let oldest = Start::Oldest;
        let mut lagging = Vec::new();
        if instruments.len() > self.one_by_one_max {
            let up_to = newest_of_stream(bus).await?;
            let all = subject::ALL_RECORDS;
            if !reading::pages_up_to(bus, all, oldest, up_to, &mut patience, &mut note).await? {
                lagging = instruments.to_vec();
            }
        } else {
            for &id in instruments {
                let up_to = self.newest_of(bus, id).await?;
                let of = &self.patterns[id];
                if !reading::pages_up_to(bus, of, oldest, up_to, &mut patience, &mut note).await? {
                    lagging.push(id);
                }
            }
        }
        self.continue_after_newest(bus, &lagging).await?;
        Ok(messages)
    }

    /// A server lags for too long behind the one that leads the stream. To wait for it would be to
    /// publish nothing, and to publish what it does not have would be to publish bars again. The leader
    /// knows the newest message of each record: what is before it counts as published.
    async fn continue_after_newest(
        &self,
        bus: &dyn Bus,
        instruments: &[InstrumentId],
    ) -> Result<(), BusError> {
        if instruments.is_empty() {
            return Ok(());
        }
        warn!(instruments = instruments.len(), "{LAGS}");
        metrics::counter!("marketdata_records_unread_total").increment(instruments.len() as u64);
        let mut questions = Vec::with_capacity(instruments.len());
        for &instrument in instruments {
            questions.push(async move { Ok((instrument, self.newest(bus, instrument).await?)) });
        }
        futures_util::stream::iter(questions)
            .buffer_unordered(ASKED_AT_ONCE_MAX)
            .try_for_each(async |(instrument, newest)| {
                for (record, newest) in self.records_of[instrument].iter().zip(newest) {
                    if let (Some((outbox, topic)), Newest::Last(Some(head))) =
                        (self.records.get(record), newest)
                    {
                        outbox.continue_after(*topic, &head);
                    }
                }
                Ok(())
            })
            .await
    }

    /// The position of the newest message in the records of an instrument, from the server that leads
    /// the stream.
    async fn newest_of(&self, bus: &dyn Bus, instrument: InstrumentId) -> Result<u64, BusError> {
        let records = self.records_of[instrument].iter();
        let last = try_join_all(records.map(|record| bus.streams().last(record))).await?;
        let positions = last
            .iter()
            .flatten()
            .filter_map(|last| last.position.as_deref());
        let newest = positions.map(|position| position.sequence).max();
        Ok(newest.unwrap_or_default())
    }

    /// Notes what the bus has taken of these instruments since what is known. Gives the number of
    /// messages.
    ///
    /// # Errors
    /// As [`bus::StreamStore::range`]; some of it may be noted.
    pub(crate) async fn read_since(
        &self,
        bus: &dyn Bus,
        instruments: &[InstrumentId],
        known: Known,
    ) -> Result<u64, BusError> {
        let (mut messages, mut patience) = (0, Patience::default());
        let after = known.position;
        let mut lagging = Vec::new();
        if instruments.len() > self.one_by_one_max {
            let up_to = newest_of_stream(bus).await?;
            let all = subject::ALL_RECORDS;
            match reading::since(bus, all, after, up_to, &mut patience).await? {
                Some(heads) => messages += self.catch_up(instruments, &heads, known),
                None => lagging = instruments.to_vec(),
            }
        } else {
            for &id in instruments {
                let up_to = self.newest_of(bus, id).await?;
                let of = &self.patterns[id];
                match reading::since(bus, of, after, up_to, &mut patience).await? {
                    Some(heads) => messages += self.catch_up(&[id], &heads, known),
                    None => lagging.push(id),
                }
            }
        }
        self.continue_after_newest(bus, &lagging).await?;
        Ok(messages)
    }

    fn catch_up(&self, instruments: &[InstrumentId], heads: &Heads, known: Known) -> u64 {
        for record in self.records_of(instruments) {
            if let Some((outbox, topic)) = self.records.get(record) {
                let heads = heads.by_record.get(record).map_or(&[][..], Vec::as_slice);
                let is_anew = heads.len() >= self.depth;
                outbox.catch_up(*topic, heads, known.asked_ms, is_anew);
            }
        }
        heads.messages
    }

    /// What the records of instruments have, when nobody else can store any more: the lease of each
    /// was taken, the last one under the sequence `up_to`. `None` if `known` does not help.
    ///
    /// # Errors
    /// As [`bus::StreamStore::range`].
    pub(crate) async fn newest_since(
        &self,
        bus: &dyn Bus,
        instruments: &[InstrumentId],
        known: Option<Known>,
        up_to: u64,
    ) -> Result<Option<Vec<Vec<Newest>>>, BusError> {
        let Some(known) = known.filter(|_| instruments.len() > self.one_by_one_max) else {
            return Ok(None);
        };
        let all = subject::ALL_RECORDS;
        let mut patience = Patience::default();
        let heads = match reading::since(bus, all, known.position, up_to, &mut patience).await {
            Ok(Some(heads)) => heads,
            Ok(None) | Err(BusError::PositionLost { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        count_read(heads.messages);
        let mut stored = self
            .records_of(instruments)
            .filter_map(|record| heads.by_record.get(record));
        let is_whole = stored.all(|heads| heads.len() < self.depth);
        let newest = |record: &Arc<str>| Newest::Since {
            stored: heads.by_record.get(record).cloned().unwrap_or_default(),
            after_ms: known.asked_ms,
        };
        let of = |&instrument: &InstrumentId| {
            let records = self.records_of[instrument].iter();
            records.map(newest).collect()
        };
        Ok(is_whole.then(|| instruments.iter().map(of).collect()))
    }

    /// The newest message of each record of an instrument, from the server that leads the stream. One
    /// whose numbers cannot be true counts as none.
    ///
    /// # Errors
    /// As [`bus::StreamStore::last`].
    pub(crate) async fn newest(
        &self,
        bus: &dyn Bus,
        instrument: InstrumentId,
    ) -> Result<Vec<Newest>, BusError> {
        let mut newest = Vec::new();
        for record in &self.records_of[instrument] {
            let last = bus.streams().last(record).await?;
            let head = last.and_then(|last| RecordHead::read(&last.payload, now_ms()));
            newest.push(Newest::Last(head));
        }
        count_read(newest.len() as u64);
        Ok(newest)
    }

    fn records_of(&self, instruments: &[InstrumentId]) -> impl Iterator<Item = &Arc<str>> {
        let instruments = instruments.iter().copied();
        instruments.flat_map(move |instrument| &self.records_of[instrument])
    }

    fn note(&self, message: &Message) {
        let Some((outbox, topic)) = self.records.get(&message.subject) else {
            return;
        };
        match RecordHead::read(&message.payload, now_ms()) {
            Some(head) => outbox.seed(*topic, &head),
            None => refused(),
        }
    }
}

/// The newest position of the stream of the record, from the server that leads it; 0 if it keeps
/// nothing.
async fn newest_of_stream(bus: &dyn Bus) -> Result<u64, BusError> {
    let status = bus.streams().status(KLINE.record_root()).await?;
    let status = status.filter(|status| status.messages > 0);
    Ok(status.map_or(0, |status| status.last_sequence))
}

/// Counts messages that were read of the record.
pub(crate) fn count_read(messages: u64) {
    metrics::counter!("marketdata_records_read_total").increment(messages);
}

fn refused() {
    metrics::counter!("marketdata_records_refused_total").increment(1);
}

#[cfg(test)]
mod tests;
