//! What other programs publish and take, as the bus tells it.

use std::collections::HashMap;
use std::sync::Arc;

use bus::{Bus, BusError, Message};
use market_core::subject;
use serde::Deserialize;

use crate::host_clock::now_ms;
use crate::instrument::{Instrument, InstrumentId};
use crate::publish::book::RecordHead;
use crate::publish::outbox::Outbox;

/// Instruments that are read one by one; of more, everything that the bus keeps is read at once.
const ONE_BY_ONE_MAX: usize = 64;

/// The places of records and leases. See the module.
pub(crate) struct Followed {
    /// The outbox and the topic of a record.
    records: HashMap<Arc<str>, (Arc<Outbox>, usize)>,
    /// The instrument of a lease.
    leases: HashMap<String, InstrumentId>,
    /// By instrument: the pattern of its records.
    patterns: Vec<String>,
}

/// A lease was taken by a program, or released. The bus may have refused it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LeaseSaid {
    pub(crate) instrument: InstrumentId,
    pub(crate) holder: Option<String>,
}

#[derive(Deserialize)]
struct LeaseBody {
    holder: Option<String>,
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
        Self {
            records,
            leases: leases.collect(),
            patterns: instruments
                .iter()
                .map(|instrument| subject::records_of(&instrument.symbol))
                .collect(),
        }
    }

    /// A message came: notes a record, and gives out what a lease says.
    pub(crate) fn take(&self, message: &Message) -> Option<LeaseSaid> {
        if let Some((outbox, topic)) = self.records.get(&message.subject) {
            match RecordHead::read(&message.payload, now_ms()) {
                Some(head) => outbox.follow(*topic, &head),
                None => refused(),
            }
            return None;
        }
        let instrument = *self.leases.get(&*message.subject)?;
        let body: LeaseBody = serde_json::from_slice(&message.payload).ok()?;
        Some(LeaseSaid {
            instrument,
            holder: body.holder,
        })
    }

    /// Notes what the bus keeps of these instruments.
    ///
    /// # Errors
    /// As [`Bus::last_values`]; some of it may be noted.
    pub(crate) async fn read(
        &self,
        bus: &dyn Bus,
        instruments: &[InstrumentId],
    ) -> Result<(), BusError> {
        if instruments.len() > ONE_BY_ONE_MAX {
            self.note(&bus.last_values(subject::ALL_RECORDS).await?);
            return Ok(());
        }
        for &instrument in instruments {
            self.note(&bus.last_values(&self.patterns[instrument]).await?);
        }
        Ok(())
    }

    /// The newest message of each of these records, from the server that leads the stream. One whose
    /// numbers cannot be true counts as none.
    ///
    /// # Errors
    /// As [`bus::StreamStore::last`].
    pub(crate) async fn newest(
        bus: &dyn Bus,
        records: &[Arc<str>],
    ) -> Result<Vec<Option<RecordHead>>, BusError> {
        let mut newest = Vec::with_capacity(records.len());
        for record in records {
            let last = bus.streams().last(record).await?;
            newest.push(last.and_then(|last| RecordHead::read(&last.payload, now_ms())));
        }
        Ok(newest)
    }

    fn note(&self, messages: &[Message]) {
        for message in messages {
            let Some((outbox, topic)) = self.records.get(&message.subject) else {
                continue;
            };
            match RecordHead::read(&message.payload, now_ms()) {
                Some(head) => outbox.seed(*topic, &head),
                None => refused(),
            }
        }
    }
}

fn refused() {
    metrics::counter!("marketdata_records_refused_total").increment(1);
}
