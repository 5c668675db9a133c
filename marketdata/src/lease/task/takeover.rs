//! What was taken is published, from the first bar on that the bus does not have.

use std::collections::HashSet;
use std::sync::Arc;

use bus::Lease;
use market_core::subject;
use tracing::info;

use super::LeaseTask;
use super::work::{self, Position, Taken};
use crate::host_clock::now_ms;
use crate::instrument::InstrumentId;
use crate::publish::durable::Item;

impl LeaseTask {
    /// The marks of what is taken together continue after those of its last holder, and its bars
    /// after the newest ones of the records. Nobody else can store any more.
    pub(super) fn read_position(&mut self, taken: Vec<(InstrumentId, Lease)>, is_anew: bool) {
        let mut held: HashSet<InstrumentId> = self.leases.keys().copied().collect();
        held.extend(taken.iter().map(|(instrument, _)| *instrument));
        let subject = self.position_of(held.into_iter());
        let mut position = Position {
            subject,
            marks: None,
            taken: Vec::with_capacity(taken.len()),
            is_anew,
        };
        for (instrument, lease) in taken {
            let (outbox, slot) = self.place(instrument);
            if is_anew {
                outbox.begin_anew(slot);
            }
            position.taken.push(Taken {
                instrument,
                lease,
                records: outbox.records_of(slot),
                newest: Vec::new(),
            });
        }
        let (bus, followed) = (Arc::clone(&self.parts.bus), Arc::clone(&self.followed));
        self.running.spawn(work::position(bus, followed, position));
    }

    /// Publishes what was taken.
    pub(super) fn begin(&mut self, position: Position) {
        if let Some(marks) = position.marks {
            self.parts.boundaries.resume(&marks, now_ms());
        }
        self.parts.boundaries.keep_at(position.subject);
        let (mut begun, mut highest, mut missed) = (0, 0, Vec::new());
        for taken in position.taken {
            let Taken {
                instrument, lease, ..
            } = taken;
            // It may have been lost meanwhile.
            if !self.tenure.is_holding(instrument) {
                continue;
            }
            let (outbox, slot) = self.place(instrument);
            // Its messages may still wait for this task.
            if !outbox.settle(slot, &taken.newest) && !position.is_anew {
                missed.push((instrument, lease));
                continue;
            }
            highest = highest.max(lease.number());
            begun += 1;
            self.leases.insert(instrument, lease);
            self.refused.remove(&instrument);
            self.hold(instrument);
            self.parts.board.set_held(instrument, true);
        }
        if !missed.is_empty() {
            self.read_position(missed, true);
        }
        if begun == 0 {
            return;
        }
        metrics::counter!("marketdata_leases_taken_total").increment(begun);
        info!(instruments = begun, epoch = highest, "publishing");
        self.parts.epoch.raise(highest);
        let payload = self.parts.epoch.get().to_string().into();
        self.parts
            .lane
            .set_checkpoint(Item::new(subject::EPOCH.into(), payload));
    }
}
